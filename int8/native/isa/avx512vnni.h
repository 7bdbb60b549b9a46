// AVX512-VNNI: 64 weights a step. vpdpbusd wants unsigned times signed, so weights are shifted by
// 128 (one xor) and the accumulators start from -128 * the sum of the activations.
#pragma once

#include <immintrin.h>

#include "isa/common.h"

#define INT8_TARGET __attribute__((target("fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define INT8_DPBUSD256 _mm256_dpbusd_epi32

namespace int8k::avx512vnni {

#include "isa/vnni256.inc"

#include "isa/float512.inc"
#include "isa/shorts512.inc"

struct Vec512 {
  using X = int8_t;
  using W = __m512i;
  using Acc = int32_t __attribute__((vector_size(64)));
  using Floats = Float;
  static constexpr int64_t kStep = 64;
  static constexpr int kOffset8 = 128, kOffset4 = 8;
  static constexpr int kDigitBits = 8;
  static constexpr int kRows = 4;

  static INT8_INLINE W load8(const uint8_t* p) {
    return _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(-128));
  }
  static INT8_INLINE W splat(int offset) { return _mm512_set1_epi8(static_cast<char>(offset)); }
  static INT8_INLINE W load_x(const X* x) { return _mm512_loadu_si512(x); }
  static INT8_INLINE Acc dot(Acc a, W w, W x) {
    return Acc(_mm512_dpbusd_epi32(__m512i(a), w, x));
  }
};
struct Vec16 : Shorts512 {
  static INT8_INLINE Acc dot(Acc a, W w, W x) {
    return Acc(_mm512_dpwssd_epi32(__m512i(a), w, x));
  }
};
using Vec8 = Vec512;
using VecG = Vec256;

// All that multiplies integers; avx512.h has the rest.
#include "ops/gemm.inc"
#include "ops/attention.inc"
#include "ops/vocoder.inc"

}  // namespace int8k::avx512vnni

#undef INT8_DPBUSD256
#undef INT8_TARGET
