// Memory of the test device: host memory at addresses that no process has, so that the CPU faults on them.
#include "memory.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <array>
#include <mutex>
#include <unordered_map>

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

using c10::CachingDeviceAllocator::DeviceStats;
constexpr auto aggregate = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);

class Allocator final : public c10::DeviceAllocator {
 public:
  c10::DataPtr allocate(size_t byte_count) override {
    auto index = current_device();
    c10::Device device(c10::kPrivateUse1, index);
    if (byte_count == 0) return {nullptr, nullptr, &release, device};
    void *memory = c10::alloc_cpu(byte_count);
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
  void recordStream(const c10::DataPtr &, c10::Stream) override {}
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

at::Tensor host_alias(const at::Tensor &tensor) {
  TORCH_CHECK(tensor.is_privateuseone(), tensor.device(), " is not the test device");
  auto options = tensor.options().device(at::kCPU).requires_grad(false);
  if (tensor.numel() == 0) return at::empty(tensor.sizes(), options);
  return at::from_blob(reveal(tensor.unsafeGetTensorImpl()->data()), tensor.sizes(), tensor.strides(), options);
}

}  // namespace test_device
