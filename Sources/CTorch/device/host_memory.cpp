#include "host_memory.h"

#include <ATen/EmptyTensor.h>
#include <ATen/core/CachingHostAllocator.h>

#include "../bridge.h"
#include "ctorch_device.h"
#include "device.h"

namespace {

/// The allocator of a back end's pinned memory; nullptr where it registered none.
c10::Allocator *pinned_allocator(at::Device device) {
  if (device.is_cpu()) return nullptr;
  try {
    return at::getHostAllocator(device.type());
  } catch (const c10::Error &) {
    return nullptr;  // libtorch's way of saying so
  }
}

}  // namespace

bool ctorch::has_pinned_memory(at::Device device) { return pinned_allocator(device) != nullptr; }

at::Tensor ctorch::host_buffer(at::Device device, int64_t byte_count) {
  auto *allocator = pinned_allocator(device);
  if (allocator == nullptr) return at::detail::empty_cpu({byte_count}, at::kByte);
  // The storage keeps the allocator's context, by which copies tell the allocator how long they need the memory.
  return at::detail::empty_generic({byte_count}, allocator, c10::DispatchKeySet(c10::DispatchKey::CPU), at::kByte,
                                   std::nullopt);
}

CTStatus ct_host_buffer(CTDevice device, int64_t byte_count, ct_tensor **out) {
  return guarded([&] {
    TORCH_CHECK(byte_count >= 0, "a buffer of ", byte_count, " bytes");
    *out = new ct_tensor{host_buffer(to_device(device), byte_count)};
  });
}
