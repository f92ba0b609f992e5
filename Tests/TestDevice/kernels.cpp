// Kernels of the test device: memory, views and copies. Everything else runs on the CPU.
#include <ATen/EmptyTensor.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_copy_from.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/resize.h>
#include <ATen/ops/view_native.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include <atomic>

#include "memory.h"
#include "test_device.h"

namespace test_device {
namespace {

std::atomic<int64_t> fallback_count{0};
std::atomic<int64_t> copy_count{0};

constexpr c10::DispatchKeySet keys(c10::DispatchKey::PrivateUse1);

at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                 std::optional<at::Device> device, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  c10::OptionalDeviceGuard guard(device);
  return at::detail::empty_generic(size, allocator(), keys, c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride, std::optional<at::ScalarType> dtype,
                         std::optional<at::Layout>, std::optional<at::Device> device, std::optional<bool>) {
  c10::OptionalDeviceGuard guard(device);
  return at::detail::empty_strided_generic(size, stride, allocator(), keys, c10::dtype_or_default(dtype));
}

/// Between the host and the device, or within the device; converts and follows strides.
at::Tensor copy_from(const at::Tensor &from, const at::Tensor &to, bool) {
  ++copy_count;
  auto source = from.is_cpu() ? from : host_alias(from);
  auto target = to.is_cpu() ? to : host_alias(to);
  target.copy_(source);
  return to;
}

/// New memory where the old is too small; nothing is kept, as only results without elements are resized.
const at::Tensor &resize(const at::Tensor &self, at::IntArrayRef size, std::optional<at::MemoryFormat>) {
  TORCH_CHECK(self.numel() == 0 || self.sizes() == size, "the test device resizes ", self.sizes(), " to no ", size);
  auto *storage = self.storage().unsafeGetStorageImpl();
  size_t needed = c10::multiply_integers(size) * self.element_size() + self.storage_offset() * self.element_size();
  if (needed > storage->nbytes()) {
    c10::DeviceGuard guard(self.device());
    storage->set_data_ptr_noswap(allocator()->allocate(needed));
    storage->set_nbytes(needed);
  }
  self.unsafeGetTensorImpl()->set_sizes_contiguous(size);
  return self;
}

at::Tensor copy_from_and_resize(const at::Tensor &from, const at::Tensor &to) {
  if (from.sizes() != to.sizes()) to.resize_(from.sizes());
  return copy_from(from, to, false);
}

at::Scalar local_scalar(const at::Tensor &tensor) {
  ++copy_count;
  return host_alias(tensor).item();
}

void run_on_cpu(const c10::OperatorHandle &op, torch::jit::Stack *stack) {
  ++fallback_count;
  // A view that the CPU made would be of a copy: refused.
  at::native::cpu_fallback(op, stack, /*error_on_views=*/true);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", TORCH_FN(empty));
  m.impl("empty_strided", TORCH_FN(empty_strided));
  m.impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
  m.impl("view", TORCH_FN(at::native::view));
  m.impl("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
  m.impl("_copy_from", TORCH_FN(copy_from));
  m.impl("_copy_from_and_resize", TORCH_FN(copy_from_and_resize));
  m.impl("resize_", TORCH_FN(resize));
  m.impl("_local_scalar_dense", TORCH_FN(local_scalar));
}

}  // namespace
}  // namespace test_device

int64_t test_device_fallback_count(void) { return test_device::fallback_count.load(); }
int64_t test_device_copy_count(void) { return test_device::copy_count.load(); }
void test_device_read_from_host(void) {
  auto tensor = at::empty({64}, at::TensorOptions(at::kByte).device(c10::kPrivateUse1));
  volatile uint8_t byte = *static_cast<const volatile uint8_t *>(tensor.unsafeGetTensorImpl()->data());
  (void)byte;
}
