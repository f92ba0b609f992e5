// The arena: random blocks on several threads, and what happens when there is no more.
#include "../../Sources/CTorch/memory/arena.h"

#include <atomic>
#include <cstring>
#include <random>
#include <thread>

#include "support.h"

namespace sanitized {
namespace {

constexpr size_t kCapacity = size_t(96) << 20;

struct Block {
  char *data;
  size_t size;
  char mark;
};

/// Whether the block still holds what its owner wrote: at both ends, and at places between.
bool is_intact(const Block &block) {
  for (size_t i = 0; i < block.size; i += i + 4096 < block.size ? 4096 : 1)
    if (block.data[i] != block.mark) return false;
  return true;
}

/// Takes and gives back blocks of random sizes; returns how many were refused, or -1 when blocks overlap.
int64_t use(ctorch::Arena &arena, uint64_t seed, int rounds, size_t largest) {
  std::mt19937_64 numbers(seed);
  std::vector<Block> blocks;
  int64_t refused = 0;
  bool is_right = true;
  auto give_back = [&](size_t index) {
    is_right = is_right && is_intact(blocks[index]);
    arena.give_back(blocks[index].data);
    blocks[index] = blocks.back();
    blocks.pop_back();
  };
  for (int i = 0; i < rounds; ++i) {
    if (!blocks.empty() && (blocks.size() > 40 || numbers() % 2 == 0)) {
      give_back(numbers() % blocks.size());
      continue;
    }
    size_t size = numbers() % (numbers() % 4 == 0 ? largest : 20000);
    auto data = static_cast<char *>(arena.take(size));
    if (data == nullptr) {
      ++refused;
      if (!blocks.empty()) give_back(0);
      continue;
    }
    is_right = is_right && reinterpret_cast<uintptr_t>(data) % 64 == 0 && arena.contains(data);
    char mark = char(numbers());
    std::memset(data, mark, size);
    blocks.push_back({data, size, mark});
  }
  while (!blocks.empty()) give_back(0);
  return is_right ? refused : -1;
}

}  // namespace

void check_arena() {
  // All memory of an arena of its own: neighbours join whatever the order.
  ctorch::Arena arena(kCapacity);
  expect(arena.is_usable(), "arena: the system gave no address space");
  for (size_t largest : {size_t(1) << 16, size_t(3) << 20, kCapacity / 2}) {
    constexpr int kThreads = 3;
    std::vector<std::thread> threads;
    std::atomic<int64_t> refused{0};
    std::atomic<bool> is_right{true};
    for (int t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        int64_t count = use(arena, uint64_t(largest) + uint64_t(t), 1500, largest);
        if (count < 0) is_right = false;
        refused += count;
      });
    for (auto &thread : threads) thread.join();
    expect(is_right, text("arena: blocks of up to ", largest, " bytes overlap"));
    expect(largest != kCapacity / 2 || refused > 0, "arena: three threads do not exhaust it");
    expect(arena.used_bytes() == 0, text("arena: ", arena.used_bytes(), " bytes are in use when all are given back"));
  }
  expect(arena.kept_bytes() <= kCapacity, "arena: it keeps more than it has");

  // Sizes that cannot be, and memory that is not the arena's.
  for (size_t size : {kCapacity, kCapacity + 1, size_t(1) << 62, ~size_t(0)})
    expect(arena.take(size) == nullptr, text("arena: it gave ", size, " bytes"));
  int other = 0;
  expect(!arena.contains(&other), "arena: it claims the stack");
  arena.give_back(&other);
  ctorch::Arena unusable(size_t(1) << 60);
  expect(!unusable.is_usable() && unusable.take(0) == nullptr && unusable.take(1) == nullptr &&
             !unusable.contains(nullptr),
         "arena: it gave memory without address space");

  // One block of everything, after holes were filled.
  ctorch::Arena whole(kCapacity);
  std::vector<void *> taken;
  while (void *data = whole.take(300'007)) taken.push_back(data);
  for (size_t i = 0; i < taken.size(); i += 2) whole.give_back(taken[i]);
  for (size_t i = 0; i < taken.size(); i += 2)
    expect((taken[i] = whole.take(299'993)) != nullptr, "arena: no hole fits");
  for (void *data : taken) whole.give_back(data);
  void *all = whole.take(kCapacity - (size_t(1) << 20));
  expect(all != nullptr, "arena: neighbours do not join");
  if (all != nullptr) std::memset(all, 1, kCapacity - (size_t(1) << 20));
}

}  // namespace sanitized
