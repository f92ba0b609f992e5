#include "emulator.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#define XTUNER_UNPOISON(data, size) ASAN_UNPOISON_MEMORY_REGION(data, size)
#endif
#endif
#ifndef XTUNER_UNPOISON
#define XTUNER_UNPOISON(data, size) static_cast<void>(0)
#endif

dim3 threadIdx, blockIdx, blockDim, gridDim;

// ---- Switching between stacks. Coroutines of the C library make two system calls for each switch.
#ifdef __x86_64__
extern "C" void emulated_switch(void **from, void *to);
asm(R"(
.text
.globl emulated_switch
emulated_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
#endif

namespace emulated {
namespace {

constexpr size_t kStack = size_t(1) << 18;
constexpr int kMostThreads = 1024, kLanes = 32;

struct Barrier {
  int arrived = 0;
  unsigned generation = 0;
};
struct Thread {
  char *stack = nullptr;
  bool has_ended = true;
#ifdef __x86_64__
  void *context = nullptr;
#else
  ucontext_t context;
#endif
};

Thread threads[kMostThreads];
#ifdef __x86_64__
void *scheduler;
#else
ucontext_t scheduler;
#endif
int current, thread_count, live_count, warp_live[kLanes];
uint64_t progress;
int64_t launches;
Barrier block_barrier, warp_barriers[kLanes];
uint64_t given[kLanes][2][kLanes];
const std::function<void()> *body;

void pause() {
#ifdef __x86_64__
  emulated_switch(&threads[current].context, scheduler);
#else
  swapcontext(&threads[current].context, &scheduler);
#endif
}

void end_thread() {
  threads[current].has_ended = true;
  ++progress;
  --live_count;
  --warp_live[current / kLanes];
  if (live_count > 0 && block_barrier.arrived == live_count) {
    block_barrier.arrived = 0;
    ++block_barrier.generation;
  }
}

void thread_main() {
  (*body)();
  end_thread();
  pause();
  std::abort();  // nobody goes on with an ended thread
}

void prepare(Thread &thread) {
  if (thread.stack == nullptr) {
    auto memory = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) trap("no memory for a thread's stack");
    thread.stack = static_cast<char *>(memory);
  }
  thread.has_ended = false;
  // The frame of the thread before never returned.
  XTUNER_UNPOISON(thread.stack + kStack - 8192, 8192);
#ifdef __x86_64__
  auto top = reinterpret_cast<void **>(thread.stack + kStack);
  *--top = nullptr;  // what the first function takes for its return address, so that the stack is aligned
  *--top = reinterpret_cast<void *>(thread_main);
  top -= 6;
  std::fill(top, top + 6, nullptr);
  thread.context = top;
#else
  getcontext(&thread.context);
  thread.context.uc_stack.ss_sp = thread.stack;
  thread.context.uc_stack.ss_size = kStack;
  thread.context.uc_link = nullptr;
  makecontext(&thread.context, thread_main, 0);
#endif
}

void resume(int index) {
  current = index;
  unsigned i = unsigned(index);
  threadIdx = dim3(i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y));
#ifdef __x86_64__
  emulated_switch(&scheduler, threads[index].context);
#else
  swapcontext(&scheduler, &threads[index].context);
#endif
}

/// Waits until `count` threads have come.
void wait(Barrier &barrier, int count) {
  unsigned generation = barrier.generation;
  if (++barrier.arrived == count) {
    barrier.arrived = 0;
    ++barrier.generation;
    ++progress;
    return;
  }
  while (barrier.generation == generation) pause();
}

void run_block() {
  live_count = thread_count;
  block_barrier = {};
  std::fill(warp_live, warp_live + kLanes, 0);
  std::fill(warp_barriers, warp_barriers + kLanes, Barrier{});
  for (int i = 0; i < thread_count; ++i) {
    prepare(threads[i]);
    ++warp_live[i / kLanes];
  }
  for (int pass = 0; live_count > 0; ++pass) {
    uint64_t before = progress;
    for (int i = 0; i < thread_count; ++i) {
      int index = pass % 2 == 0 ? i : thread_count - 1 - i;
      if (!threads[index].has_ended) resume(index);
    }
    if (progress == before) trap("threads wait for others that do not come");
  }
}

}  // namespace

void trap(const char *message) {
  std::fprintf(stderr, "error: emulated kernel, block %u,%u,%u thread %u,%u,%u: %s\n", blockIdx.x, blockIdx.y,
               blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z, message);
  std::abort();
}

int lane() { return current % kLanes; }
void wait_for_block() { wait(block_barrier, live_count); }
void wait_for_warp() { wait(warp_barriers[current / kLanes], warp_live[current / kLanes]); }

uint64_t exchanged_bits(unsigned mask, uint64_t bits, int source) {
  int warp = current / kLanes;
  if (mask != ~0u || warp_live[warp] != kLanes) trap("not all lanes of the warp take part in an exchange");
  // Two sets of places: a lane may give again before another one has taken.
  auto &places = given[warp][warp_barriers[warp].generation % 2];
  places[lane()] = bits;
  wait_for_warp();
  return places[source];
}

void run(dim3 grid, dim3 block, const std::function<void()> &thread) {
  thread_count = int(block.x * block.y * block.z);
  blockIdx = threadIdx = dim3(0, 0, 0);
  if (thread_count < 1 || thread_count > kMostThreads || grid.x < 1 || grid.y < 1 || grid.z < 1 || grid.y > 65535)
    trap("a launch without blocks, or with too many threads");
  ++launches;
  body = &thread;
  blockDim = block;
  gridDim = grid;
  for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) run_block();
}

int64_t launch_count() { return launches; }

}  // namespace emulated
