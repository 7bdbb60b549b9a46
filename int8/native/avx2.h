// AVX2: 32 weights a step, widened to 16 bits. vpmaddwd is exact; the shorter vpmaddubsw saturates
// and is not used.
#pragma once

#include <immintrin.h>

#include "attention.h"
#include "problem.h"

#define INT8_TARGET __attribute__((target("avx2,fma")))
#define INT8_INLINE inline __attribute__((always_inline)) INT8_TARGET

namespace int8k::avx2 {

struct Vec {
  using X = int16_t;
  struct W {
    __m256i lo, hi;
  };
  using XV = W;
  using Acc = __m256i;
  static constexpr int64_t kStep = 32, kLanes = 8;
  static constexpr int kOffset8 = 0, kOffset4 = 0;
  static constexpr int kRows = 2;

  static INT8_INLINE Acc zero() { return _mm256_setzero_si256(); }
  static INT8_INLINE Acc load(const int32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static INT8_INLINE void store(int32_t* p, Acc a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a);
  }
  static INT8_INLINE W load8(const uint8_t* p) {
    const __m128i* v = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtepi8_epi16(_mm_loadu_si128(v)), _mm256_cvtepi8_epi16(_mm_loadu_si128(v + 1))};
  }
  static INT8_INLINE W load4(const uint8_t* p) {
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m128i mask = _mm_set1_epi8(15), eight = _mm_set1_epi8(8);
    const __m128i lo = _mm_sub_epi8(_mm_and_si128(b, mask), eight);
    const __m128i hi = _mm_sub_epi8(_mm_and_si128(_mm_srli_epi16(b, 4), mask), eight);
    return {_mm256_cvtepi8_epi16(lo), _mm256_cvtepi8_epi16(hi)};
  }
  static INT8_INLINE XV load_x(const X* x) {
    const __m256i* v = reinterpret_cast<const __m256i*>(x);
    return {_mm256_loadu_si256(v), _mm256_loadu_si256(v + 1)};
  }
  static INT8_INLINE Acc dot(Acc a, const W& w, const XV& x) {
    a = _mm256_add_epi32(a, _mm256_madd_epi16(w.lo, x.lo));
    return _mm256_add_epi32(a, _mm256_madd_epi16(w.hi, x.hi));
  }
  static INT8_INLINE Acc add(Acc a, Acc b) { return _mm256_add_epi32(a, b); }
  static INT8_INLINE void sum4(Acc a, Acc b, Acc c, Acc d, int32_t* out) {
    const __m256i ab = _mm256_hadd_epi32(a, b), cd = _mm256_hadd_epi32(c, d);
    const __m256i s = _mm256_hadd_epi32(ab, cd);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                     _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)));
  }
};
using Vec8 = Vec;
using VecG = Vec;

struct Float {
  using V = float __attribute__((vector_size(32)));
  static constexpr int64_t kLanes = 8;

  static INT8_INLINE V set1(float x) { return V(_mm256_set1_ps(x)); }
  static INT8_INLINE V fma(V a, V b, V c) {
    return V(_mm256_fmadd_ps(__m256(a), __m256(b), __m256(c)));
  }
  static INT8_INLINE void sum4(V a, V b, V c, V d, float* out) {
    const __m256 ab = _mm256_hadd_ps(__m256(a), __m256(b));
    const __m256 s = _mm256_hadd_ps(ab, _mm256_hadd_ps(__m256(c), __m256(d)));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
  }
};

#include "gemm.inc"
#include "attention.inc"
#include "float_gemm.inc"

}  // namespace int8k::avx2

#undef INT8_INLINE
#undef INT8_TARGET
