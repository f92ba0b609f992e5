// Operators over flat buffers: the optimizer's step, squared sums, gradients of an embedding. Shapes are in ctorch.h and
// ctorch_optimizer.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace xtuner {

// Calls of the device's kernel.
void adamw(const at::Tensor &master, const at::Tensor &gradient, const at::Tensor &first, const at::Tensor &second,
           const std::optional<at::Tensor> &copy, double learning_rate, double beta1, double beta2, double epsilon,
           double weight_decay, int64_t step, double gradient_scale);
void adamw_rounded(const at::Tensor &weights, const at::Tensor &gradient, const at::Tensor &first,
                   const at::Tensor &second, double learning_rate, double beta1, double beta2, double epsilon,
                   double weight_decay, int64_t step, double gradient_scale, int64_t seed, int64_t start,
                   int64_t first_place, int64_t row, int64_t gap);
at::Tensor squared_sum(const at::Tensor &x);
void add_rows(const at::Tensor &into, const at::Tensor &rows, const at::Tensor &indices);

}  // namespace xtuner
