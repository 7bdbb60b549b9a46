// What one layer norm is. Knows nothing of XLA or of any instruction set.
#pragma once

#include <cmath>
#include <cstdint>

namespace int8k {

// y = (x - mean) / sqrt(variance + eps) of each row, then by scale and bias.
struct Norm {
  const float* x;      // [rows, width]
  const float* scale;  // [width] or null
  const float* bias;   // [width] or null
  float* y;            // [rows, width]
  int64_t rows, width;
  float eps;
};

}  // namespace int8k
