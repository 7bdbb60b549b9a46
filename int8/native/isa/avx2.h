// AVX2: 32 weights a step, widened to 16 bits. vpmaddwd is exact; the shorter vpmaddubsw saturates
// and is not used.
#pragma once

#include <immintrin.h>

#include "isa/common.h"

#define INT8_TARGET __attribute__((target("avx2,fma")))

namespace int8k::avx2 {

#include "isa/float256.inc"
#include "isa/shorts256.inc"

struct Vec : Shorts256 {
  static constexpr int kDigitBits = 12;

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
  static INT8_INLINE Acc dot(Acc a, const W& w, const W& x) {
    a += Acc(_mm256_madd_epi16(w.lo, x.lo));
    return a + Acc(_mm256_madd_epi16(w.hi, x.hi));
  }
};
using Vec16 = Vec;
using Vec8 = Vec;
using VecG = Vec;
using Vec4 = VecG;
using Float = Float256;
using Square = Float256;

#include "ops/all.inc"

}  // namespace int8k::avx2

#undef INT8_TARGET
