// Drives the int8 kernels of every instruction set this machine has over random shapes, alignments
// and values, against a plain scalar reference. Meant to be compiled with
// -fsanitize=address,undefined: every buffer ends exactly where its allocation ends.
// Usage: fuzz CASES SEED
#include <cmath>
#include <cstring>

#include "fuzz.h"

using fuzz::Buffer;
using fuzz::pick;
using int8k::Problem;

namespace {

float activation(int kind) {
  const float u = fuzz::uniform();
  switch (kind) {
    case 0: return u;
    case 1: return 0.0f;
    case 2: return u * 1e-40f;
    case 3: return u * 1e30f;  // sums of larger ones may overflow
    case 4: return u * 1e-29f;
    case 5: return std::round(u * 127) + 0.5f * static_cast<float>(pick(0, 1));  // ties
    default: return u * std::exp2(static_cast<float>(pick(-140, 100)));
  }
}

int weight(const Problem& p, int64_t n, int64_t k) {
  if (p.bits == 8) return reinterpret_cast<const int8_t*>(p.w)[n * p.in + k];
  if (p.bits == 16) {
    int16_t w;
    std::memcpy(&w, p.w + 2 * (n * p.in + k), sizeof(w));
    return w;
  }
  const int byte = p.w[n * (p.in / 2) + k / 2];
  return (k % 2 ? byte >> 4 : byte & 15) - 8;
}

// What row m of the problem must give: the exact value, and how far rounding may take it.
void reference(const Problem& p, int64_t m, std::vector<double>& y, std::vector<double>& slack) {
  const int64_t span = p.group ? p.group : p.bits == 16 ? 512 : p.in < 1024 ? 64 : 256, spans = (p.in + span - 1) / span;
  std::vector<float> scale(spans), q(p.in);
  bool finite = true;
  for (int64_t s = 0; s < spans; ++s) {
    const float* x = p.x + m * p.in;
    const int64_t end = std::min((s + 1) * span, p.in);
    float absmax = 0;
    for (int64_t k = s * span; k < end; ++k) {
      finite = finite && std::isfinite(x[k]);
      absmax = std::fmax(absmax, std::fabs(x[k]));
    }
    scale[s] = std::fmax(absmax * (1.0f / (p.bits == 16 ? 2047 : 127)), 0x1p-100f);
    const float inverse = 1.0f / scale[s];
    for (int64_t k = s * span; k < end; ++k) q[k] = std::nearbyint(x[k] * inverse);
  }
  for (int64_t n = 0; n < p.out; ++n) {
    double sum = 0, size = 0;
    for (int64_t k = 0; finite && k < p.in; ++k) {
      const double own = p.scale[p.group ? n * spans + k / span : n];
      const double part = double{q[k]} * weight(p, n, k) * own * scale[k / span];
      sum += part;
      size += std::fabs(part);
    }
    const double bias = p.bias ? p.bias[n] : 0;
    y[n] = finite ? sum + bias : NAN;
    slack[n] = 0x1p-24 * static_cast<double>(spans + 9) * (size + std::fabs(bias)) + 1e-37;
  }
}

bool check(Problem p, int isa) {
  Buffer<float> y(p.rows * p.out);
  const fuzz::Helpers helpers;
  p.y = y.data, p.workers = helpers.get();
  int8k::dot(p, isa);
  std::vector<double> want(p.out), slack(p.out);
  for (int64_t m = 0; m < p.rows; ++m) {
    reference(p, m, want, slack);
    for (int64_t n = 0; n < p.out; ++n) {
      const float got = p.y[m * p.out + n];
      const bool same =
          std::isnan(want[n]) ? std::isnan(got) : std::fabs(got - want[n]) <= slack[n];
      if (!same) {
        std::printf("FAIL isa %d rows %ld in %ld out %ld bits %ld group %ld", isa, long(p.rows),
                    long(p.in), long(p.out), long(p.bits), long(p.group));
        std::printf(" at %ld,%ld: %g not %g\n", long(m), long(n), got, want[n]);
        return false;
      }
    }
  }
  return true;
}

bool one_case() {
  Problem p{};
  p.bits = pick(0, 2) ? pick(0, 1) ? 8 : 4 : 16;
  const int64_t groups[] = {0, 0, 32, 64, 128};
  p.group = p.bits == 16 ? 0 : groups[pick(0, 4)];
  p.in = p.group ? p.group * pick(1, 5) : pick(1, pick(0, 3) ? 300 : 1100) * (p.bits == 4 ? 2 : 1);
  p.rows = pick(0, 3) ? pick(1, 6) : pick(0, 70);
  p.out = pick(0, 3) ? pick(1, 13) : pick(0, 90);
  if (pick(0, 49) == 0) p.in = 1024, p.rows = 17, p.out = 301;  // large enough to be shared
  const int64_t scales = p.out * (p.group ? p.in / p.group : 1);
  Buffer<float> x(p.rows * p.in), scale(scales), bias(p.out);
  Buffer<uint8_t> w(p.out * p.in * p.bits / 8);
  for (int64_t m = 0; m < p.rows; ++m) {
    const int kind = static_cast<int>(pick(0, 8));
    for (int64_t k = 0; k < p.in; ++k) x.data[m * p.in + k] = activation(kind);
    if (kind == 7) x.data[m * p.in + pick(0, p.in - 1)] = pick(0, 1) ? INFINITY : -INFINITY;
    if (kind == 8) x.data[m * p.in + pick(0, p.in - 1)] = std::nanf("");
  }
  const bool extreme = pick(0, 3) == 0;  // -128 too: a file may hold it
  for (int64_t i = 0; p.bits == 16 && i < p.out * p.in; ++i) {
    constexpr int64_t most = int8k::kLargest16;
    const auto v = static_cast<int16_t>(extreme ? (pick(0, 1) ? most : -most) : pick(-most, most));
    std::memcpy(w.data + 2 * i, &v, sizeof(v));
  }
  for (int64_t i = 0; p.bits < 16 && i < p.out * p.in * p.bits / 8; ++i) {
    w.data[i] = extreme ? (pick(0, 1) ? 0x80 : 0x7f) : static_cast<uint8_t>(pick(0, 255));
  }
  for (int64_t i = 0; i < scales; ++i) scale.data[i] = std::exp2(static_cast<float>(pick(-12, 3)));
  for (int64_t i = 0; i < p.out; ++i) bias.data[i] = activation(0);
  p.x = x.data, p.w = w.data, p.scale = scale.data, p.bias = pick(0, 1) ? bias.data : nullptr;
  if (!int8k::valid(p)) {
    std::printf("FAIL: a valid problem is refused\n");
    return false;
  }
  return fuzz::on_all([&](int isa) { return check(p, isa); });
}

}  // namespace

int main(int argc, char** argv) { return fuzz::main(argc, argv, one_case); }
