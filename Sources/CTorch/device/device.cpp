#include "device.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <dlfcn.h>

#include <array>
#include <atomic>

#include "ctorch_device.h"
#include "ctorch_distributed.h"

namespace {

using StatType = c10::CachingAllocator::StatType;

c10::DeviceType to_type(int8_t type) { return static_cast<c10::DeviceType>(type); }

c10::DeviceAllocator *allocator_of(at::Device device) {
  auto *allocator = dynamic_cast<c10::DeviceAllocator *>(c10::GetAllocator(device.type()));
  TORCH_CHECK(allocator != nullptr, "the allocator of ", device, " does not count its memory");
  return allocator;
}

using WaitSwitch = void (*)(bool);

std::array<std::atomic<WaitSwitch>, static_cast<size_t>(c10::DeviceType::COMPILE_TIME_MAX_DEVICE_TYPES)> wait_switches;

WaitSwitch wait_switch(int8_t type) {
  auto known = wait_switches.at(static_cast<size_t>(type)).load();
  if (known != nullptr || to_type(type) != c10::kCUDA) return known;
  // The CUDA plug-in's, Sources/XTunerCUDA/plugin.h, once it is open.
  return reinterpret_cast<WaitSwitch>(dlsym(RTLD_DEFAULT, "xtuner_cuda_forbid_waiting"));
}

}  // namespace

bool ct_device_has_backend(int8_t type) { return c10::impl::hasDeviceGuardImpl(to_type(type)); }

int32_t ct_device_count(int8_t type) {
  if (to_type(type) == c10::kCPU) return 1;
  return ct_device_has_backend(type) ? c10::impl::getDeviceGuardImpl(to_type(type))->deviceCount() : 0;
}

CTStatus ct_device_set_current(CTDevice device) {
  return guarded([&] {
    auto target = to_current_device(device);
    if (!target.is_cpu()) c10::impl::VirtualGuardImpl(target.type()).setDevice(target);
  });
}

CTStatus ct_device_synchronize(CTDevice device) {
  return guarded([&] {
    auto target = to_current_device(device);
    if (!target.is_cpu()) c10::impl::VirtualGuardImpl(target.type()).synchronizeDevice(target.index());
  });
}

CTStatus ct_device_memory(CTDevice device, int64_t *live, int64_t *peak) {
  return guarded([&] {
    auto target = to_current_device(device);
    if (target.is_cpu()) {
      *live = ct_memory_live_bytes();
      *peak = ct_memory_peak_bytes();
      return;
    }
    auto stats = allocator_of(target)->getDeviceStats(target.index());
    const auto &bytes = stats.allocated_bytes[static_cast<size_t>(StatType::AGGREGATE)];
    *live = bytes.current;
    *peak = bytes.peak;
  });
}

CTStatus ct_device_reset_peak_memory(CTDevice device) {
  return guarded([&] {
    auto target = to_current_device(device);
    if (target.is_cpu())
      ct_memory_reset_peak();
    else
      allocator_of(target)->resetPeakStats(target.index());
  });
}

bool ct_device_can_forbid_waiting(int8_t type) { return wait_switch(type) != nullptr; }

CTStatus ct_device_forbid_waiting(int8_t type, bool forbid) {
  return guarded([&] {
    auto forbid_waiting = wait_switch(type);
    TORCH_CHECK(forbid_waiting != nullptr, "the back end of ", to_type(type), " cannot refuse to wait");
    forbid_waiting(forbid);
  });
}

void ct_device_set_wait_switch(int8_t type, void (*forbid)(bool)) {
  wait_switches.at(static_cast<size_t>(type)).store(forbid);
}
