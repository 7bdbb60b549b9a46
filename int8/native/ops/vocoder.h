// What one call of the vocoder is: some subframes of FARGAN, whose plain form and names are in
// ptts_jax/model/vocoder.py. Knows nothing of XLA or of any instruction set.
#pragma once

#include <cstdint>

#include "workers.h"

namespace int8k {

// A product whose weights are 8-bit integers, with a scale for each output. What it is given is kept in
// 24 bits, of which it sums exactly, so it is as exact as one of floats.
struct Layer {
  const uint8_t* w;    // int8 [out, in]
  const float* scale;  // [out]
  const float* bias;   // [out] or null
};

// One of float32, for the few outputs that are worth no more.
struct Dense {
  const float* w;     // [out, in]
  const float* bias;  // [out]
};

struct Vocoder {
  static constexpr int64_t kCondition = 80, kSamples = 40, kSignal = 256;
  static constexpr int64_t kPast = kSamples + 4, kInput = kCondition + kPast + kSamples;
  static constexpr int64_t kFirst = 192, kSkip = 128, kGrus = 3, kWidths[kGrus] = {160, 128, 128};
  static constexpr int64_t kShortest = 32;  // samples of a period
  static constexpr float kEmphasis = 0.85f;

  // What GRU i is told, and what the last product but one is.
  static constexpr int64_t told(int64_t i) { return (i ? kWidths[i - 1] : kFirst) + 2 * kSamples; }
  static constexpr int64_t skipped() {
    return kWidths[0] + kWidths[1] + kWidths[2] + kFirst + 2 * kSamples;
  }

  const float* conditions;  // [batch, time, kCondition]
  const int32_t* period;    // [batch, time]
  float* wave;              // [batch, time, kSamples]
  // The state: what it was is there, what it becomes takes its place.
  float* signal;       // [batch, kSignal]
  float* inputs;       // [batch, kInput]
  float* grus[kGrus];  // [batch, kWidths[i]]
  float* last;         // [batch]

  Layer first, first_gate;                                // [kFirst, 2 * kInput], [kFirst, kFirst]
  Layer gru_input[kGrus], gru_state[kGrus];               // [3 * kWidths[i], told(i) or kWidths[i]]
  Layer gru_gate[kGrus];                                  // [kWidths[i], kWidths[i]]
  Layer skip, skip_gate, out;                             // [kSkip, skipped()], ..., [kSamples, kSkip]
  Dense gain, shares;                                     // [1, kCondition], [kGrus + 1, kFirst]
  int64_t batch, time;
  const Workers* workers = nullptr;  // who may help with several rows; null: nobody
};

}  // namespace int8k
