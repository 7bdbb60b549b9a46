// Convolutions by fewer products: the outputs of four neighbouring places together take taps + 3 products
// of a channel instead of 4 * taps (the minimal filtering of Toom, Cook and Winograd). Knows nothing of
// any instruction set.
#pragma once

namespace int8k {

constexpr int kPlaces = 4;  // places that are made together

// outputs = places * ((taps * weights) . (inputs * those inputs)), "." product by product. A polynomial
// with the taps as coefficients is multiplied by its values at points; these lie so that little is lost
// to rounding.
template <int TAPS>
struct Filter {
  static constexpr int kProducts = kPlaces + TAPS - 1, kPoints = kProducts - 1;  // and one at infinity
  float inputs[kProducts][kProducts] = {};
  float taps[kProducts][TAPS] = {};
  float places[kPlaces][kProducts] = {};

  constexpr Filter() {
    constexpr double points[] = {0, 1, -1, 0.5, -2, 2, -0.5, 0.75, -4.0 / 3};
    static_assert(kPoints <= 9, "no more points are known");
    for (int i = 0; i < kProducts; ++i) {
      const bool finite = i < kPoints;
      double product[kProducts] = {1}, scale = 1;  // of (x - point) for all other points
      int degree = 0;
      for (int j = 0; j < kPoints; ++j) {
        if (j == i) continue;
        ++degree;
        for (int k = degree; k >= 0; --k) {
          product[k] = (k ? product[k - 1] : 0) - points[j] * product[k];
        }
        if (finite) scale *= points[i] - points[j];
      }
      double power = 1;
      for (int k = 0; k < kProducts; ++k) {
        inputs[i][k] = static_cast<float>(product[k]);
        if (k < TAPS) taps[i][k] = static_cast<float>(finite ? power / scale : k == TAPS - 1);
        if (k < kPlaces) places[k][i] = static_cast<float>(finite ? power : k == kPlaces - 1);
        if (finite) power *= points[i];
      }
    }
  }
};

template <int TAPS>
constexpr Filter<TAPS> kFilter{};

}  // namespace int8k
