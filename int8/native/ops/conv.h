// What one causal convolution is. Knows nothing of XLA or of any instruction set.
#pragma once

#include <cstdint>

#include "filter.h"
#include "workers.h"

namespace int8k {

// y[t, n] = sum over taps j and channels c of inputs[t * stride + j * dilation, c] * w[j, c, n], plus
// bias and `add`; inputs are `past`, then x.
struct Convolution {
  const float* x;        // [batch, time, cin]
  const float* past;     // [batch, memory, cin]: the inputs before x, already activated
  const float* w;        // [taps, cin, cout], or null if they are halves
  const uint16_t* half;  // the same as bfloat16
  const float* bias;     // [biases] or null, repeated along cout
  const float* add;      // [batch, outputs, cout] or null
  float* y;              // [batch, outputs, cout]
  float* left;           // [batch, memory, cin]: the inputs before those that come next
  int64_t batch, time, cin, cout, taps, stride, dilation, biases;
  bool elu;                          // activates x first
  bool filtered;                     // four places at once, where there is a filter for the taps
  const Workers* workers = nullptr;  // who may help; null: nobody

  int64_t memory() const { return (taps - 1) * dilation + 1 - stride; }
  int64_t outputs() const { return time / stride; }
  int64_t depth() const { return taps * cin; }
};

inline bool valid(const Convolution& c) {
  const bool fours = c.stride == 1 && c.dilation == 1 && c.time % kPlaces == 0;
  const bool sizes = (!c.filtered || fours) && c.batch >= 0 && c.cin >= 1 && c.cout >= 1 && c.taps >= 1;
  return sizes && c.stride >= 1 && c.dilation >= 1 && c.memory() >= 0 && c.time >= c.stride &&
         c.time % c.stride == 0 && (!c.bias || (c.biases >= 1 && c.cout % c.biases == 0));
}

}  // namespace int8k
