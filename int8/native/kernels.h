// Chooses the instruction set at run time. The only header a caller needs; knows nothing of XLA.
#pragma once

#include "portable.h"

#if defined(__x86_64__)
#include <cpuid.h>

#include "avx2.h"
#include "avx512.h"
#if (defined(__clang__) && __clang_major__ >= 12) || (!defined(__clang__) && __GNUC__ >= 11)
#define INT8_HAVE_AVXVNNI
#include "avxvnni.h"
#endif
#elif defined(__aarch64__)
#if defined(__ARM_FEATURE_DOTPROD) || !defined(__clang__) || __clang_major__ >= 16
#define INT8_HAVE_NEON  // older clang knows the instruction only where all code may use it
#include "neon.h"
#endif
#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#endif

namespace int8k {

// The numbers are part of the interface to Python (native_dot.py).
enum Isa : int { kAuto = 0, kPortable = 1, kAvx2 = 2, kAvxVnni = 3, kAvx512Vnni = 4, kNeon = 5 };
constexpr int kIsaCount = 6;

inline bool supported(int isa) {
  if (isa == kPortable) return true;
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2");
  if (isa == kAvx2) return avx2;
  if (isa == kAvx512Vnni) {
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
  }
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
    for (int isa : {kAvx512Vnni, kAvxVnni, kAvx2, kNeon}) {
      if (supported(isa)) return isa;
    }
    return static_cast<int>(kPortable);
  }();
  return best;
}

// The problem must be valid() and the instruction set supported().
inline void dot(const Problem& p, int isa = kAuto) {
  if (p.rows == 0 || p.out == 0) return;
  switch (isa == kAuto ? best_isa() : isa) {
#if defined(__x86_64__)
    case kAvx512Vnni: return avx512::run(p);
#if defined(INT8_HAVE_AVXVNNI)
    case kAvxVnni: return avxvnni::run(p);
#endif
    case kAvx2: return avx2::run(p);
#elif defined(INT8_HAVE_NEON)
    case kNeon: return neon::run(p);
#endif
    default: return portable::run(p);
  }
}

}  // namespace int8k
