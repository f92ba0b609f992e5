// Flat buffers: the optimizer's step, squared sums, gradients of an embedding.
#include <ATen/ops/sort.h>

#include "../../../CTorch/operators/flat/arguments.h"
#include "../arguments.h"

namespace xtuner::cuda_operators {
namespace {

void adamw(const Tensor &master, const Tensor &gradient, const Tensor &first, const Tensor &second,
           const std::optional<Tensor> &copy, double learning_rate, double beta1, double beta2, double epsilon,
           double weight_decay, int64_t step, double gradient_scale) {
  check_adamw(master, gradient, first, second, at::kFloat, step);
  check_adamw_copy(copy, master);
  OnDevice stream(master);
  AdamWStep numbers(learning_rate, beta1, beta2, epsilon, weight_decay, step, gradient_scale);
  cuda::adamw(master.mutable_data_ptr<float>(), element_of(gradient, "adamw"), pointer(gradient),
              first.mutable_data_ptr<float>(), second.mutable_data_ptr<float>(),
              copy ? copy->mutable_data_ptr() : nullptr, copy ? element_of(*copy, "adamw") : Element::bfloat16, numbers,
              master.numel(), stream);
}

void adamw_rounded(const Tensor &weights, const Tensor &gradient, const Tensor &first, const Tensor &second,
                   double learning_rate, double beta1, double beta2, double epsilon, double weight_decay, int64_t step,
                   double gradient_scale, int64_t seed, int64_t start, int64_t first_place, int64_t row, int64_t gap) {
  check_adamw(weights, gradient, first, second, at::kBFloat16, step);
  SliceIndices indices{start, first_place, row, gap};
  TORCH_CHECK(indices.is_valid(), "adamw: rows of ", row, " elements from place ", first_place, " on");
  OnDevice stream(weights);
  AdamWStep numbers(learning_rate, beta1, beta2, epsilon, weight_decay, step, gradient_scale);
  cuda::adamw_rounded(weights.mutable_data_ptr(), element_of(gradient, "adamw"), pointer(gradient),
                      first.mutable_data_ptr(), second.mutable_data_ptr(), numbers, uint32_t(seed), indices,
                      weights.numel(), stream);
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
  check_add_rows(into, rows, indices);
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
