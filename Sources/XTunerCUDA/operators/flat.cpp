// Flat buffers: the optimizer's step, squared sums, gradients of an embedding.
#include <ATen/ops/sort.h>

#include <cmath>

#include "arguments.h"

namespace xtuner::cuda_operators {
namespace {

void check_flat(const Tensor &tensor, int64_t count, const char *name, at::ScalarType type = at::kFloat) {
  TORCH_CHECK(tensor.scalar_type() == type && tensor.is_contiguous() && tensor.numel() == count, "adamw: ", name,
              " must be ", count, " contiguous ", type, ", is ", tensor.scalar_type(), tensor.sizes(), " with strides ",
              tensor.strides());
}

void check_gradient(const Tensor &gradient, int64_t count) {
  check_flat(gradient, count, "gradient", gradient.scalar_type() == at::kBFloat16 ? at::kBFloat16 : at::kFloat);
}

cuda::AdamWStep step_numbers(double learning_rate, double beta1, double beta2, double epsilon, double weight_decay,
                             int64_t step, double gradient_scale) {
  TORCH_CHECK(step >= 1, "adamw: step counts from 1, is ", step);
  return {float(beta1),
          float(beta2),
          float(epsilon),
          float(gradient_scale),
          float(1 - learning_rate * weight_decay),
          float(learning_rate / (1 - std::pow(beta1, double(step)))),
          float(1 / std::sqrt(1 - std::pow(beta2, double(step))))};
}

void adamw(const Tensor &master, const Tensor &gradient, const Tensor &first, const Tensor &second,
           const std::optional<Tensor> &copy, double learning_rate, double beta1, double beta2, double epsilon,
           double weight_decay, int64_t step, double gradient_scale) {
  int64_t count = master.numel();
  check_devices("adamw", master, gradient, first, second, copy);
  check_flat(master, count, "master");
  check_gradient(gradient, count);
  check_flat(first, count, "first moment");
  check_flat(second, count, "second moment");
  if (copy)
    TORCH_CHECK((copy->scalar_type() == at::kBFloat16 || copy->scalar_type() == at::kHalf) && copy->is_contiguous() &&
                    copy->numel() == count,
                "adamw: copy must be ", count, " contiguous bfloat16 or float16, is ", copy->scalar_type(),
                copy->sizes());
  OnDevice stream(master);
  auto numbers = step_numbers(learning_rate, beta1, beta2, epsilon, weight_decay, step, gradient_scale);
  cuda::adamw(master.mutable_data_ptr<float>(), element_of(gradient, "adamw"), pointer(gradient),
              first.mutable_data_ptr<float>(), second.mutable_data_ptr<float>(),
              copy ? copy->mutable_data_ptr() : nullptr, copy ? element_of(*copy, "adamw") : Element::bfloat16, numbers,
              count, stream);
}

void adamw_rounded(const Tensor &weights, const Tensor &gradient, const Tensor &first, const Tensor &second,
                   double learning_rate, double beta1, double beta2, double epsilon, double weight_decay, int64_t step,
                   double gradient_scale, int64_t seed, int64_t start) {
  int64_t count = weights.numel();
  check_devices("adamw", weights, gradient, first, second);
  check_flat(weights, count, "weights", at::kBFloat16);
  check_gradient(gradient, count);
  check_flat(first, count, "first moment", at::kBFloat16);
  check_flat(second, count, "second moment", at::kBFloat16);
  OnDevice stream(weights);
  auto numbers = step_numbers(learning_rate, beta1, beta2, epsilon, weight_decay, step, gradient_scale);
  cuda::adamw_rounded(weights.mutable_data_ptr(), element_of(gradient, "adamw"), pointer(gradient),
                      first.mutable_data_ptr(), second.mutable_data_ptr(), numbers, uint32_t(seed), uint64_t(start),
                      count, stream);
}

Tensor squared_sum(const Tensor &x) {
  TORCH_CHECK(x.is_contiguous(), "squared_sum: the tensor ", x.sizes(), " is not contiguous");
  OnDevice stream(x);
  auto options = x.options().dtype(at::kDouble);
  auto partial = at::empty({cuda::kSumBlocks}, options), out = at::empty({}, options);
  cuda::squared_sum(element_of(x, "squared_sum"), pointer(x), partial.mutable_data_ptr<double>(),
                    out.mutable_data_ptr<double>(), x.numel(), stream);
  return out;
}

/// Sorts the indices, so that one block adds all rows of a target: in their order, without atomic additions.
void add_rows(const Tensor &into, const Tensor &rows, const Tensor &indices) {
  TORCH_CHECK(into.dim() == 2 && into.scalar_type() == at::kFloat && into.is_contiguous(),
              "add_rows: the target must be contiguous float32 [V, D], is ", into.scalar_type(), into.sizes());
  TORCH_CHECK(rows.dim() == 2 && rows.size(1) == into.size(1), "add_rows: rows ", rows.sizes(), " for a target ",
              into.sizes());
  TORCH_CHECK(indices.scalar_type() == at::kLong && indices.is_contiguous() && indices.numel() == rows.size(0),
              "add_rows: indices must be ", rows.size(0), " contiguous int64, are ", indices.scalar_type(),
              indices.sizes());
  check_devices("add_rows", into, rows, indices);
  check_row_count(rows.size(0), "add_rows");
  OnDevice stream(into);
  auto source = rows.contiguous();
  auto [sorted, order] = at::sort(indices.flatten(), /*stable=*/true, /*dim=*/0, /*descending=*/false);
  cuda::add_sorted_rows(element_of(rows, "add_rows"), into.mutable_data_ptr<float>(), pointer(source),
                        sorted.const_data_ptr<int64_t>(), order.const_data_ptr<int64_t>(), rows.size(0), rows.size(1),
                        into.size(0), stream);
}

}  // namespace
}  // namespace xtuner::cuda_operators

TORCH_LIBRARY_IMPL(xtuner, XTUNER_DEVICE_KEY, m) {
  using namespace xtuner::cuda_operators;
  m.impl("adamw_", adamw);
  m.impl("adamw_rounded_", adamw_rounded);
  m.impl("squared_sum", squared_sum);
  m.impl("add_rows_", add_rows);
}
