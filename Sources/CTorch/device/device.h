// Devices for the C++ side of the bridge.
#pragma once

#include <c10/core/impl/VirtualGuardImpl.h>

#include "../guarded.h"

namespace ctorch {

/// The device, with the index of the current one where none is given; -1 for the CPU.
inline at::Device to_current_device(CTDevice device) {
  auto wanted = to_device(device);
  if (wanted.is_cpu()) return c10::kCPU;
  return wanted.has_index() ? wanted : c10::impl::VirtualGuardImpl(wanted.type()).getDevice();
}

}  // namespace ctorch
