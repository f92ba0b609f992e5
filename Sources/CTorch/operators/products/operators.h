// Matrix products: of linear layers, alone, and of groups of rows. Shapes are in ctorch.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace xtuner {

namespace reference {
at::Tensor linear(const at::Tensor &x, const at::Tensor &weight, const std::optional<at::Tensor> &bias);
at::Tensor grouped_linear(const at::Tensor &x, const at::Tensor &weight, const at::Tensor &offsets);
}  // namespace reference

// Differentiable: through the dispatcher to the device's kernel.
at::Tensor linear(const at::Tensor &x, const at::Tensor &weight, const std::optional<at::Tensor> &bias);
at::Tensor grouped_linear(const at::Tensor &x, const at::Tensor &weight, const at::Tensor &offsets);

// Calls of the device's kernel.
at::Tensor product(const at::Tensor &a, const at::Tensor &b);
void add_product(at::Tensor &into, const at::Tensor &a, const at::Tensor &b);

}  // namespace xtuner
