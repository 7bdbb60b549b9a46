// Plain C++ vectors of 32 weights, for processors without any of the other forms. It also shows
// what a vector type `V` must offer to gemm.inc:
//   X           how a quantised activation is stored
//   W, Acc      a vector of kStep weights, or of as many activations, and one of int32 partial sums
//   kOffset8/4  what load8/load4 add to each weight (for instructions that multiply unsigned by
//               signed); the accumulators start from what undoes it
//   kDigitBits  of a number in vocoder.inc: what dot() can sum
//   kRows       register tile: rows of x by 4 rows of w
//   load8       int8 weights; load4 packed ones, of kSplit the even columns before the odd ones; Vec16 has
//               load16 instead, for int16 ones
//   lanes, spread  scales of groups, each in the lanes that sum it: where a step is longer than 32
//   Floats      as many floats as an accumulator has lanes, see attention.inc
#pragma once

#include "isa/common.h"

#define INT8_TARGET

namespace int8k::portable {

// The compiler's own vector types map to whatever the processor has.
using Bytes = int8_t __attribute__((vector_size(8)));
using Shorts = int16_t __attribute__((vector_size(16)));
using Ints = int32_t __attribute__((vector_size(16)));

INT8_INLINE Shorts widen(const int8_t* p) {
  Bytes b;
  std::memcpy(&b, p, sizeof(b));
  return __builtin_convertvector(b, Shorts);
}

// Adds neighbouring pairs, as arithmetic shifts widen them.
INT8_INLINE Ints pairs(Shorts s) {
  const Ints v = reinterpret_cast<Ints>(s);
  return ((v << 16) >> 16) + (v >> 16);
}

#include "isa/float128.inc"

struct Float : Float128 {
  static INT8_INLINE V set1(float x) { return V{x, x, x, x}; }
  static INT8_INLINE V fma(V a, V b, V c) { return a * b + c; }
  static INT8_INLINE V widened(const uint16_t* p) {
    return V{single(p[0]), single(p[1]), single(p[2]), single(p[3])};
  }
  static INT8_INLINE void sum4(V a, V b, V c, V d, float* out) {
    const V s[4] = {a, b, c, d};
    for (int j = 0; j < 4; ++j) out[j] = (s[j][0] + s[j][2]) + (s[j][1] + s[j][3]);
  }
};

struct Vec : Signed {
  using X = int16_t;
  struct W {
    Shorts v[4];
  };
  using Acc = Ints;
  using Floats = Float;
  static constexpr int kRows = 2;

  static INT8_INLINE W load8(const uint8_t* p) {
    const int8_t* v = reinterpret_cast<const int8_t*>(p);
    return {{widen(v), widen(v + 8), widen(v + 16), widen(v + 24)}};
  }
  static INT8_INLINE W load4(const uint8_t* p) {
    int8_t lo[16], hi[16];
    for (int i = 0; i < 16; ++i) {
      lo[i] = static_cast<int8_t>((p[i] & 15) - 8);
      hi[i] = static_cast<int8_t>((p[i] >> 4) - 8);
    }
    return {{widen(lo), widen(lo + 8), widen(hi), widen(hi + 8)}};
  }
  static INT8_INLINE W load_x(const X* x) {
    W v;
    std::memcpy(v.v, x, sizeof(v.v));
    return v;
  }
  static INT8_INLINE Acc dot(Acc a, const W& w, const W& x) {  // two 8-bit products fit 16 bits
    const Shorts even = w.v[0] * x.v[0] + w.v[1] * x.v[1];
    return a + pairs(even) + pairs(w.v[2] * x.v[2] + w.v[3] * x.v[3]);
  }
};
// The same for weights of 16 bits.
struct Vec16 : Vec {
  static INT8_INLINE W load16(const uint8_t* p) { return load_x(reinterpret_cast<const X*>(p)); }
  static INT8_INLINE Ints times(Shorts a, Shorts b) {
    const Ints v = reinterpret_cast<Ints>(a), u = reinterpret_cast<Ints>(b);
    return ((v << 16) >> 16) * ((u << 16) >> 16) + (v >> 16) * (u >> 16);
  }
  static INT8_INLINE Acc dot(Acc a, const W& w, const W& x) {
    return a + times(w.v[0], x.v[0]) + times(w.v[1], x.v[1]) + times(w.v[2], x.v[2]) +
           times(w.v[3], x.v[3]);
  }
};
using Vec8 = Vec;  // 8 bits, one scale per channel
using VecG = Vec;  // everything else
using Vec4 = Vec;  // 4 bits in groups

using Square = Float;

#include "ops/all.inc"

}  // namespace int8k::portable

#undef INT8_TARGET
