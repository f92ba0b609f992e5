// Pinned host memory of the test device: ordinary memory that it knows.
#include <ATen/core/CachingHostAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include "memory.h"
#include "streams.h"

namespace test_device {
namespace {

void release(void *memory) {
  if (memory == nullptr) return;
  remove_block(memory);
  c10::free_cpu(memory);
}

class PinnedAllocator final : public at::HostAllocator {
 public:
  c10::DataPtr allocate(size_t count) override {
    if (count == 0) return {nullptr, nullptr, &release, c10::kCPU};
    void *memory = c10::alloc_cpu(count);
    add_block(memory, count, current_device(), /*is_pinned=*/true);
    return {memory, memory, &release, c10::kCPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void *to, const void *from, size_t count) const override { default_copy_data(to, from, count); }
  bool record_event(void *, void *, c10::Stream) override { return true; }
  void empty_cache() override {}
  at::HostStats get_stats() override { return {}; }
  void reset_accumulated_stats() override {}
  void reset_peak_stats() override {}
};

PinnedAllocator &the_allocator() {
  static auto *allocator = new PinnedAllocator();
  return *allocator;
}

[[maybe_unused]] const bool is_set = [] {
  at::setHostAllocator(c10::kPrivateUse1, &the_allocator());
  return true;
}();

}  // namespace

c10::Allocator *pinned_allocator() { return &the_allocator(); }

}  // namespace test_device
