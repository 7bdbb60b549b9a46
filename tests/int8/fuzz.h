// What the kernel fuzzers share: randomness, memory that ends where its allocation ends, and pools
// of every temper.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "kernels.h"

namespace fuzz {

inline std::mt19937 rng;

inline int64_t pick(int64_t lo, int64_t hi) {
  return std::uniform_int_distribution<int64_t>(lo, hi)(rng);
}
inline float uniform() { return std::uniform_real_distribution<float>(-1, 1)(rng); }

// Memory that starts `offset` elements into its allocation and ends with it.
template <class T>
struct Buffer {
  explicit Buffer(int64_t count, int64_t offset = pick(0, 64 / int64_t{sizeof(T)} - 1))
      : memory(std::malloc(size_t(count + offset + (count == 0)) * sizeof(T)), &std::free),
        data(static_cast<T*>(memory.get()) + offset),
        count(count) {}
  std::unique_ptr<void, decltype(&std::free)> memory;
  T* data;
  int64_t count;

  void fill(float scale) {
    for (int64_t i = 0; i < count; ++i) data[i] = uniform() * scale;
  }
};

// A pool that helps at once, in the caller's own thread, after the end, or never.
class Helpers {
 public:
  Helpers() : temper_(pick(0, 4)) {
    workers_.helpers = pick(0, 3), workers_.cores = pick(0, 4);
    workers_.schedule = [this](std::function<void()> f) {
      if (temper_ == 0) f();
      if (temper_ == 1 || temper_ == 2) threads_.emplace_back(std::move(f));
      if (temper_ == 3) late_.push_back(std::move(f));
    };
  }
  ~Helpers() {
    for (auto& f : late_) f();
    for (auto& t : threads_) t.join();
  }
  const int8k::Workers* get() const { return &workers_; }

 private:
  int64_t temper_;
  int8k::Workers workers_;
  std::vector<std::thread> threads_;
  std::vector<std::function<void()>> late_;
};

// Runs a case on every instruction set this machine has.
template <class Check>
bool on_all(const Check& check) {
  bool ok = true;
  for (int isa = int8k::kAuto; isa < int8k::kIsaCount; ++isa) {
    if (isa == int8k::kAuto || int8k::supported(isa)) ok = check(isa) && ok;
  }
  return ok;
}

// CASES SEED: prints the instruction sets covered, and after the "FAIL" lines a summary.
template <class Case>
int main(int argc, char** argv, const Case& one_case) {
  const int cases = argc > 1 ? std::atoi(argv[1]) : 300;
  rng.seed(argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 0);
  int failures = 0;
  for (int i = 0; i < cases; ++i) failures += !one_case();
  std::printf("isas");
  for (int isa = 1; isa < int8k::kIsaCount; ++isa) {
    if (int8k::supported(isa)) std::printf(" %d", isa);
  }
  std::printf("\ncases %d failures %d\n", cases, failures);
  return failures != 0;
}

}  // namespace fuzz
