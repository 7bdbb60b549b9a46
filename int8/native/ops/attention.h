// What one call of attention is, and how it is cut into pieces. Knows nothing of XLA or of any
// instruction set.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "halves.h"
#include "workers.h"

namespace int8k {

// T new queries of each row of a batch over the filled slots of its cache, among them those of T new
// keys and values: write_new() puts them in place, then pieces of the queries may be done in any
// order. Rows share nothing: each has its own slots, and its sums do not depend on its neighbours.
struct Attention {
  const float* q;        // [B, T, H, D]
  const float* k_new;    // [B, T, Hkv, D]
  const float* v_new;    // [B, T, Hkv, D]
  void* k;               // [B * Hkv, S, D]: float32, or halves of it
  void* v;               // [B * Hkv, S, D], alike
  const int32_t* pos;    // [B, S]: of the entry in each slot, negative where there is none
  const int32_t* query;  // [B, T]: positions of the queries, negative for padding
  const int32_t* slot;   // [B, T]: where the new entries go; outside [0, S): nowhere
  const int32_t* filled;  // [B]: no slot from here on holds anything
  const int32_t* pinned;  // [B]: positions before it are seen whatever the window
  float* out;            // [B, T, H, D]; zeros for padding
  int64_t batch, time, heads, kv_heads, width, slots;
  int32_t window;  // a query sees this many positions, itself included; INT32_MAX: all before it
  bool half = false;  // the caches are kept as bfloat16
  const Workers* workers = nullptr;  // who may help; null: nobody

  int64_t end(int64_t b) const { return std::clamp<int64_t>(filled[b], 0, slots); }
  int64_t group() const { return heads / kv_heads; }  // queries that share keys, at one time
  int64_t queries() const { return time * group(); }  // of one head of k and v
};

constexpr bool valid(const Attention& a) {
  const bool shape = a.batch >= 0 && a.time >= 1 && a.heads >= 1 && a.kv_heads >= 1 && a.width >= 1;
  return shape && a.heads % a.kv_heads == 0 && a.slots >= 0 && a.window >= 1;
}

// C is how a number of the caches is stored.
template <class C>
void write_new_as(const Attention& a) {
  for (int64_t b = 0; b < a.batch; ++b) {
    for (int64_t t = 0; t < a.time; ++t) {
      const int64_t slot = a.slot[b * a.time + t];
      if (slot < 0 || slot >= a.slots) continue;
      for (int64_t h = 0; h < a.kv_heads; ++h) {
        const int64_t from = ((b * a.time + t) * a.kv_heads + h) * a.width;
        const int64_t to = ((b * a.kv_heads + h) * a.slots + slot) * a.width;
        for (int64_t d = 0; d < a.width; ++d) {
          static_cast<C*>(a.k)[to + d] = stored<C>(a.k_new[from + d]);
          static_cast<C*>(a.v)[to + d] = stored<C>(a.v_new[from + d]);
        }
      }
    }
  }
}

inline void write_new(const Attention& a) {
  a.half ? write_new_as<uint16_t>(a) : write_new_as<float>(a);
}

// The query r of a head: those of one time are neighbours.
inline int64_t query_offset(const Attention& a, int64_t b, int64_t h, int64_t r) {
  return ((b * a.time + r / a.group()) * a.heads + h * a.group() + r % a.group()) * a.width;
}

// The slots that the queries [r0, r1) of row b may see lie within [first, last).
struct Range {
  int64_t first, last;
};

inline Range seen(const Attention& a, int64_t b, int64_t r0, int64_t r1) {
  int32_t newest = -1, oldest = INT32_MAX;
  for (int64_t t = r0 / a.group(); t * a.group() < r1; ++t) {
    const int32_t p = a.query[b * a.time + t];
    if (p < 0) continue;
    newest = p > newest ? p : newest;
    oldest = p < oldest ? p : oldest;
  }
  const int64_t from = int64_t{oldest} - a.window;
  const int32_t* pos = a.pos + b * a.slots;
  const int32_t pinned = a.pinned[b];
  const auto hidden = [&](int64_t s) {
    return pos[s] < 0 || pos[s] > newest || (pos[s] <= from && pos[s] >= pinned);
  };
  Range r{0, a.end(b)};
  while (r.first < r.last && hidden(r.first)) ++r.first;
  while (r.first < r.last && hidden(r.last - 1)) --r.last;
  return r;
}

// Gives zeros to the padding at the end of the queries [r0, r1) of head h, and to all of them if
// they can see nothing; returns the end of the others.
inline int64_t skip_padding(const Attention& a, Range see, int64_t b, int64_t h, int64_t r0,
                            int64_t r1) {
  const int32_t* query = a.query + b * a.time;
  while (r1 > r0 && (query[(r1 - 1) / a.group()] < 0 || see.first == see.last)) {
    float* out = a.out + query_offset(a, b, h, --r1);
    std::memset(out, 0, static_cast<size_t>(a.width) * sizeof(float));
  }
  return r1;
}

}  // namespace int8k
