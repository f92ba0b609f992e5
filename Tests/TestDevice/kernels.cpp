// Kernels of the test device: memory, views and copies. Everything else runs on the CPU.
#include <ATen/EmptyTensor.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_copy_from.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/resize.h>
#include <ATen/ops/view_native.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include <atomic>
#include <set>

#include "memory.h"
#include "streams.h"
#include "test_device.h"

namespace test_device {
namespace {

std::atomic<int64_t> fallback_count{0};
std::atomic<int64_t> copy_count{0};

/// Whether this thread is in an operator that runs on the CPU, whose copies are not the program's.
thread_local bool is_in_fallback = false;

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

/// The memory of either side, which nothing keeps.
at::Tensor alias(const at::Tensor &tensor) {
  if (!tensor.is_cpu()) return host_alias(tensor);
  return at::from_blob(tensor.unsafeGetTensorImpl()->mutable_data(), tensor.sizes(), tensor.strides(),
                       tensor.options().requires_grad(false));
}

/// What a copy is called where it is refused.
std::string copy_name(const at::Tensor &from, const at::Tensor &to) {
  auto direction = from.is_cpu() ? " to" : to.is_cpu() ? " from" : " on";
  return c10::str("copy of ", from.sizes(), " ", from.dtype(), direction, " the device");
}

/// Between the host and the device, or within the device; converts and follows strides.
at::Tensor copy_from(const at::Tensor &from, const at::Tensor &to, bool non_blocking) {
  ++copy_count;
  auto source = from.numel() == 0 ? at::Tensor() : alias(from);
  if (is_in_fallback || from.numel() == 0) {
    if (source.defined()) alias(to).copy_(source);
    return to;
  }
  const auto &on_device = from.is_cpu() ? to : from;
  Operation copy(copy_name(from, to), current_stream(on_device.device().index()));
  copy.reads(from);
  copy.writes(to);
  auto work = [source, target = alias(to)] { target.copy_(source); };
  // Memory that is not pinned goes through the driver's own, and the host waits for it.
  const auto &other = from.is_cpu() ? from : to;
  bool waits = other.is_cpu() && !(non_blocking && is_pinned(other.unsafeGetTensorImpl()->data()));
  if (!waits) {
    copy.run_late(work);
    return to;
  }
  host_waits(copy_name(from, to));
  copy.run(work);
  copy.wait();
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
  Operation read("aten::_local_scalar_dense", current_stream(tensor.device().index()));
  read.reads(tensor);
  host_waits("aten::_local_scalar_dense");
  at::Scalar value;
  read.run([&] { value = host_alias(tensor).item(); });
  read.wait();
  return value;
}

/// Operators whose result has a size or value that the host reads from the device, as on CUDA.
bool reads_on_the_host(const std::string &name, const torch::jit::Stack &stack) {
  static const std::set<std::string> names = {
      "aten::nonzero",    "aten::masked_select",      "aten::_unique", "aten::_unique2",
      "aten::unique_dim", "aten::unique_consecutive", "aten::equal",   "aten::repeat_interleave",
      "aten::bincount",   "aten::multinomial",
  };
  if (names.count(name) > 0) return true;
  if (name.rfind("aten::index", 0) != 0 && name != "aten::_index_put_impl_") return false;
  return std::any_of(stack.begin(), stack.end(), [](const c10::IValue &value) {
    if (!value.isOptionalTensorList() && !value.isList()) return false;
    for (const c10::IValue &item : value.toListRef()) {
      if (!item.isTensor() || !item.toTensor().defined()) continue;
      auto type = item.toTensor().scalar_type();
      if (type == at::kBool || type == at::kByte) return true;
    }
    return false;
  });
}

template <typename Body>
void for_each_tensor(const c10::IValue &value, Body &&body) {
  if (value.isTensor()) {
    body(value.toTensor());
  } else if (value.isList()) {
    for (const c10::IValue &item : value.toListRef()) for_each_tensor(item, body);
  }
}

void run_on_cpu(const c10::OperatorHandle &op, torch::jit::Stack *stack) {
  ++fallback_count;
  const auto &schema = op.schema();
  auto arguments = torch::jit::last(*stack, schema.arguments().size());
  auto device = current_device();
  for (const auto &value : arguments) {
    for_each_tensor(value, [&](const at::Tensor &tensor) {
      if (tensor.is_privateuseone()) device = tensor.device().index();
    });
  }
  if (reads_on_the_host(schema.name(), *stack)) host_waits(schema.name());
  Operation operation(schema.name(), current_stream(device));
  for (size_t i = 0; i < arguments.size(); ++i) {
    const auto *alias = schema.arguments()[i].alias_info();
    for_each_tensor(arguments[i], [&](const at::Tensor &tensor) {
      if (!tensor.is_privateuseone()) return;
      operation.reads(tensor);
      if (alias != nullptr && alias->isWrite()) operation.writes(tensor);
    });
  }
  operation.run([&] {
    is_in_fallback = true;
    try {
      // A view that the CPU made would be of a copy: refused.
      at::native::cpu_fallback(op, stack, /*error_on_views=*/true);
    } catch (...) {
      is_in_fallback = false;
      throw;
    }
    is_in_fallback = false;
  });
  for (const auto &value : torch::jit::last(*stack, schema.returns().size())) {
    for_each_tensor(value, [&](const at::Tensor &tensor) {
      if (tensor.is_privateuseone()) operation.writes(tensor);
    });
  }
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
