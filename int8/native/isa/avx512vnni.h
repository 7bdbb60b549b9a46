// AVX512-VNNI: 64 weights a step. vpdpbusd wants unsigned times signed, so weights are shifted by
// 128 (one xor) and the accumulators start from -128 * the sum of the activations.
#pragma once

#include <immintrin.h>

#include "isa/common.h"

#define INT8_TARGET __attribute__((target("fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

namespace int8k::avx512vnni {

#include "isa/float512.inc"
#include "isa/shorts512.inc"

// Where a step may hold several groups: their scales, each in as many lanes.
struct Spread {
  struct Lanes {
    __m512i index;  // of the scale of each lane
    __mmask8 there;
  };

  // 1, 2 or 4 `groups`, of which `left` are there.
  static INT8_INLINE Lanes lanes(int64_t groups, int64_t left) {
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const int shift = groups == 4 ? 2 : groups == 2 ? 3 : 4;
    const auto there = (1u << std::min(groups, left)) - 1;
    return {_mm512_srl_epi32(lane, _mm_cvtsi32_si128(shift)), static_cast<__mmask8>(there)};
  }
  static INT8_INLINE Float::V spread(const Lanes& l, __m128 scales) {
    return Float::V(_mm512_permutexvar_ps(l.index, _mm512_castps128_ps512(scales)));
  }
  static INT8_INLINE Float::V spread(const Lanes& l, const float* a) {
    return spread(l, _mm_maskz_loadu_ps(l.there, a));
  }
  static INT8_INLINE Float::V spread(const Lanes& l, const float* a, const float* b) {
    return spread(l, _mm_mul_ps(_mm_maskz_loadu_ps(l.there, a), _mm_maskz_loadu_ps(l.there, b)));
  }
};

struct Vec512 : Spread {
  using X = int8_t;
  using W = __m512i;
  using Acc = int32_t __attribute__((vector_size(64)));
  using Floats = Float;
  static constexpr int64_t kStep = 64, kSplit = 32;
  static constexpr int kOffset8 = 128, kOffset4 = 8;
  static constexpr int kDigitBits = 8;
  static constexpr int kRows = 4;

  static INT8_INLINE W load8(const uint8_t* p) {
    return _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(-128));
  }
  static INT8_INLINE W load4(const uint8_t* p) {  // each 16 bytes twice, for the even ones and for the odd ones
    const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m512i both = _mm512_permutexvar_epi64(_mm512_set_epi64(3, 2, 3, 2, 1, 0, 1, 0), _mm512_castsi256_si512(w));
    const int64_t four = 0x0004000400040004;
    const __m512i by = _mm512_set_epi64(four, four, 0, 0, four, four, 0, 0);
    return _mm512_and_si512(_mm512_srlv_epi16(both, by), _mm512_set1_epi8(15));
  }
  static INT8_INLINE W splat(int offset) { return _mm512_set1_epi8(static_cast<char>(offset)); }
  static INT8_INLINE W load_x(const X* x) { return _mm512_loadu_si512(x); }
  static INT8_INLINE Acc dot(Acc a, W w, W x) {
    return Acc(_mm512_dpbusd_epi32(__m512i(a), w, x));
  }
};
// 128 weights of 4 bits a step. The odd ones are multiplied where they lie, as sixteen times themselves: their
// sum is that of whole numbers, and shifted back.
struct Vec4 : Spread {
  using X = int8_t;
  struct W {
    __m512i even, odd;
  };
  using Acc = Vec512::Acc;
  using Floats = Float;
  static constexpr int64_t kStep = 128, kSplit = 128;
  static constexpr int kOffset8 = 128, kOffset4 = 8;
  static constexpr int kRows = 2;

  static INT8_INLINE W load4(const uint8_t* p) {
    const __m512i w = _mm512_loadu_si512(p), low = _mm512_set1_epi8(15);
    return {_mm512_and_si512(w, low), _mm512_andnot_si512(low, w)};
  }
  static INT8_INLINE W splat(int offset) {
    return {_mm512_set1_epi8(static_cast<char>(offset)), _mm512_set1_epi8(static_cast<char>(offset << 4))};
  }
  static INT8_INLINE W load_x(const X* x) { return {_mm512_loadu_si512(x), _mm512_loadu_si512(x + 64)}; }
  static INT8_INLINE Acc dot(Acc a, const W& w, const W& x) {
    const __m512i odd = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w.odd, x.odd);
    return Acc(_mm512_dpbusd_epi32(__m512i(a), w.even, x.even)) + (Acc(odd) >> 4);
  }
};
struct Vec16 : Shorts512 {
  static INT8_INLINE Acc dot(Acc a, W w, W x) {
    return Acc(_mm512_dpwssd_epi32(__m512i(a), w, x));
  }
};
using Vec8 = Vec512;
struct VecG : Vec512 {
  static constexpr int kRows = 2;
};

// All that multiplies integers; avx512.h has the rest.
#include "ops/gemm.inc"
#include "ops/attention.inc"
#include "ops/vocoder.inc"

}  // namespace int8k::avx512vnni

#undef INT8_TARGET
