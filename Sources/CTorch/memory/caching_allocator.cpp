// The CPU allocator of programs that train: large tensors from an arena, small ones from malloc.
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/alignment.h>
#include <c10/util/Exception.h>
#include <malloc.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <mutex>

#include "../guarded.h"
#include "arena.h"

namespace {

/// From this many bytes on memory comes from the arena.
constexpr size_t kLarge = size_t(64) << 10;
/// Address space for each byte of memory: holes between blocks take address space, not memory.
constexpr size_t kSpacePerByte = 16;

ctorch::Arena *arena = nullptr;

void release(void *data) {
  if (data == nullptr) return;
  if (arena->contains(data))
    arena->give_back(data);
  else
    std::free(data);  // also what libtorch's own allocator took before
}

class CachingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t byte_count) override {
    void *data = nullptr;
    if (byte_count >= kLarge) {
      data = arena->take(byte_count);
    } else if (byte_count > 0) {
      if (posix_memalign(&data, c10::gAlignment, byte_count) != 0) data = nullptr;
    }
    TORCH_CHECK_WITH(OutOfMemoryError, data != nullptr || byte_count == 0, "the system has no ", byte_count,
                     " bytes of memory for a tensor, beside the ", arena->kept_bytes(), " that tensors have or had");
    c10::Device cpu(c10::DeviceType::CPU);
    if (c10::memoryProfilingEnabled())
      c10::reportMemoryUsageToProfiler(data, static_cast<int64_t>(byte_count), arena->used_bytes(), arena->kept_bytes(),
                                       cpu);
    return {data, data, &release, cpu};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void *to, const void *from, size_t byte_count) const override { std::memcpy(to, from, byte_count); }
};

size_t system_memory() {
  auto pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
  return pages > 0 && size > 0 ? size_t(pages) * size_t(size) : size_t(64) << 30;
}

void install() {
  // Tensors may outlive everything: neither is ever freed.
  static auto *space = new ctorch::Arena(kSpacePerByte * system_memory());
  if (!space->is_usable()) return;  // a limit on address space: libtorch's allocator stays
  arena = space;
  static auto *allocator = new CachingAllocator();
  c10::SetAllocator(c10::DeviceType::CPU, allocator, /*priority=*/128);
}

}  // namespace

CTStatus ct_keep_freed_memory(void) {
  return guarded([] {
    static std::once_flag once;
    std::call_once(once, [] {
#if defined(__GLIBC__)
      // What libraries allocate by themselves, such as oneDNN's scratch memory.
      mallopt(M_MMAP_MAX, 0);
      mallopt(M_TRIM_THRESHOLD, -1);  // never
      mallopt(M_TOP_PAD, 16 << 20);
#endif
      install();
    });
  });
}

int64_t ct_arena_used_bytes(void) { return arena == nullptr ? 0 : static_cast<int64_t>(arena->used_bytes()); }
int64_t ct_arena_kept_bytes(void) { return arena == nullptr ? 0 : static_cast<int64_t>(arena->kept_bytes()); }
