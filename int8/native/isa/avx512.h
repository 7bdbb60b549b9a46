// AVX512-VNNI: 64 weights a step. vpdpbusd wants unsigned times signed, so weights are shifted by
// 128 (one xor) and the accumulators start from -128 * the sum of the activations.
#pragma once

#include <immintrin.h>

#include "isa/common.h"

#define INT8_TARGET __attribute__((target("fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define INT8_DPBUSD256 _mm256_dpbusd_epi32

namespace int8k::avx512 {

#include "isa/vnni256.inc"

struct Float {
  using V = float __attribute__((vector_size(64)));
  static constexpr int64_t kLanes = 16;

  static INT8_INLINE V set1(float x) { return V(_mm512_set1_ps(x)); }
  static INT8_INLINE V fma(V a, V b, V c) {
    return V(_mm512_fmadd_ps(__m512(a), __m512(b), __m512(c)));
  }
  static INT8_INLINE V widened(const uint16_t* p) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return V(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  static INT8_INLINE void sum4(V a, V b, V c, V d, float* out) {
    const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(__m512(a), __m512(b)),
                                    _mm512_unpackhi_ps(__m512(a), __m512(b)));
    const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(__m512(c), __m512(d)),
                                    _mm512_unpackhi_ps(__m512(c), __m512(d)));
    const __m512 s = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(s), _mm512_extractf32x8_ps(s, 1));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
  }
};

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
using Vec8 = Vec512;
using VecG = Vec256;

using Square = Float256;

#include "ops/all.inc"

}  // namespace int8k::avx512

#undef INT8_DPBUSD256
#undef INT8_TARGET
