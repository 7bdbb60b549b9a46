// AVX512-VNNI: 64 weights a step. vpdpbusd wants unsigned times signed, so weights are shifted by
// 128 (one xor) and the accumulators start from -128 * the sum of the activations.
#pragma once

#include <immintrin.h>

#include "attention.h"
#include "problem.h"

#define INT8_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define INT8_INLINE inline __attribute__((always_inline)) INT8_TARGET
#define INT8_DPBUSD256 _mm256_dpbusd_epi32

namespace int8k::avx512 {

#include "vnni256.inc"

struct Vec512 {
  using X = int8_t;
  using W = __m512i;
  using XV = __m512i;
  using Acc = __m512i;
  static constexpr int64_t kStep = 64, kLanes = 16;
  static constexpr int kOffset8 = 128, kOffset4 = 8;
  static constexpr int kRows = 4;

  static INT8_INLINE Acc zero() { return _mm512_setzero_si512(); }
  static INT8_INLINE Acc load(const int32_t* p) { return _mm512_loadu_si512(p); }
  static INT8_INLINE void store(int32_t* p, Acc a) { _mm512_storeu_si512(p, a); }
  static INT8_INLINE W load8(const uint8_t* p) {
    return _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(-128));
  }
  static INT8_INLINE W splat(int offset) { return _mm512_set1_epi8(static_cast<char>(offset)); }
  static INT8_INLINE XV load_x(const X* x) { return _mm512_loadu_si512(x); }
  static INT8_INLINE Acc dot(Acc a, W w, XV x) { return _mm512_dpbusd_epi32(a, w, x); }
  static INT8_INLINE Acc add(Acc a, Acc b) { return _mm512_add_epi32(a, b); }
  static INT8_INLINE __m256i halves(Acc a) {
    return _mm256_add_epi32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1));
  }
  static INT8_INLINE void sum4(Acc a, Acc b, Acc c, Acc d, int32_t* out) {
    Vec256::sum4(halves(a), halves(b), halves(c), halves(d), out);
  }
};
using Vec8 = Vec512;
using VecG = Vec256;

struct Float {
  using V = float __attribute__((vector_size(64)));
  static constexpr int64_t kLanes = 16;

  static INT8_INLINE V set1(float x) { return V(_mm512_set1_ps(x)); }
  static INT8_INLINE V fma(V a, V b, V c) {
    return V(_mm512_fmadd_ps(__m512(a), __m512(b), __m512(c)));
  }
  static INT8_INLINE __m256 halves(V a) {
    const __m512 x = __m512(a);
    return _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  }
  static INT8_INLINE void sum4(V a, V b, V c, V d, float* out) {
    const __m256 ab = _mm256_hadd_ps(halves(a), halves(b));
    const __m256 s = _mm256_hadd_ps(ab, _mm256_hadd_ps(halves(c), halves(d)));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
  }
};

#include "gemm.inc"
#include "attention.inc"
#include "float_gemm.inc"

}  // namespace int8k::avx512

#undef INT8_DPBUSD256
#undef INT8_INLINE
#undef INT8_TARGET
