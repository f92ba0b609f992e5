// A router: scores, the choice of experts, and the orders of rows that follow from it. Shapes are in ctorch.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

namespace xtuner {

namespace reference {
std::tuple<at::Tensor, at::Tensor> router_scores(const at::Tensor &logits);
at::Tensor route_top_k(const at::Tensor &scores, int64_t k);
/// token_of_row, row_of_slot, counts, offsets.
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> expert_order(const at::Tensor &experts,
                                                                        int64_t expert_count);
}  // namespace reference

// Differentiable: through the dispatcher to the device's kernel.
std::tuple<at::Tensor, at::Tensor> router_scores(const at::Tensor &logits);

// Calls of the device's kernel.
at::Tensor route_top_k(const at::Tensor &scores, int64_t k);
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> expert_order(const at::Tensor &experts,
                                                                        int64_t expert_count);

}  // namespace xtuner
