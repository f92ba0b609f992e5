// Current device, streams and events of the test device.
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "memory.h"
#include "streams.h"

namespace test_device {
namespace {

thread_local c10::DeviceIndex current = 0;

c10::DeviceIndex checked(c10::DeviceIndex index) {
  TORCH_CHECK(index >= 0 && index < device_count, "the test device ", int(index), " does not exist");
  return index;
}

struct Guard final : c10::impl::DeviceGuardImplInterface {
  static constexpr auto static_type = c10::kPrivateUse1;

  c10::DeviceType type() const override { return static_type; }
  c10::Device exchangeDevice(c10::Device device) const override {
    auto previous = getDevice();
    setDevice(device);
    return previous;
  }
  c10::Device getDevice() const override { return {static_type, current}; }
  void setDevice(c10::Device device) const override { current = checked(device.index()); }
  void uncheckedSetDevice(c10::Device device) const noexcept override { current = device.index(); }
  c10::DeviceIndex deviceCount() const noexcept override { return device_count; }

  c10::Stream getStream(c10::Device device) const override { return current_stream(index(device)); }
  c10::Stream getDefaultStream(c10::Device device) const override {
    return c10::Stream(c10::Stream::DEFAULT, {static_type, index(device)});
  }
  c10::Stream getNewStream(c10::Device device, int) const override { return new_stream(index(device)); }
  c10::Stream exchangeStream(c10::Stream stream) const override { return exchange_stream(stream); }
  bool queryStream(const c10::Stream &) const override { return true; }
  void synchronizeStream(const c10::Stream &stream) const override {
    host_waits("synchronizeStream");
    synchronize_stream(stream);
  }
  void synchronizeDevice(c10::DeviceIndex device) const override {
    host_waits("synchronizeDevice");
    for (int id = 0; id < 32; ++id)
      synchronize_stream(c10::Stream(c10::Stream::UNSAFE, {static_type, device < 0 ? current : device}, id));
  }
  void recordDataPtrOnStream(const c10::DataPtr &data, const c10::Stream &stream) const override {
    static_cast<c10::DeviceAllocator *>(allocator())->recordStream(data, stream);
  }

  void record(void **event, const c10::Stream &stream, c10::DeviceIndex, c10::EventFlag) const override {
    record_event(event, stream);
  }
  void block(void *event, const c10::Stream &stream) const override { block_stream(event, stream); }
  bool queryEvent(void *) const override { return true; }
  void synchronizeEvent(void *event) const override { synchronize_event(event); }
  void destroyEvent(void *event, c10::DeviceIndex) const noexcept override { destroy_event(event); }

 private:
  static c10::DeviceIndex index(c10::Device device) { return device.has_index() ? device.index() : current; }
};

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return device_count; }
  void setCurrentDevice(c10::DeviceIndex index) const override { current = checked(index); }
  c10::DeviceIndex getCurrentDevice() const override { return current; }
  bool isPinnedPtr(const void *data) const override { return is_pinned(data); }
  at::Allocator *getPinnedMemoryAllocator() const override { return pinned_allocator(); }
};

[[maybe_unused]] const bool is_registered = [] {
  c10::register_privateuse1_backend("npu");
  at::RegisterPrivateUse1HooksInterface(new Hooks());
  return true;
}();

}  // namespace

c10::DeviceIndex current_device() noexcept { return current; }

}  // namespace test_device
