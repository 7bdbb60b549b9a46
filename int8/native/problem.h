// What one quantised product is, and where its scratch lives. Knows nothing of XLA or of any
// instruction set.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "workers.h"

namespace int8k {

// Columns of x that share a scale, where w has no groups: span_of of qtensor.py.
constexpr int64_t kSpan = 256, kNarrow = 1024, kNarrowSpan = 64, kSpan16 = 512;

// The largest integer of 16 bits: of LARGEST in qtensor.py. The sum of a span fits 32 bits.
constexpr int32_t kLargest16 = 2047;
static_assert(kSpan16 * kLargest16 * kLargest16 < INT32_MAX);

// y[m, n] = sum_k x[m, k] * w[n, k] + bias[n], with w held as 16, 8 or 4 bits.
struct Problem {
  const float* x;      // [rows, in]
  const uint8_t* w;    // 16 or 8 bits: int16 or int8 [out, in]; 4 bits: [out, in / 2], low nibble first, value + 8
  const float* scale;  // [out] or [out, in / group]
  const float* bias;   // [out] or null
  float* y;            // [rows, out]
  int64_t rows, in, out;
  int64_t bits;   // 16, 8 or 4
  int64_t group;  // 32, 64, 128, or 0: one scale per output channel, as 16 bits always have
  const Workers* workers = nullptr;  // who may help; null: nobody

  constexpr int64_t span() const {
    return group ? group : bits == 16 ? kSpan16 : in < kNarrow ? kNarrowSpan : kSpan;
  }
  constexpr int64_t spans() const { return (in + span() - 1) / span(); }
};

constexpr bool valid(const Problem& p) {
  const bool shape = p.rows >= 0 && p.in >= 1 && p.out >= 0;
  const bool bits = (p.bits == 16 && !p.group) || p.bits == 8 || (p.bits == 4 && p.in % 2 == 0);
  const bool whole = p.group == 0 && p.in <= 65536;  // MAX_IN of qtensor.py
  const bool grouped =
      (p.group == 32 || p.group == 64 || p.group == 128) && p.in % p.group == 0;
  return shape && bits && (whole || grouped);
}

// The same with weights that are not quantised: float32, or the upper halves of float32 (bfloat16).
struct FloatProblem {
  const float* x;     // [rows, in]
  const float* w;     // [out, in], or null if they are halves
  const float* bias;  // [out] or null
  float* y;           // [rows, out]
  int64_t rows, in, out;
  const Workers* workers = nullptr;
  const uint16_t* half = nullptr;  // [out, in]
};

// Activations of a block of rows, quantised with a scale per span: q * scale ~ x, padded with zeros to
// whole vectors. The vectors of kGroup rows lie side by side: the first of each, the second of each, and
// so on; a single row lies alone.
constexpr int64_t kGroup = 8;

template <class X>
struct Rows {
  X* q;             // [rows / group, width / kStep, group, kStep]
  int32_t* offset;  // [rows, spans, lanes]: what the accumulators of each span start from
  float* scale;     // [rows, scales]
  int64_t group, width;
  int64_t spans;   // of columns that are summed as integers
  int64_t groups;  // that a span holds: 1 but where a step is longer than a group
  int64_t scales;  // of x, and of w where it has groups

  X* row(int64_t m, int64_t step) const {  // its first vector; the next is group * step further
    return q + m / group * group * width + m % group * step;
  }
};

// Grow-only memory of one thread: calls from several threads never share it.
template <int WHICH = 0>
uint8_t* scratch(size_t bytes) {
  thread_local std::vector<uint8_t> buffer;
  if (buffer.size() < bytes + 64) buffer.resize(bytes + 64);
  const uintptr_t start = reinterpret_cast<uintptr_t>(buffer.data());
  return buffer.data() + ((64 - start % 64) % 64);
}

// Small constant loops over register arrays must unroll whole, or the arrays live in memory.
#if defined(__clang__)
#define INT8_UNROLL _Pragma("clang loop unroll(full)")
#else
#define INT8_UNROLL _Pragma("GCC unroll 16")
#endif

constexpr int64_t kAhead = 8192;  // bytes to prefetch ahead of a sequential read (measured)

constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Calls part(begin, end) for parts of [0, count), multiples of `step` but for the last.
using Part = std::function<void(int64_t begin, int64_t end)>;

template <class P>
const Workers* helpers_of(const P& p) {  // if the product is large enough to be worth waking them
  constexpr int64_t kWorth = 1 << 20;  // multiplications: some 10 microseconds or more
  return p.rows * p.in * p.out >= kWorth ? p.workers : nullptr;
}

constexpr int64_t kFewRows = 8;  // of x: no more, and reading w is what takes the time

// Outputs in a part, a multiple of 4: by their weights where reading these takes the time.
constexpr int64_t part_of(int64_t rows, int64_t bytes_of_one, int64_t of_many) {
  constexpr int64_t kBytes = 256 << 10;  // some 20 microseconds
  return rows > kFewRows ? of_many : std::max<int64_t>(kBytes / bytes_of_one / 4, 1) * 4;
}

inline void in_parts(const Workers* workers, int64_t count, int64_t step, const Part& part) {
  if (!workers) return part(0, count);
  parallel(workers, (count + step - 1) / step, [&](int64_t i) {
    part(i * step, std::min((i + 1) * step, count));
  });
}

}  // namespace int8k
