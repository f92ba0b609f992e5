#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <atomic>
#include <mutex>

#include "../guarded.h"
#include "ctorch_distributed.h"

namespace {

std::atomic<int64_t> live_bytes{0};
std::atomic<int64_t> peak_bytes{0};

/// What lies in front of counted memory; as long as libtorch's alignment, so that it is kept.
struct alignas(c10::gAlignment) Header {
  uintptr_t mark;
  size_t byte_count;
  void *memory;
  c10::DeleterFnPtr release;
};
static_assert(sizeof(Header) == c10::gAlignment);

c10::Allocator *base_allocator = nullptr;

/// Differs from address to address, so that a copied header is not taken for one.
uintptr_t mark_of(const Header *header) { return reinterpret_cast<uintptr_t>(header) ^ 0x78'74'75'6e'65'72'63'6dU; }

void count(size_t byte_count) {
  auto bytes = static_cast<int64_t>(byte_count);
  int64_t live = live_bytes.fetch_add(bytes) + bytes;
  int64_t peak = peak_bytes.load();
  while (live > peak && !peak_bytes.compare_exchange_weak(peak, live)) {
  }
}

void release_counted(void *data) {
  if (data == nullptr) return;
  auto *place = static_cast<Header *>(data) - 1;
  if (place->mark != mark_of(place)) {
    // raw_deallocate brings memory from before the counting here. Reading in front of it is safe: blocks are
    // aligned to the header's size and the C allocator's own record lies in front of each.
    base_allocator->raw_deallocate(data);
    return;
  }
  Header header = *place;
  place->mark = 0;
  live_bytes.fetch_sub(static_cast<int64_t>(header.byte_count));
  header.release(header.memory);
}

class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t byte_count) override {
    if (byte_count == 0) return base_allocator->allocate(0);
    auto inner = base_allocator->allocate(byte_count + sizeof(Header));
    TORCH_CHECK(inner.get() == inner.get_context(), "the CPU allocator's memory cannot be counted");
    auto *header = new (inner.get()) Header{0, byte_count, inner.get(), inner.get_deleter()};
    header->mark = mark_of(header);
    auto device = inner.device();
    inner.release_context();
    count(byte_count);
    // The context is the data, as raw_allocate demands.
    return {header + 1, header + 1, &release_counted, device};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &release_counted; }
  void copy_data(void *to, const void *from, size_t byte_count) const override {
    base_allocator->copy_data(to, from, byte_count);
  }
};

}  // namespace

CTStatus ct_memory_start_counting(void) {
  return guarded([] {
    static std::once_flag once;
    std::call_once(once, [] {
      base_allocator = c10::GetCPUAllocator();
      // Tensors may outlive everything: the allocator is never freed.
      static auto *allocator = new CountingAllocator();
      c10::SetAllocator(c10::DeviceType::CPU, allocator, /*priority=*/255);
    });
  });
}

int64_t ct_memory_live_bytes(void) { return live_bytes.load(); }
int64_t ct_memory_peak_bytes(void) { return peak_bytes.load(); }
void ct_memory_reset_peak(void) { peak_bytes.store(live_bytes.load()); }
