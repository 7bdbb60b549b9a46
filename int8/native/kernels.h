// Chooses the instruction set at run time. The only header a caller needs; knows nothing of XLA.
#pragma once

#include "isa/portable.h"

#if defined(__x86_64__)
#include <cpuid.h>

#include "isa/avx2.h"
#include "isa/avx512.h"
#include "isa/avx512vnni.h"
#if (defined(__clang__) && __clang_major__ >= 12) || (!defined(__clang__) && __GNUC__ >= 11)
#define INT8_HAVE_AVXVNNI
#include "isa/avxvnni.h"
#endif
#elif defined(__aarch64__)
#if defined(__ARM_FEATURE_DOTPROD) || !defined(__clang__) || __clang_major__ >= 16
#define INT8_HAVE_NEON  // older clang knows the instruction only where all code may use it
#include "isa/neon.h"
#endif
#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#endif

namespace int8k {

// The numbers are part of the interface to Python (library.py).
enum Isa : int {
  kAuto = 0, kPortable = 1, kAvx2 = 2, kAvxVnni = 3, kAvx512Vnni = 4, kNeon = 5, kAvx512 = 6
};
constexpr int kIsaCount = 7;

inline bool supported(int isa) {
  if (isa == kPortable) return true;
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (isa == kAvx2) return avx2;
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  if (isa == kAvx512) return avx512;
  if (isa == kAvx512Vnni) return avx512 && __builtin_cpu_supports("avx512vnni");
#if defined(INT8_HAVE_AVXVNNI)
  if (isa == kAvxVnni) {  // leaf 7.1, eax bit 4; older compilers have no name for it
    unsigned a = 0, b = 0, c = 0, d = 0;
    return avx2 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
  }
#endif
#elif defined(INT8_HAVE_NEON)
  if (isa == kNeon) {
#if defined(__ARM_FEATURE_DOTPROD)
    return true;
#elif defined(__linux__)
    return getauxval(AT_HWCAP) >> 20 & 1;  // HWCAP_ASIMDDP
#elif defined(__APPLE__)
    int yes = 0;
    size_t size = sizeof(yes);
    return sysctlbyname("hw.optional.arm.FEAT_DotProd", &yes, &size, nullptr, 0) == 0 && yes;
#endif
  }
#endif
  return false;
}

inline int best_isa() {
  static const int best = [] {
    for (int isa : {kAvx512Vnni, kAvx512, kAvxVnni, kAvx2, kNeon}) {
      if (supported(isa)) return isa;
    }
    return static_cast<int>(kPortable);
  }();
  return best;
}

struct Kernels {
  void (*dot)(const Problem&);
  void (*float_columns)(const FloatProblem&, int64_t m0, int64_t m1, int64_t n0, int64_t n1);
  void (*attend)(const Attention&, Range, int64_t b, int64_t h, int64_t r0, int64_t r1);
  void (*convolve)(const Convolution&, int64_t b, int64_t r0, int64_t r1, int64_t n0, int64_t n1);
  void (*normalise)(const Norm&);
  void (*speak)(const Vocoder&, int64_t b);
};

// Those of a supported instruction set.
inline Kernels kernels(int isa) {
// The product, the vocoder, and all that multiplies floats, each from the best namespace that has it.
#define INT8_KERNELS(product, vocoder, floats)                                               \
  {                                                                                          \
    product::run, floats::float_columns, floats::attend, floats::convolve, floats::normalise, \
        vocoder::speak                                                                       \
  }
  switch (isa == kAuto ? best_isa() : isa) {
#if defined(__x86_64__)
    case kAvx512Vnni: return INT8_KERNELS(avx512vnni, avx512vnni, avx512);
    case kAvx512: return INT8_KERNELS(avx512, avx512, avx512);
    case kAvx2: return INT8_KERNELS(avx2, avx2, avx2);
#if defined(INT8_HAVE_AVXVNNI)
    case kAvxVnni: return INT8_KERNELS(avxvnni, avx2, avx2);
#endif
#elif defined(INT8_HAVE_NEON)
    case kNeon: return INT8_KERNELS(neon, neon, neon);
#endif
    default: return INT8_KERNELS(portable, portable, portable);
  }
#undef INT8_KERNELS
}

// Problems must be valid() and the instruction set supported().
inline void dot(const Problem& p, int isa = kAuto) {
  if (p.rows && p.out) kernels(isa).dot(p);
}

inline void dot(const FloatProblem& p, int isa = kAuto) {
  constexpr int64_t kBlock = 128;  // rows, of which a part stays in the second-level cache
  const Kernels k = kernels(isa);
  for (int64_t m = 0; m < p.rows; m += kBlock) {
    const int64_t bytes = p.in * static_cast<int64_t>(p.half ? sizeof(*p.half) : sizeof(*p.w));
    in_parts(helpers_of(p), p.out, part_of(p.rows, bytes, 256), [&](int64_t n, int64_t end) {
      k.float_columns(p, m, std::min(m + kBlock, p.rows), n, end);
    });
  }
}

inline void attend(const Attention& a, int isa = kAuto) {
  constexpr int64_t kPiece = 16;
  constexpr int64_t kRead = 1 << 18, kWorth = 1 << 20;  // keys, multiplications: worth waking helpers
  const Kernels k = kernels(isa);
  const int64_t pieces = (a.queries() + kPiece - 1) / kPiece, heads = a.batch * a.kv_heads;
  int64_t filled = 0;
  for (int64_t b = 0; b < a.batch; ++b) filled += a.end(b);
  const int64_t keys = filled * a.kv_heads * a.width;
  const bool large = keys >= kRead || keys * a.queries() >= kWorth;
  write_new(a);
  parallel(large ? a.workers : nullptr, heads * pieces, [&](int64_t i) {
    const int64_t b = i / pieces / a.kv_heads, h = i / pieces % a.kv_heads;
    const int64_t r0 = i % pieces * kPiece, r1 = std::min(r0 + kPiece, a.queries());
    const Range see = seen(a, b, r0, r1);
    const int64_t end = skip_padding(a, see, b, h, r0, r1);
    if (r0 < end) k.attend(a, see, b, h, r0, end);
  });
}

inline void convolve(const Convolution& c, int isa = kAuto) {
  // A piece's inputs stay in the second-level cache. Each gathers them anew: no more pieces than keep all
  // cores busy.
  constexpr int64_t kInputs = 1 << 15, kLeastRows = 128, kColumns = 64, kEach = 2;
  constexpr int64_t kWorth = 1 << 20;  // multiplications that are worth waking helpers
  const Kernels k = kernels(isa);
  const bool large = c.batch * c.outputs() * c.depth() * c.cout >= kWorth;
  const int64_t most = std::max(kInputs / (c.stride * c.cin), kLeastRows);
  const int64_t blocks = (c.outputs() + most - 1) / most;
  const int64_t rows = round_up((c.outputs() + blocks - 1) / blocks, kPlaces);
  const int64_t wanted = large && c.workers ? kEach * c.workers->cores : 1;
  const int64_t shares = std::max<int64_t>(wanted / (c.batch * blocks), 1);
  const int64_t columns = round_up((c.cout + shares - 1) / shares, kColumns);
  const int64_t strips = (c.cout + columns - 1) / columns, pieces = c.batch * blocks * strips;
  parallel(large ? c.workers : nullptr, pieces, [&](int64_t i) {
    const int64_t b = i / (blocks * strips), r0 = i / strips % blocks * rows;
    const int64_t n0 = i % strips * columns;
    const int64_t r1 = std::min(r0 + rows, c.outputs()), n1 = std::min(n0 + columns, c.cout);
    if (r0 < r1) k.convolve(c, b, r0, r1, n0, n1);
  });
}

inline void normalise(const Norm& n, int isa = kAuto) { kernels(isa).normalise(n); }

inline void speak(const Vocoder& v, int isa = kAuto) {
  const Kernels k = kernels(isa);
  parallel(v.workers, v.batch, [&](int64_t b) { k.speak(v, b); });
}

}  // namespace int8k
