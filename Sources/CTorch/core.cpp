#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/GradMode.h>
#include <cpuinfo.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/version.h>

#include <cstring>
#include <mutex>

#include "bridge.h"
#include "device/host_memory.h"
#include "operators/parallel.h"

namespace ctorch {
std::atomic<int64_t> live_handles{0};

namespace {
thread_local std::string last_error;
}

CTStatus fail(CTStatus status, const char *message) noexcept {
  try {
    last_error = message;
  } catch (...) {
    last_error.clear();
  }
  return status;
}
}  // namespace ctorch

const char *ct_last_error(void) { return last_error.c_str(); }

// ---- Tensors

bool ct_tensor_has_same_memory(const ct_tensor *a, const ct_tensor *b) {
  return a->value.device() == b->value.device() &&
         a->value.unsafeGetTensorImpl()->data() == b->value.unsafeGetTensorImpl()->data();
}
void ct_tensor_free(ct_tensor *tensor) { delete tensor; }
int64_t ct_live_handle_count(void) { return live_handles.load(); }
CTStatus ct_tensor_retain(ct_tensor *tensor, ct_tensor **out) {
  return guarded([&] { *out = new ct_tensor{tensor->value}; });
}

int32_t ct_tensor_dim(const ct_tensor *tensor) { return static_cast<int32_t>(tensor->value.dim()); }
void ct_tensor_sizes(const ct_tensor *tensor, int64_t *out) {
  for (int64_t size : tensor->value.sizes()) *out++ = size;
}
void ct_tensor_strides(const ct_tensor *tensor, int64_t *out) {
  for (int64_t stride : tensor->value.strides()) *out++ = stride;
}
int64_t ct_tensor_element_count(const ct_tensor *tensor) { return tensor->value.numel(); }
int32_t ct_tensor_dtype(const ct_tensor *tensor) { return static_cast<int32_t>(tensor->value.scalar_type()); }
int64_t ct_dtype_size(int32_t dtype) { return static_cast<int64_t>(c10::elementSize(to_scalar_type(dtype))); }
CTDevice ct_tensor_device(const ct_tensor *tensor) {
  auto device = tensor->value.device();
  return {static_cast<int8_t>(device.type()), device.index()};
}
bool ct_tensor_is_contiguous(const ct_tensor *tensor) { return tensor->value.is_contiguous(); }
bool ct_tensor_requires_grad(const ct_tensor *tensor) { return tensor->value.requires_grad(); }
bool ct_tensor_has_grad_fn(const ct_tensor *tensor) { return tensor->value.grad_fn() != nullptr; }
bool ct_tensor_shares_storage(const ct_tensor *a, const ct_tensor *b) { return a->value.is_alias_of(b->value); }

CTStatus ct_tensor_data(ct_tensor *tensor, void **out) {
  return guarded([&] {
    TORCH_CHECK(tensor->value.device().is_cpu(), "the tensor is on ", tensor->value.device(), ", not on the CPU");
    TORCH_CHECK(tensor->value.is_contiguous(), "the tensor is not contiguous");
    *out = tensor->value.data_ptr();
  });
}

CTStatus ct_tensor_from_bytes(const void *bytes, size_t byte_count, const int64_t *sizes, size_t sizes_count,
                              int32_t dtype, CTDevice device, ct_tensor **out) {
  return guarded([&] {
    at::IntArrayRef shape(sizes, sizes_count);
    auto type = to_scalar_type(dtype);
    size_t needed = c10::multiply_integers(shape) * c10::elementSize(type);
    TORCH_CHECK(needed == byte_count, "shape ", shape, " needs ", needed, " bytes, got ", byte_count);
    auto target = to_device(device);
    // A device copies from pinned memory while the host goes on; its allocator keeps the memory as long as that takes.
    auto host = target.is_cpu() || byte_count == 0 ? at::empty(shape, type)
                                                   : host_buffer(target, byte_count).view(type).view(shape);
    if (byte_count > 0) std::memcpy(host.data_ptr(), bytes, byte_count);
    *out = new ct_tensor{target.is_cpu() ? host : host.to(target, /*non_blocking=*/has_pinned_memory(target))};
  });
}

CTStatus ct_tensor_from_memory(void *memory, const int64_t *sizes, size_t sizes_count, int32_t dtype,
                               void (*release)(void *), void *context, ct_tensor **out) {
  return guarded([&] {
    *out = new ct_tensor{at::from_blob(
        memory, at::IntArrayRef(sizes, sizes_count), [release, context](void *) { release(context); },
        at::TensorOptions(to_scalar_type(dtype)))};
  });
}

CTStatus ct_tensor_copy_to_host(ct_tensor *tensor, void *bytes, size_t byte_count) {
  return guarded([&] {
    auto host = tensor->value.detach().to(at::kCPU).contiguous();
    TORCH_CHECK(host.nbytes() == byte_count, "the tensor has ", host.nbytes(), " bytes, the buffer ", byte_count);
    if (byte_count > 0) std::memcpy(bytes, host.data_ptr(), byte_count);
  });
}

CTStatus ct_tensor_item(ct_tensor *tensor, double *out) {
  return guarded([&] { *out = tensor->value.item().toDouble(); });
}
CTStatus ct_tensor_item_integer(ct_tensor *tensor, int64_t *out) {
  return guarded([&] { *out = tensor->value.item().toLong(); });
}

size_t ct_tensor_list_count(const ct_tensor_list *list) { return list->values.size(); }
CTStatus ct_tensor_list_take(ct_tensor_list *list, size_t index, ct_tensor **out) {
  return guarded([&] {
    auto value = std::move(list->values.at(index));
    *out = value.defined() ? new ct_tensor{std::move(value)} : nullptr;
  });
}
void ct_tensor_list_free(ct_tensor_list *list) { delete list; }

// ---- Random numbers

CTStatus ct_generator_create(CTDevice device, uint64_t seed, ct_generator **out) {
  return guarded([&] {
    auto target = to_device(device);
    at::Generator generator = target.is_cpu() ? at::make_generator<at::CPUGeneratorImpl>(seed)
                                              : at::globalContext().defaultGenerator(target).clone();
    generator.set_current_seed(seed);
    *out = new ct_generator{generator};
  });
}
void ct_generator_free(ct_generator *generator) { delete generator; }
CTStatus ct_fill_normal(ct_tensor *const *tensors, const uint64_t *seeds, int64_t count, double mean,
                        double deviation) {
  return guarded([&] {
    xtuner::parallel_items(count, at::get_num_threads(), [&](int64_t i) {
      at::AutoDispatchBelowADInplaceOrView below;  // state of the thread
      tensors[i]->value.normal_(mean, deviation, at::make_generator<at::CPUGeneratorImpl>(seeds[i]));
    });
  });
}
CTStatus ct_generator_get_state(ct_generator *generator, ct_tensor **out) {
  return guarded([&] { *out = new ct_tensor{generator->value.get_state()}; });
}
CTStatus ct_generator_set_state(ct_generator *generator, ct_tensor *state) {
  return guarded([&] { generator->value.set_state(state->value); });
}

// ---- Process

CTStatus ct_set_thread_count(int32_t count) {
  return guarded([&] { at::set_num_threads(count); });
}
int32_t ct_thread_count(void) { return at::get_num_threads(); }
void ct_set_deterministic(bool enabled) { at::globalContext().setDeterministicAlgorithms(enabled, false); }
const char *ct_torch_version(void) { return TORCH_VERSION; }
const char *ct_cpu_capability(void) {
  static const std::string name = at::get_cpu_capability();
  return name.c_str();
}
bool ct_has_bf16_hardware(void) {
  return cpuinfo_initialize() && (cpuinfo_has_x86_avx512bf16() || cpuinfo_has_arm_bf16());
}

// ---- Autograd

CTStatus ct_tensor_set_requires_grad(ct_tensor *tensor, bool value) {
  return guarded([&] { tensor->value.set_requires_grad(value); });
}

CTStatus ct_autograd_grad(ct_tensor *const *outputs, size_t output_count, ct_tensor *const *inputs, size_t input_count,
                          ct_tensor *const *grad_outputs, bool retain_graph, bool allow_unused, ct_tensor_list **out) {
  return guarded([&] {
    std::vector<at::Tensor> seeds;
    seeds.reserve(output_count);
    for (size_t i = 0; i < output_count; ++i) seeds.push_back(grad_outputs[i] ? grad_outputs[i]->value : at::Tensor());
    *out = new ct_tensor_list{torch::autograd::grad(to_list(outputs, output_count), to_list(inputs, input_count), seeds,
                                                    retain_graph, /*create_graph=*/false, allow_unused)};
  });
}

CTStatus ct_tensor_graph_end(ct_tensor *tensor, ct_tensor **out) {
  return guarded([&] {
    auto end = at::empty({0}, tensor->value.options());
    if (tensor->value.requires_grad())
      end = torch::autograd::make_variable(std::move(end), torch::autograd::impl::gradient_edge(tensor->value));
    *out = new ct_tensor{std::move(end)};
  });
}

bool ct_grad_mode_set(bool enabled) {
  bool previous = c10::GradMode::is_enabled();
  c10::GradMode::set_enabled(enabled);
  return previous;
}
bool ct_grad_mode_get(void) { return c10::GradMode::is_enabled(); }
