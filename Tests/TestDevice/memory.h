// The test device's memory.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/Device.h>

namespace at {
class Tensor;
}

namespace test_device {

constexpr c10::DeviceIndex device_count = 2;

/// A CPU tensor over the memory of a device tensor, of the same shape and strides.
at::Tensor host_alias(const at::Tensor &tensor);
/// The same memory's address for the CPU.
void *host_address(const at::Tensor &tensor);
/// The device that is current on this thread.
c10::DeviceIndex current_device() noexcept;
c10::Allocator *allocator();
c10::Allocator *pinned_allocator();

}  // namespace test_device
