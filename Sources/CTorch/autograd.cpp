#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/variable.h>

#include "bridge.h"

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
