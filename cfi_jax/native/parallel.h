// Tasks on the threads of XLA's own pool, and the memory that a task works in.
#pragma once
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "vectors.h"
#include "xla/ffi/api/ffi.h"

namespace cfi {
namespace ffi = xla::ffi;

// Tasks that caller and helpers draw in turn. What a task computes may depend on its number, never
// on who draws it.
struct Job {
  std::atomic<int64_t> next{0}, done{0};
  std::atomic<bool> failed{false};
  int64_t tasks;
  std::function<void(int64_t)> run;
  std::mutex mutex;
  std::condition_variable finished;

  void work() {
    for (int64_t task; (task = next.fetch_add(1)) < tasks;) {
      try {
        run(task);
      } catch (const std::bad_alloc&) {
        failed = true;
      }
      if (done.fetch_add(1) + 1 == tasks) {
        std::lock_guard<std::mutex> lock(mutex);
        finished.notify_all();
      }
    }
  }
};

// Runs f(task) for all tasks. Waits only for tasks that a helper has begun, so that a busy pool
// cannot block it; a helper that comes late finds no task and touches nothing of the caller's.
template <class F>
void parallel(ffi::ThreadPool& pool, int64_t tasks, F f) {
  auto job = std::make_shared<Job>();
  job->tasks = tasks;
  job->run = std::ref(f);
  const int64_t helpers = std::min<int64_t>(pool.num_threads(), tasks) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule([job] { job->work(); });
  job->work();
  std::unique_lock<std::mutex> lock(job->mutex);
  job->finished.wait(lock, [&] { return job->done.load() == tasks; });
  if (job->failed) throw std::bad_alloc();
}

// Arrays of floats, not initialised, for the time of one task; at most one Scratch per thread. The
// thread keeps the memory up to a bound, so that most tasks find pages that are there already.
class Scratch {
 public:
  explicit Scratch(std::initializer_list<int64_t> sizes) {
    int64_t total = kAlign;
    for (int64_t size : sizes) {
      starts_.push_back(total);
      total += round_up(size + kAlign, kAlign);
    }
    thread_local std::vector<float> kept;
    std::vector<float>& memory = total <= kKept ? kept : own_;
    if (int64_t(memory.size()) < total) memory.resize(total);
    const auto address = reinterpret_cast<uintptr_t>(memory.data());
    first_ = memory.data() + (64 - address % 64) % 64 / 4 - kAlign;
  }
  float* operator[](int i) const { return first_ + starts_[i]; }

 private:
  static constexpr int64_t kAlign = 16, kKept = 4 << 20;
  std::vector<int64_t> starts_;
  std::vector<float> own_;
  float* first_;
};

// One array of floats per task, not initialised; `sum` adds them up in the tasks' order.
class Slots {
 public:
  Slots(int64_t count, int64_t size) : size(size), memory_(new float[count * size]) {}
  float* operator[](int64_t task) const { return memory_.get() + task * size; }
  // out[i] = the sum of slots first to last (excluded) at i, in double.
  void sum(int64_t first, int64_t last, int64_t i0, int64_t i1, float* out) const {
    constexpr int64_t kBlock = 128;
    for (int64_t i = i0; i < i1; i += kBlock) {
      const int64_t n = std::min(kBlock, i1 - i);
      double total[kBlock] = {};
      for (int64_t t = first; t < last; ++t) {
        const float* slot = (*this)[t] + i;
        for (int64_t k = 0; k < n; ++k) total[k] += slot[k];
      }
      for (int64_t k = 0; k < n; ++k) out[i - i0 + k] = float(total[k]);
    }
  }
  const int64_t size;

 private:
  std::unique_ptr<float[]> memory_;
};

}  // namespace cfi
