// Work that is large enough to be shared with threads of somebody else's pool. Knows nothing of the
// work or of the pool.
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
  int64_t helpers;  // how many threads may help
  std::function<void(std::function<void()>)> schedule;
};

// Calls work(i) for all 0 <= i < count. The caller works too, and in the end waits only for helpers
// that are at work: nothing ever waits for a thread to become free, so nothing can deadlock.
inline void parallel(const Workers* workers, int64_t count,
                     const std::function<void(int64_t)>& work) {
  const int64_t helpers = workers ? std::min(workers->helpers, count - 1) : 0;
  if (helpers <= 0) {
    for (int64_t i = 0; i < count; ++i) work(i);
    return;
  }
  struct Job {  // outlives the call: a helper may come after the end
    const std::function<void(int64_t)>* work;
    int64_t count;
    std::atomic<int64_t> next{0}, busy{0};
  };
  const auto job = std::make_shared<Job>();
  job->work = &work, job->count = count;
  const auto claim = [job] {
    ++job->busy;  // before it claims, so that the caller knows of it
    for (int64_t i; (i = job->next++) < job->count;) (*job->work)(i);
    --job->busy;
  };
  for (int64_t i = 0; i < helpers; ++i) workers->schedule(claim);
  for (int64_t i; (i = job->next++) < count;) work(i);
  while (job->busy > 0) std::this_thread::yield();
}

}  // namespace int8k
