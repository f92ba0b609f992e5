// Runs kernels on the host: blocks one after another, and the threads of a block as coroutines, each until it waits for
// others.
//
// What this finds: wrong indices and sums, accesses beyond memory or at addresses that 16 bytes must not have (with the
// sanitizers), waits that not all threads reach, and most missing barriers, since the threads' order changes. What it
// cannot find: races within a warp, limits of registers and shared memory, and anything about speed.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
// Of the thread that runs at present.
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {

/// Ends the program with a message that names the kernel's thread.
[[noreturn]] void trap(const char *message);

int lane();
void wait_for_block();
void wait_for_warp();
/// Gives `bits` to the warp's other lanes and returns what lane `source` gave.
uint64_t exchanged_bits(unsigned mask, uint64_t bits, int source);

template <typename T>
T exchanged(unsigned mask, T value, int source) {
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof(T));
  bits = exchanged_bits(mask, bits, source);
  memcpy(&value, &bits, sizeof(T));
  return value;
}

void run(dim3 grid, dim3 block, const std::function<void()> &thread);

/// How many launches there were.
int64_t launch_count();

template <typename... Parameters>
struct Launch {
  dim3 grid, block;
  void (*kernel)(Parameters...);

  void operator()(Parameters... parameters) const {
    run(grid, block, [&] { kernel(parameters...); });
  }
};
template <typename... Parameters>
Launch<Parameters...> launch(dim3 grid, dim3 block, void (*kernel)(Parameters...)) {
  return {grid, block, kernel};
}

}  // namespace emulated
