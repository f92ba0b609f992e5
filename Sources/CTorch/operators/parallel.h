// A parallel loop on libtorch's own threads.
//
// ATen's header-only at::parallel_for becomes serial in code that is not compiled with OpenMP, and
// clang's OpenMP is not the GNU one that libtorch carries. So the region is started through the GNU
// runtime's entry point, which libtorch_cpu has already loaded: one pool of threads serves both.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <type_traits>

namespace xtuner {

/// Rows of this many elements that are worth another thread.
inline int64_t row_grain(int64_t width) { return std::max<int64_t>(1, 16384 / std::max<int64_t>(width, 1)); }

using RangeBody = void (*)(void *context, int64_t begin, int64_t end);

/// Calls `body` on disjoint ranges that cover 0..<count, each of at least `grain` but the last.
void parallel_ranges(int64_t count, int64_t grain, RangeBody body, void *context);

/// Calls `body(begin, end)` on disjoint ranges that cover 0..<count.
template <typename Body>
void parallel_for(int64_t count, int64_t grain, Body &&body) {
  parallel_ranges(
      count, grain,
      [](void *context, int64_t begin, int64_t end) {
        (*static_cast<std::remove_reference_t<Body> *>(context))(begin, end);
      },
      &body);
}

/// Calls `body(item)` once for every item of 0..<count; a thread takes the next one when it is free.
template <typename Body>
void parallel_items(int64_t count, int64_t threads, Body &&body) {
  std::atomic<int64_t> next{0};
  parallel_for(threads < count ? threads : count, 1, [&](int64_t, int64_t) {
    for (int64_t item = next++; item < count; item = next++) body(item);
  });
}

/// The same with memory for each thread: `body(item, memory)`. `make()` may throw, as it is called before the
/// thread takes an item: no item is left half done that another one waits for.
template <typename Make, typename Body>
void parallel_items(int64_t count, int64_t threads, Make &&make, Body &&body) {
  std::atomic<int64_t> next{0};
  parallel_for(threads < count ? threads : count, 1, [&](int64_t, int64_t) {
    auto memory = make();
    for (int64_t item = next++; item < count; item = next++) body(item, memory);
  });
}

}  // namespace xtuner
