// AVX-VNNI (the VEX form, on client processors without AVX512): 32 weights a step, shifted by 128
// as in avx512vnni.h.
#pragma once

#include <immintrin.h>

#include "isa/common.h"

#define INT8_TARGET __attribute__((target("avxvnni,avx2,fma")))

namespace int8k::avxvnni {

#include "isa/float256.inc"
#include "isa/shorts256.inc"

struct Vec256 {
  using X = int8_t;
  using W = __m256i;
  using Acc = int32_t __attribute__((vector_size(32)));
  using Floats = Float256;
  static constexpr int64_t kStep = 32, kSplit = 32;
  static constexpr int kOffset8 = 128, kOffset4 = 8;
  static constexpr int kRows = 2;

  static INT8_INLINE W load8(const uint8_t* p) {
    const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm256_xor_si256(w, _mm256_set1_epi8(-128));
  }
  static INT8_INLINE W load4(const uint8_t* p) {
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(b, 4), b), _mm256_set1_epi8(15));
  }
  static INT8_INLINE W splat(int offset) { return _mm256_set1_epi8(static_cast<char>(offset)); }
  static INT8_INLINE W load_x(const X* x) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
  }
  static INT8_INLINE Acc dot(Acc a, W w, W x) { return Acc(_mm256_dpbusd_avx_epi32(__m256i(a), w, x)); }
};
struct Vec16 : Shorts256 {
  static INT8_INLINE Acc dot(Acc a, const W& w, const W& x) {
    a = Acc(_mm256_dpwssd_avx_epi32(__m256i(a), w.lo, x.lo));
    return Acc(_mm256_dpwssd_avx_epi32(__m256i(a), w.hi, x.hi));
  }
};
using Vec8 = Vec256;
using VecG = Vec256;
using Vec4 = VecG;

#include "ops/gemm.inc"

}  // namespace int8k::avxvnni

#undef INT8_TARGET
