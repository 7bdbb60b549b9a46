// What the kernels of every instruction set are written with. The file of each sets INT8_TARGET, the
// attribute of all its functions.
#pragma once

#include "ops/attention.h"
#include "ops/conv.h"
#include "ops/norm.h"
#include "ops/vocoder.h"
#include "problem.h"

#define INT8_ALWAYS __attribute__((always_inline)) INT8_TARGET
#define INT8_INLINE inline INT8_ALWAYS

namespace int8k {

// A step of 32 weights that are multiplied as they are, signed by signed (see portable.h).
struct Signed {
  static constexpr int64_t kStep = 32, kSplit = 32;
  static constexpr int kOffset8 = 0, kOffset4 = 0;
  static constexpr int kDigitBits = 8;
};

}  // namespace int8k
