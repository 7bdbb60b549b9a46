// AVX512 without VNNI: 32 weights a step, widened to 16 bits, so that a step is one vector. As in avx2.h
// vpmaddwd is exact.
#pragma once

#include <immintrin.h>

#include "isa/common.h"

#define INT8_TARGET __attribute__((target("fma,avx512f,avx512bw,avx512dq,avx512vl")))

namespace int8k::avx512 {

#include "isa/float256.inc"
#include "isa/float512.inc"
#include "isa/shorts512.inc"

struct Vec : Shorts512 {
  static constexpr int kDigitBits = 12;

  static INT8_INLINE W load8(const uint8_t* p) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static INT8_INLINE W load4(const uint8_t* p) {
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m256i both = _mm256_set_m128i(_mm_srli_epi16(b, 4), b);
    const __m256i w = _mm256_and_si256(both, _mm256_set1_epi8(15));
    return _mm512_cvtepi8_epi16(_mm256_sub_epi8(w, _mm256_set1_epi8(8)));
  }
  static INT8_INLINE Acc dot(Acc a, W w, W x) { return a + Acc(_mm512_madd_epi16(w, x)); }
};
using Vec16 = Vec;
using Vec8 = Vec;
using VecG = Vec;
using Vec4 = VecG;

using Square = Float256;

#include "ops/all.inc"

}  // namespace int8k::avx512

#undef INT8_TARGET
