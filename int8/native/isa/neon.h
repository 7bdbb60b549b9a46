// NEON dot product (64-bit Arm with FEAT_DotProd): 32 weights a step as two 16-byte registers,
// signed times signed.
#pragma once

#include <arm_neon.h>

#include "isa/common.h"

#if defined(__ARM_FEATURE_DOTPROD)
#define INT8_TARGET
#elif defined(__clang__)
#define INT8_TARGET __attribute__((target("dotprod")))
#else
#define INT8_TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#endif

namespace int8k::neon {

#include "isa/float128.inc"

struct Float : Float128 {
  static INT8_INLINE V set1(float x) { return V(vdupq_n_f32(x)); }
  static INT8_INLINE V fma(V a, V b, V c) {
    return V(vfmaq_f32(float32x4_t(c), float32x4_t(a), float32x4_t(b)));
  }
  static INT8_INLINE V widened(const uint16_t* p) {
    return V(vshlq_n_u32(vmovl_u16(vld1_u16(p)), 16));
  }
  static INT8_INLINE void sum4(V a, V b, V c, V d, float* out) {
    const float32x4_t ab = vpaddq_f32(float32x4_t(a), float32x4_t(b));
    vst1q_f32(out, vpaddq_f32(ab, vpaddq_f32(float32x4_t(c), float32x4_t(d))));
  }
};

struct Vec : Signed {
  using X = int8_t;
  using W = int8x16x2_t;
  using Acc = int32x4_t;
  using Floats = Float;
  static constexpr int kRows = 4;

  static INT8_INLINE W load8(const uint8_t* p) {
    const int8_t* v = reinterpret_cast<const int8_t*>(p);
    return {{vld1q_s8(v), vld1q_s8(v + 16)}};
  }
  static INT8_INLINE W load4(const uint8_t* p) {
    const uint8x16_t b = vld1q_u8(p);
    const int8x16_t eight = vdupq_n_s8(8);
    const int8x16_t lo = vreinterpretq_s8_u8(vandq_u8(b, vdupq_n_u8(15)));
    const int8x16_t hi = vreinterpretq_s8_u8(vshrq_n_u8(b, 4));
    return {{vsubq_s8(lo, eight), vsubq_s8(hi, eight)}};
  }
  static INT8_INLINE W load_x(const X* x) { return {{vld1q_s8(x), vld1q_s8(x + 16)}}; }
  static INT8_INLINE Acc dot(Acc a, const W& w, const W& x) {
    return vdotq_s32(vdotq_s32(a, w.val[0], x.val[0]), w.val[1], x.val[1]);
  }
};
// The same for weights of 16 bits.
struct Vec16 : Vec {
  using X = int16_t;
  using W = int16x8x4_t;

  static INT8_INLINE W load16(const uint8_t* p) { return load_x(reinterpret_cast<const X*>(p)); }
  static INT8_INLINE W load_x(const X* x) {
    return {{vld1q_s16(x), vld1q_s16(x + 8), vld1q_s16(x + 16), vld1q_s16(x + 24)}};
  }
  static INT8_INLINE Acc dot(Acc a, const W& w, const W& x) {
    INT8_UNROLL for (int i = 0; i < 4; ++i) {
      a = vmlal_s16(a, vget_low_s16(w.val[i]), vget_low_s16(x.val[i]));
      a = vmlal_high_s16(a, w.val[i], x.val[i]);
    }
    return a;
  }
};
using Vec8 = Vec;
using VecG = Vec;
using Vec4 = VecG;

using Square = Float;

#include "ops/all.inc"

}  // namespace int8k::neon

#undef INT8_TARGET
