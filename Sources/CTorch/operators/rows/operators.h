// Activation, and rows between the order of tokens and the order of experts. Shapes are in ctorch.h.
#pragma once

#include <ATen/core/Tensor.h>

namespace xtuner {

namespace reference {
at::Tensor swiglu(const at::Tensor &gate_up);
at::Tensor permute_rows(const at::Tensor &x, const at::Tensor &token_of_row);
at::Tensor unpermute_rows(const at::Tensor &rows, const at::Tensor &weights, const at::Tensor &row_of_slot);
}  // namespace reference

// Differentiable: through the dispatcher to the device's kernel.
at::Tensor swiglu(const at::Tensor &gate_up);
at::Tensor permute_rows(const at::Tensor &x, const at::Tensor &token_of_row, const at::Tensor &row_of_slot);
at::Tensor unpermute_rows(const at::Tensor &rows, const at::Tensor &weights, const at::Tensor &row_of_slot);

}  // namespace xtuner
