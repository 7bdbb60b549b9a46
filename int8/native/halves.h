// Numbers stored as float32 or as its upper half (bfloat16). Knows nothing of products.
#pragma once

#include <cstdint>
#include <cstring>

namespace int8k {

inline float single(float x) { return x; }
inline float single(uint16_t half) {
  const uint32_t bits = uint32_t{half} << 16;
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

template <class C>
C stored(float x);
template <>
inline float stored(float x) {
  return x;
}
template <>
inline uint16_t stored(float x) {  // to the nearest, ties to even, as XLA does
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
  return static_cast<uint16_t>(x == x ? rounded : bits >> 16 | 0x40);
}

}  // namespace int8k
