#include "parallel.h"

#include <ATen/Parallel.h>
#include <dlfcn.h>

#include <algorithm>
#include <exception>
#include <mutex>

namespace xtuner {
namespace {

struct Runtime {
  void (*parallel)(void (*)(void *), void *, unsigned, unsigned) = nullptr;
  int (*thread_number)() = nullptr;
  int (*team_size)() = nullptr;
  int (*in_parallel)() = nullptr;

  Runtime() {
    parallel = reinterpret_cast<decltype(parallel)>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
    thread_number = reinterpret_cast<decltype(thread_number)>(dlsym(RTLD_DEFAULT, "omp_get_thread_num"));
    team_size = reinterpret_cast<decltype(team_size)>(dlsym(RTLD_DEFAULT, "omp_get_num_threads"));
    in_parallel = reinterpret_cast<decltype(in_parallel)>(dlsym(RTLD_DEFAULT, "omp_in_parallel"));
    TORCH_CHECK(parallel && thread_number && team_size && in_parallel,
                "libgomp is not in the process: libtorch was built with another thread runtime");
  }
};

struct Region {
  const Runtime *runtime;
  int64_t count;
  RangeBody body;
  void *context;
  std::mutex lock;
  std::exception_ptr failure;
};

void run_share(void *argument) {
  auto &region = *static_cast<Region *>(argument);
  int64_t threads = region.runtime->team_size();
  int64_t index = region.runtime->thread_number();
  int64_t begin = region.count * index / threads, end = region.count * (index + 1) / threads;
  if (begin == end) return;
  try {
    region.body(region.context, begin, end);
  } catch (...) {  // nothing may unwind through the C runtime
    std::lock_guard<std::mutex> guard(region.lock);
    region.failure = std::current_exception();
  }
}

}  // namespace

void parallel_ranges(int64_t count, int64_t grain, RangeBody body, void *context) {
  static const Runtime runtime;
  if (count <= 0) return;
  int64_t threads = std::min<int64_t>(at::get_num_threads(), (count + grain - 1) / std::max<int64_t>(grain, 1));
  if (threads <= 1 || runtime.in_parallel()) return body(context, 0, count);
  Region region{&runtime, count, body, context, {}, nullptr};
  runtime.parallel(run_share, &region, static_cast<unsigned>(threads), 0);
  if (region.failure) std::rethrow_exception(region.failure);
}

}  // namespace xtuner
