// AVX-VNNI (the VEX form, on client processors without AVX512): 32 weights a step, shifted by 128
// as in avx512vnni.h.
#pragma once

#include <immintrin.h>

#include "isa/common.h"

#define INT8_TARGET __attribute__((target("avxvnni,avx2,fma")))
#define INT8_DPBUSD256 _mm256_dpbusd_avx_epi32

namespace int8k::avxvnni {

#include "isa/vnni256.inc"
#include "isa/shorts256.inc"

struct Vec16 : Shorts256 {
  static INT8_INLINE Acc dot(Acc a, const W& w, const W& x) {
    a = Acc(_mm256_dpwssd_avx_epi32(__m256i(a), w.lo, x.lo));
    return Acc(_mm256_dpwssd_avx_epi32(__m256i(a), w.hi, x.hi));
  }
};
using Vec8 = Vec256;
using VecG = Vec256;

#include "ops/gemm.inc"

}  // namespace int8k::avxvnni

#undef INT8_DPBUSD256
#undef INT8_TARGET
