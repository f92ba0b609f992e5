// Memory of the test device: host memory at addresses that no process has, so that the CPU faults on them.
#include "memory.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <array>
#include <atomic>
#include <limits>
#include <mutex>
#include <unordered_map>

#include "streams.h"
#include "test_device.h"

namespace test_device {
namespace {

/// A bit that no address of user space has, on x86-64 (47 or 56 bits) and arm64 (48 or 52), and that arm64 does
/// not ignore as it does the top byte.
constexpr uintptr_t hidden_bit = uintptr_t{1} << 52;

void *hide(void *memory) { return reinterpret_cast<void *>(reinterpret_cast<uintptr_t>(memory) | hidden_bit); }
void *reveal(const void *address) {
  auto bits = reinterpret_cast<uintptr_t>(address);
  TORCH_CHECK(bits == 0 || (bits & hidden_bit) != 0, "an address of the host is taken for one of the test device");
  return reinterpret_cast<void *>(bits & ~hidden_bit);
}

/// Bytes that each device has; what goes beyond is refused.
std::atomic<int64_t> limit{std::numeric_limits<int64_t>::max()};

using c10::CachingDeviceAllocator::DeviceStats;
constexpr auto aggregate = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);

class Allocator final : public c10::DeviceAllocator {
 public:
  c10::DataPtr allocate(size_t byte_count) override {
    auto index = current_device();
    c10::Device device(c10::kPrivateUse1, index);
    if (byte_count == 0) return {nullptr, nullptr, &release, device};
    check_limit(byte_count, index);
    void *memory = c10::alloc_cpu(byte_count);
    add_block(memory, byte_count, index, /*is_pinned=*/false);
    std::lock_guard<std::mutex> turn(lock_);
    blocks_[memory] = {byte_count, index};
    stats_[index].allocated_bytes[aggregate].increase(byte_count);
    return {hide(memory), hide(memory), &release, device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void *to, const void *from, size_t byte_count) const override {
    default_copy_data(reveal(to), reveal(from), byte_count);
  }

  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override {}
  void recordStream(const c10::DataPtr &data, c10::Stream stream) override {
    if (data.get() != nullptr) record_stream(reveal(data.get()), stream);
  }
  DeviceStats getDeviceStats(c10::DeviceIndex device) override {
    std::lock_guard<std::mutex> turn(lock_);
    return stats_.at(device);
  }
  void resetAccumulatedStats(c10::DeviceIndex device) override {
    std::lock_guard<std::mutex> turn(lock_);
    stats_.at(device).allocated_bytes[aggregate].reset_accumulated();
  }
  void resetPeakStats(c10::DeviceIndex device) override {
    std::lock_guard<std::mutex> turn(lock_);
    stats_.at(device).allocated_bytes[aggregate].reset_peak();
  }

 private:
  struct Block {
    size_t byte_count;
    c10::DeviceIndex device;
  };

  static void release(void *address);

  void check_limit(size_t byte_count, c10::DeviceIndex index) {
    std::lock_guard<std::mutex> turn(lock_);
    auto live = stats_[index].allocated_bytes[aggregate].current;
    TORCH_CHECK_WITH(OutOfMemoryError, live + static_cast<int64_t>(byte_count) <= limit.load(), "the test device has ",
                     limit.load(), " bytes, of which ", live, " are in use, and not ", byte_count, " more");
  }

  std::mutex lock_;
  std::unordered_map<void *, Block> blocks_;
  std::array<DeviceStats, device_count> stats_{};
};

Allocator &the_allocator() {
  // Tensors may outlive everything: never freed.
  static auto *allocator = new Allocator();
  return *allocator;
}

void Allocator::release(void *address) {
  if (address == nullptr) return;
  void *memory = reveal(address);
  remove_block(memory);
  auto &self = the_allocator();
  {
    std::lock_guard<std::mutex> turn(self.lock_);
    auto block = self.blocks_.find(memory);
    TORCH_CHECK(block != self.blocks_.end(), "memory is freed that the test device did not give");
    self.stats_[block->second.device].allocated_bytes[aggregate].decrease(block->second.byte_count);
    self.blocks_.erase(block);
  }
  c10::free_cpu(memory);
}

[[maybe_unused]] const bool is_set = [] {
  c10::SetAllocator(c10::kPrivateUse1, &the_allocator());
  return true;
}();

}  // namespace

c10::Allocator *allocator() { return &the_allocator(); }

void *host_address(const at::Tensor &tensor) { return reveal(tensor.unsafeGetTensorImpl()->data()); }

at::Tensor host_alias(const at::Tensor &tensor) {
  TORCH_CHECK(tensor.is_privateuseone(), tensor.device(), " is not the test device");
  auto options = tensor.options().device(at::kCPU).requires_grad(false);
  if (tensor.numel() == 0) return at::empty(tensor.sizes(), options);
  return at::from_blob(host_address(tensor), tensor.sizes(), tensor.strides(), options);
}

}  // namespace test_device

void test_device_set_memory_limit(int64_t byte_count) {
  test_device::limit = byte_count > 0 ? byte_count : std::numeric_limits<int64_t>::max();
}
