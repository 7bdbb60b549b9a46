// What a convolution adds up, one number after the other: what rounding is measured by.
#pragma once

#include <cmath>

#include "kernels.h"

namespace fuzz {

// Input `i` of row b, past ones and then new ones, activated.
inline double input(const int8k::Convolution& c, int64_t b, int64_t i, int64_t channel) {
  const int64_t memory = c.memory();
  if (i < memory) return c.past[(b * memory + i) * c.cin + channel];
  const double x = c.x[(b * c.time + i - memory) * c.cin + channel];
  return c.elu && x < 0 ? std::exp(x) - 1 : x;
}

// The sizes of all that a filter adds up for one output: what rounding is measured by.
template <int TAPS>
double filtered_size(const int8k::Convolution& c, const float* w, int64_t b, int64_t t, int64_t n) {
  constexpr auto& filter = int8k::kFilter<TAPS>;
  const int64_t place = t % int8k::kPlaces, first = t - place;
  double size = 0;
  for (int p = 0; p < int8k::Filter<TAPS>::kProducts; ++p) {
    for (int64_t channel = 0; channel < c.cin; ++channel) {
      double inputs = 0, weights = 0;
      for (int i = 0; i < int8k::Filter<TAPS>::kProducts; ++i) {
        inputs += std::fabs(filter.inputs[p][i] * input(c, b, first + i, channel));
      }
      for (int j = 0; j < TAPS; ++j) {
        weights += std::fabs(filter.taps[p][j] * w[(j * c.cin + channel) * c.cout + n]);
      }
      size += std::fabs(filter.places[place][p]) * inputs * weights;
    }
  }
  return size;
}

inline double filtered_size(const int8k::Convolution& c, const float* w, int64_t b, int64_t t,
                            int64_t n) {
  switch (c.filtered ? c.taps : 0) {
    case 2: return filtered_size<2>(c, w, b, t, n);
    case 3: return filtered_size<3>(c, w, b, t, n);
    case 7: return filtered_size<7>(c, w, b, t, n);
    default: return 0;
  }
}

}  // namespace fuzz
