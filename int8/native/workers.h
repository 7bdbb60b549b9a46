// Work that is large enough to be shared with threads of somebody else's pool, as long as nobody else
// computes on the cores that there are. Knows nothing of the work or of the pool.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

namespace int8k {

// A pool as its owner offers it: may be slow, busy with other things, or full; what it is given may
// run late or never.
struct Workers {
  int64_t helpers = 0;  // how many threads may help
  int64_t cores = 0;    // how many threads may be at work in all calls together
  std::function<void(std::function<void()>)> schedule;
};

// A thread is in a call while one of these lives. Calls side by side take a core each, a single one all
// of them.
class Presence {
 public:
  Presence() { ++threads; }
  ~Presence() { --threads; }
  Presence(const Presence&) = delete;

  static inline std::atomic<int64_t> threads{0};
};

// Calls work(i) for all 0 <= i < count. The caller works too, and in the end waits only for helpers
// that are at work: nothing ever waits for a thread to become free, so nothing can deadlock. Helpers
// leave when calls of others need their cores.
inline void parallel(const Workers* workers, int64_t count,
                     const std::function<void(int64_t)>& work) {
  int64_t helpers = 0;
  if (workers) helpers = std::min({workers->helpers, count - 1, workers->cores - Presence::threads});
  if (helpers <= 0) {
    for (int64_t i = 0; i < count; ++i) work(i);
    return;
  }
  struct Job {  // outlives the call: a helper may come after the end
    const std::function<void(int64_t)>* work;
    int64_t count, cores;
    std::atomic<int64_t> next{0}, busy{0};
  };
  const auto job = std::make_shared<Job>();
  job->work = &work, job->count = count, job->cores = workers->cores;
  const auto help = [job] {
    ++job->busy;  // before it claims, so that the caller knows of it
    {
      const Presence presence;
      while (Presence::threads <= job->cores) {
        const int64_t i = job->next++;
        if (i >= job->count) break;
        (*job->work)(i);
      }
    }
    --job->busy;
  };
  for (int64_t i = 0; i < helpers; ++i) workers->schedule(help);
  for (int64_t i; (i = job->next++) < count;) work(i);
  while (job->busy > 0) std::this_thread::yield();
}

}  // namespace int8k
