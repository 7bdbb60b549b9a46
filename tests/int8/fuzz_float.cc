// The same for the float kernels: products, convolutions, layer norms, and attention over a cache. What
// attention must not read is NaN.
// Usage: fuzz_float CASES SEED
#include <algorithm>
#include <cmath>
#include <cstring>

#include "fuzz.h"
#include "sizes.h"

using fuzz::Buffer;
using fuzz::filtered_size;
using fuzz::input;
using fuzz::pick;
using int8k::Attention;
using int8k::Convolution;
using int8k::FloatProblem;
using int8k::Norm;

namespace {

bool product_case() {
  FloatProblem p{};
  const bool large = pick(0, 49) == 0;  // enough to be shared
  p.rows = large ? 17 : pick(0, 3) ? pick(1, 9) : pick(0, 140);
  p.in = large ? 1024 : pick(0, 3) ? pick(1, 200) : pick(1000, 2100);
  p.out = large ? 301 : pick(0, 3) ? pick(1, 13) : pick(0, 60);
  Buffer<float> x(p.rows * p.in), w(p.out * p.in), bias(p.out);
  Buffer<uint16_t> half(p.out * p.in);
  x.fill(1), w.fill(1), bias.fill(1);
  const bool halved = pick(0, 1);
  for (int64_t i = 0; halved && i < w.count; ++i) {  // the weights are what halves can hold
    uint32_t bits;
    std::memcpy(&bits, w.data + i, sizeof(bits));
    half.data[i] = static_cast<uint16_t>(bits >> 16), bits &= 0xffff0000u;
    std::memcpy(w.data + i, &bits, sizeof(bits));
  }
  const int64_t bad = pick(0, 3) ? -1 : pick(0, 140);  // a row with a NaN
  if (bad >= 0 && bad < p.rows) x.data[bad * p.in + pick(0, p.in - 1)] = std::nanf("");
  p.x = x.data, p.bias = pick(0, 1) ? bias.data : nullptr;
  p.w = halved ? nullptr : w.data, p.half = halved ? half.data : nullptr;
  return fuzz::on_all([&](int isa) {
    Buffer<float> y(p.rows * p.out);
    const fuzz::Helpers helpers;
    p.y = y.data, p.workers = helpers.get();
    int8k::dot(p, isa);
    for (int64_t m = 0; m < p.rows; ++m) {
      for (int64_t n = 0; n < p.out; ++n) {
        double want = p.bias ? p.bias[n] : 0, size = std::fabs(want);
        for (int64_t k = 0; k < p.in; ++k) {
          const double part = double(p.x[m * p.in + k]) * w.data[n * p.in + k];
          want += part, size += std::fabs(part);
        }
        const float got = p.y[m * p.out + n];
        if (m == bad ? std::isnan(got) : std::fabs(got - want) <= 1e-6 * size) continue;
        std::printf("FAIL product isa %d half %d rows %ld in %ld out %ld at %ld,%ld: %g not %g\n", isa,
                    halved, long(p.rows), long(p.in), long(p.out), long(m), long(n), got, want);
        return false;
      }
    }
    return true;
  });
}

// A cache's number.
float cached(const Attention& a, const void* cache, int64_t i) {
  return a.half ? int8k::single(static_cast<const uint16_t*>(cache)[i])
                : static_cast<const float*>(cache)[i];
}

// What the query at (b, t, h) must give, to [D], and how far rounding may take it.
double expected(const Attention& a, int64_t b, int64_t t, int64_t h, std::vector<double>& out) {
  const int64_t D = a.width, head = (b * a.kv_heads + h / a.group()) * a.slots;
  const float* q = a.q + ((b * a.time + t) * a.heads + h) * D;
  const int32_t query = a.query[b * a.time + t];
  std::vector<double> logits;
  std::vector<int64_t> seen;
  double slack = 0, most = -1e300, total = 0, largest = 0;
  for (int64_t s = 0; s < a.end(b); ++s) {
    const int32_t pos = a.pos[b * a.slots + s];
    const bool far = query - pos >= a.window && pos >= a.pinned[b];
    if (pos < 0 || pos > query || far) continue;
    double sum = 0, size = 0;
    for (int64_t d = 0; d < D; ++d) {
      const double part = q[d] * double(cached(a, a.k, (head + s) * D + d)) / std::sqrt(double(D));
      sum += part, size += std::fabs(part);
      largest = std::fmax(largest, std::fabs(cached(a, a.v, (head + s) * D + d)));
    }
    slack = std::fmax(slack, 4e-7 * size);
    most = std::fmax(most, sum);
    logits.push_back(sum), seen.push_back(s);
  }
  out.assign(size_t(D), seen.empty() ? NAN : 0.0);  // NaN: anything finite
  for (double logit : logits) total += std::exp(logit - most);
  for (size_t i = 0; i < seen.size(); ++i) {
    const double weight = std::exp(logits[i] - most) / total;
    for (int64_t d = 0; d < D; ++d) out[d] += weight * cached(a, a.v, (head + seen[i]) * D + d);
  }
  return (2 * slack + 2e-6) * largest;
}

bool attention_right(const Attention& a, int isa) {
  std::vector<double> want;
  for (int64_t b = 0; b < a.batch; ++b) {
    for (int64_t t = 0; t < a.time; ++t) {
      for (int64_t h = 0; h < a.heads; ++h) {
        const double slack = expected(a, b, t, h, want);
        for (int64_t d = 0; d < a.width; ++d) {
          const float got = a.out[((b * a.time + t) * a.heads + h) * a.width + d];
          if (std::isnan(want[d]) ? std::isfinite(got) : std::fabs(got - want[d]) <= slack) continue;
          std::printf("FAIL attention isa %d half %d B %ld T %ld H %ld Hkv %ld D %ld", isa, a.half,
                      long(a.batch), long(a.time), long(a.heads), long(a.kv_heads), long(a.width));
          std::printf(" at %ld,%ld,%ld,%ld: %g not %g\n", long(b), long(t), long(h), long(d), got,
                      want[d]);
          return false;
        }
      }
    }
  }
  return true;
}

// The cache after write_new(): the old one, and the new entries to within half a unit in the last
// place of what is stored.
bool written_right(const Attention& a, const float* given, const void* cache, const float* old) {
  const double slack = a.half ? 1.0 / 256 : 0;
  for (int64_t b = 0; b < a.batch; ++b) {
    for (int64_t h = 0; h < a.kv_heads; ++h) {
      for (int64_t s = 0; s < a.slots; ++s) {
        const int32_t* slot = a.slot + b * a.time;
        const int64_t t = std::find(slot, slot + a.time, s) - slot;  // of the entry that goes there
        const bool fresh = t < a.time;
        for (int64_t d = 0; d < a.width; ++d) {
          const int64_t at = ((b * a.kv_heads + h) * a.slots + s) * a.width + d;
          const int64_t from = ((b * a.time + t) * a.kv_heads + h) * a.width + d;
          const double want = fresh ? given[from] : old[at], got = cached(a, cache, at);
          if (std::isnan(want) ? std::isnan(got)
                               : std::fabs(got - want) <= (fresh ? slack * std::fabs(want) : 0)) {
            continue;
          }
          std::printf("FAIL cache half %d slot %ld: %g not %g\n", a.half, long(s), got, want);
          return false;
        }
      }
    }
  }
  return true;
}

bool attention_case() {
  Attention a{};
  const bool large = pick(0, 49) == 0;
  a.batch = pick(1, 3), a.time = pick(0, 1) ? 1 : pick(1, 40);
  a.kv_heads = pick(1, 3), a.heads = a.kv_heads * pick(1, 5);
  a.width = pick(0, 2) ? 64 : pick(0, 1) ? 16 * pick(1, 9) : pick(1, 90);
  int64_t starts[3] = {pick(0, 70), pick(0, 70), pick(0, 70)};  // of the new entries of each row
  if (large) a.time = 40, a.width = 64, starts[0] = 100;
  a.slots = *std::max_element(starts, starts + 3) + a.time + pick(0, 40);
  a.window = pick(0, 2) ? INT32_MAX : static_cast<int32_t>(pick(1, 50));
  const int64_t kept = a.batch * a.kv_heads * a.slots * a.width;
  const int64_t added = a.batch * a.time * a.kv_heads * a.width;
  Buffer<float> q(a.batch * a.time * a.heads * a.width), k_new(added), v_new(added);
  Buffer<float> k_old(kept), v_old(kept);
  Buffer<int32_t> pos(a.batch * a.slots), query(a.batch * a.time), slot(a.batch * a.time);
  Buffer<int32_t> filled(a.batch), pinned(a.batch);
  q.fill(pick(0, 3) ? 3 : 100), k_new.fill(1), v_new.fill(1), k_old.fill(1), v_old.fill(1);
  for (int64_t b = 0; b < a.batch; ++b) {
    const int64_t real = pick(0, 3) ? a.time : pick(0, a.time);  // padding on the right
    const int64_t begin = starts[b], end = begin + a.time;
    int32_t next = 0;
    filled.data[b] = static_cast<int32_t>(end), pinned.data[b] = static_cast<int32_t>(pick(0, 9));
    for (int64_t s = 0; s < a.slots; ++s) {
      const bool fresh = s >= begin, after = s >= end;
      const bool empty = fresh ? s - begin >= real : pick(0, 4) == 0;
      pos.data[b * a.slots + s] = empty && !after ? -1 : next++;
      if (fresh && !after) {
        query.data[b * a.time + s - begin] = pos.data[b * a.slots + s];
        slot.data[b * a.time + s - begin] = static_cast<int32_t>(empty ? a.slots : s);
      }
      if (!empty && !after) continue;
      for (int64_t h = 0; h < a.kv_heads; ++h) {  // stale entries, and what lies beyond
        const int64_t at = ((b * a.kv_heads + h) * a.slots + s) * a.width;
        std::fill_n(k_old.data + at, a.width, after ? NAN : 1e4f);
        std::fill_n(v_old.data + at, a.width, after ? NAN : 1e4f);
      }
    }
  }
  a.half = pick(0, 1);
  Buffer<uint16_t> k_half(kept), v_half(kept);
  for (int64_t i = 0; a.half && i < kept; ++i) {  // the old entries are what halves can hold
    k_half.data[i] = int8k::stored<uint16_t>(k_old.data[i]);
    v_half.data[i] = int8k::stored<uint16_t>(v_old.data[i]);
    k_old.data[i] = int8k::single(k_half.data[i]), v_old.data[i] = int8k::single(v_half.data[i]);
  }
  a.q = q.data, a.k_new = k_new.data, a.v_new = v_new.data;
  a.pos = pos.data, a.query = query.data, a.slot = slot.data;
  a.filled = filled.data, a.pinned = pinned.data;
  return fuzz::on_all([&](int isa) {
    Buffer<float> k(kept), v(kept), out(q.count);
    Buffer<uint16_t> k16(kept), v16(kept);
    std::memcpy(k.data, k_old.data, size_t(kept) * sizeof(float));
    std::memcpy(v.data, v_old.data, size_t(kept) * sizeof(float));
    std::memcpy(k16.data, k_half.data, size_t(kept) * sizeof(uint16_t));
    std::memcpy(v16.data, v_half.data, size_t(kept) * sizeof(uint16_t));
    const fuzz::Helpers helpers;
    a.k = a.half ? static_cast<void*>(k16.data) : k.data;
    a.v = a.half ? static_cast<void*>(v16.data) : v.data;
    a.out = out.data, a.workers = helpers.get();
    if (!int8k::valid(a)) return std::printf("FAIL: a valid problem is refused\n"), false;
    int8k::attend(a, isa);
    return written_right(a, a.k_new, a.k, k_old.data) && written_right(a, a.v_new, a.v, v_old.data) &&
           attention_right(a, isa);
  });
}

bool close(double got, double want, double size) { return std::fabs(got - want) <= 1e-6 * size + 1e-6; }

bool convolution_right(const Convolution& c, const float* w, int isa) {
  for (int64_t b = 0; b < c.batch; ++b) {
    for (int64_t i = 0; i < c.memory() * c.cin; ++i) {
      const double want = input(c, b, c.time + i / c.cin, i % c.cin);
      if (close(c.left[b * c.memory() * c.cin + i], want, 1)) continue;
      return std::printf("FAIL what a convolution leaves, isa %d\n", isa), false;
    }
    for (int64_t t = 0; t < c.outputs(); ++t) {
      for (int64_t n = 0; n < c.cout; ++n) {
        const int64_t at = (b * c.outputs() + t) * c.cout + n;
        double want = (c.bias ? c.bias[n % c.biases] : 0.0) + (c.add ? c.add[at] : 0.0);
        double size = std::fabs(want);
        for (int64_t k = 0; k < c.depth(); ++k) {
          const int64_t i = t * c.stride + k / c.cin * c.dilation;
          const double part = input(c, b, i, k % c.cin) * w[k * c.cout + n];
          want += part, size += std::fabs(part);
        }
        if (close(c.y[at], want, size + filtered_size(c, w, b, t, n))) continue;
        std::printf("FAIL convolution isa %d half %d filtered %d B %ld T %ld C %ld N %ld K %ld stride %ld dilation %ld",
                    isa, c.half != nullptr, c.filtered, long(c.batch), long(c.time), long(c.cin), long(c.cout),
                    long(c.taps), long(c.stride), long(c.dilation));
        std::printf(" at %ld,%ld,%ld: %g not %g\n", long(b), long(t), long(n), c.y[at], want);
        return false;
      }
    }
  }
  return true;
}

bool convolution_case() {
  Convolution c{};
  const bool large = pick(0, 49) == 0;  // enough to be shared
  c.filtered = pick(0, 2) == 0;
  if (!c.filtered) c.stride = pick(0, 2) ? 1 : pick(1, 4), c.dilation = pick(0, 2) ? 1 : pick(1, 3);
  else c.stride = c.dilation = 1;
  const int64_t known[] = {2, 3, 7};
  c.taps = c.filtered ? known[pick(0, 2)] : pick(0, 1) ? 1 : pick(1, 4);
  while (c.memory() < 0) ++c.taps;
  c.batch = pick(1, 2), c.time = c.filtered ? int8k::kPlaces * pick(1, 10) : c.stride * pick(1, 20);
  c.cin = pick(0, 5) ? pick(1, 40) : pick(120, 300);
  c.cout = pick(0, 1) ? pick(1, 20) : 16 * pick(1, 3);
  if (large) c.time = 300 * c.stride, c.cin = 130, c.cout = 40;
  const int64_t kept = c.batch * c.memory() * c.cin, made = c.batch * c.outputs() * c.cout;
  Buffer<float> x(c.batch * c.time * c.cin), past(kept), w(c.depth() * c.cout), add(made);
  Buffer<float> bias(pick(0, 1) ? c.cout : 1);
  Buffer<uint16_t> half(w.count);
  x.fill(2), past.fill(1), w.fill(1), add.fill(1), bias.fill(1);
  const bool halved = pick(0, 1);
  for (int64_t i = 0; halved && i < w.count; ++i) {  // the weights are what halves can hold
    half.data[i] = int8k::stored<uint16_t>(w.data[i]);
    w.data[i] = int8k::single(half.data[i]);
  }
  c.x = x.data, c.past = past.data, c.elu = pick(0, 1);
  c.w = halved ? nullptr : w.data, c.half = halved ? half.data : nullptr;
  if (pick(0, 1)) c.bias = bias.data, c.biases = bias.count;
  const bool adds = pick(0, 1), in_place = pick(0, 1);
  return fuzz::on_all([&](int isa) {
    Buffer<float> y(made), left(kept);
    const fuzz::Helpers helpers;
    c.y = y.data, c.left = left.data, c.workers = helpers.get();
    c.add = !adds ? nullptr : in_place ? y.data : add.data;
    if (adds && in_place) std::copy_n(add.data, made, y.data);
    if (!valid(c)) return std::printf("FAIL: a valid convolution is refused\n"), false;
    int8k::convolve(c, isa);
    if (adds) c.add = add.data;
    return convolution_right(c, w.data, isa);
  });
}

bool norm_case() {
  Norm p{};
  p.rows = pick(0, 9), p.width = pick(1, 3) == 1 ? pick(1, 200) : 16 * pick(1, 20), p.eps = 1e-5f;
  const int64_t count = p.rows * p.width;
  Buffer<float> x(count), scale(p.width), bias(p.width);
  x.fill(pick(0, 1) ? 1 : 1e4f), scale.fill(2), bias.fill(1);
  const int64_t bad = pick(0, 9), level = pick(0, 9);  // rows with a NaN, and all alike
  if (bad < p.rows) x.data[bad * p.width + pick(0, p.width - 1)] = std::nanf("");
  if (level < p.rows && level != bad) std::fill_n(x.data + level * p.width, p.width, 3.0f);
  p.x = x.data;
  if (pick(0, 1)) p.scale = scale.data, p.bias = bias.data;
  return fuzz::on_all([&](int isa) {
    Buffer<float> y(count);
    p.y = y.data;
    int8k::normalise(p, isa);
    for (int64_t m = 0; m < p.rows; ++m) {
      const float* row = p.x + m * p.width;
      double mean = 0, variance = 0;
      for (int64_t i = 0; i < p.width; ++i) mean += row[i] / double(p.width);
      for (int64_t i = 0; i < p.width; ++i) variance += (row[i] - mean) * (row[i] - mean) / double(p.width);
      for (int64_t i = 0; i < p.width; ++i) {
        const double by = p.scale ? p.scale[i] : 1, plus = p.scale ? p.bias[i] : 0;
        const double want = (row[i] - mean) / std::sqrt(variance + p.eps) * by + plus;
        const float got = p.y[m * p.width + i];
        if (m == bad ? std::isnan(got) : std::fabs(got - want) <= 1e-5) continue;
        std::printf("FAIL norm isa %d rows %ld width %ld at %ld,%ld: %g not %g\n", isa, long(p.rows),
                    long(p.width), long(m), long(i), got, want);
        return false;
      }
    }
    return true;
  });
}

}  // namespace

int main(int argc, char** argv) {
  return fuzz::main(argc, argv, [] {
    const int64_t kind = pick(0, 3);
    if (kind == 3) return norm_case();
    return kind == 0 ? product_case() : kind == 1 ? attention_case() : convolution_case();
  });
}
