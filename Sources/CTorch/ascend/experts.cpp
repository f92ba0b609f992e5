// Grouped products and the way of rows to experts and back, on Ascend.
#include <ATen/ATen.h>

#include "call.h"
#include "mapping.h"

namespace xtuner::ascend {
namespace {

using at::Tensor;

/// npu_grouped_matmul's groups: parts of the left operand's rows, or of the dim that is summed over.
constexpr int64_t groups_of_rows = 0, groups_of_inner_dim = 2;
/// One result for all groups.
constexpr int64_t one_result = 3;

Tensor grouped_product(const Tensor &left, const Tensor &right, const Tensor &offsets, int64_t groups) {
  return Call("npu::npu_grouped_matmul")
      .with("x", std::vector<Tensor>{left})
      .with("weight", std::vector<Tensor>{right})
      .with("group_list", offsets.to(left.device()))
      .with("split_item", one_result)
      .with("group_type", groups)
      .run()
      .at(0)
      .toTensorVector()
      .at(0);
}

Tensor grouped_linear(const Tensor &x, const Tensor &weight, const Tensor &offsets) {
  if (x.size(0) == 0) return at::empty({0, weight.size(1)}, x.options());
  return grouped_product(x.contiguous(), weight.transpose(1, 2), offsets, groups_of_rows);
}

/// The library has no backward: it is the same product with the other operands.
std::tuple<Tensor, Tensor> grouped_linear_backward(const Tensor &grad, const Tensor &x, const Tensor &weight,
                                                   const Tensor &offsets) {
  if (x.size(0) == 0) return {at::empty_like(x), at::zeros_like(weight)};
  auto dx = grouped_product(grad.contiguous(), weight, offsets, groups_of_rows);
  auto dw = grouped_product(grad.t(), x.contiguous(), offsets, groups_of_inner_dim);
  // An expert without rows sums nothing; nothing says that the kernel writes its zeros.
  auto ends = offsets.to(x.device());
  auto begins = at::cat({at::zeros({1}, ends.options()), ends.slice(0, 0, -1)});
  dw = dw.masked_fill((ends == begins).view({-1, 1, 1}), 0);
  return {dx, dw};
}

Tensor indices_of(const Tensor &row_of_slot) { return row_of_slot.flatten().to(at::kInt); }

/// The order is known, so npu_moe_token_permute, which would sort the experts again, is not needed.
Tensor permute_rows(const Tensor &x, const Tensor &token_of_row) { return x.index_select(0, token_of_row); }

Tensor sum_rows(const Tensor &rows, const Tensor &row_of_slot) {
  int64_t tokens = row_of_slot.size(0);
  if (tokens == 0) return at::empty({0, rows.size(1)}, rows.options());
  return Call("npu::npu_moe_token_permute_grad_v2")
      .with("grad_permuted_tokens", rows.contiguous())
      .with("sorted_indices", indices_of(row_of_slot))
      .with("tokens_size_0", tokens)
      .with("tokens_dtype", rows.scalar_type())
      .with("num_topK", row_of_slot.size(1))
      .tensor();
}

Tensor unpermute_rows(const Tensor &rows, const Tensor &weights, const Tensor &row_of_slot) {
  if (row_of_slot.size(0) == 0) return at::empty({0, rows.size(1)}, rows.options());
  return Call("npu::npu_moe_token_unpermute")
      .with("permuted_tokens", rows.contiguous())
      .with("sorted_indices", indices_of(row_of_slot))
      .with("probs", weights)
      .tensor();
}

std::tuple<Tensor, Tensor> unpermute_rows_backward(const Tensor &grad, const Tensor &rows, const Tensor &weights,
                                                   const Tensor &row_of_slot) {
  if (row_of_slot.size(0) == 0) return {at::empty_like(rows), at::empty_like(weights)};
  auto results = Call("npu::npu_moe_token_unpermute_grad")
                     .with("permuted_tokens", rows.contiguous())
                     .with("grad_unpermuted_tokens", grad.contiguous())
                     .with("sorted_indices", indices_of(row_of_slot))
                     .with("probs", weights)
                     .run();
  return {results[0].toTensor(), results[1].toTensor()};
}

}  // namespace

void register_experts(torch::Library &library) {
  library.impl("grouped_linear", TORCH_FN(grouped_linear));
  library.impl("grouped_linear_backward", TORCH_FN(grouped_linear_backward));
  library.impl("permute_rows", TORCH_FN(permute_rows));
  library.impl("sum_rows", TORCH_FN(sum_rows));
  library.impl("unpermute_rows", TORCH_FN(unpermute_rows));
  library.impl("unpermute_rows_backward", TORCH_FN(unpermute_rows_backward));
}

}  // namespace xtuner::ascend
