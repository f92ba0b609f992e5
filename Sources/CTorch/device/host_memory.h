// Host memory that devices copy from and to by themselves.
#pragma once

#include <ATen/core/Tensor.h>

namespace ctorch {

/// Whether the back end of a device has pinned memory: only from there it may copy after a call has returned.
bool has_pinned_memory(at::Device device);
/// A uint8 tensor of pinned memory for the device, or of ordinary memory where there is none.
at::Tensor host_buffer(at::Device device, int64_t byte_count);

}  // namespace ctorch
