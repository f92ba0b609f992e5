// What a router asks of its arguments on every device; each device's own limits are checked where its kernels are.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <optional>

namespace xtuner {

inline void check_scores(const at::Tensor &scores, const char *what) {
  TORCH_CHECK(scores.dim() == 2 && scores.is_contiguous() && scores.size(1) > 0, what,
              ": expected contiguous [tokens, experts], got ", scores.sizes(), " with strides ", scores.strides());
}

/// A gradient of `count` numbers of the scores' type, if there is one.
inline void check_score_gradient(const std::optional<at::Tensor> &grad, const at::Tensor &scores, int64_t count) {
  TORCH_CHECK(!grad || (grad->scalar_type() == scores.scalar_type() && grad->is_contiguous() && grad->numel() == count),
              "router_scores_backward: gradient ", grad->scalar_type(), grad->sizes(), " for scores ", scores.sizes());
}

inline void check_choice_count(const at::Tensor &scores, int64_t k) {
  TORCH_CHECK(k > 0 && k <= scores.size(1), "route_top_k: ", k, " of ", scores.size(1), " experts");
}

inline void check_chosen(const at::Tensor &experts) {
  TORCH_CHECK(experts.scalar_type() == at::kLong && experts.dim() == 2,
              "expert_order: experts must be int64 [tokens, slots], are ", experts.scalar_type(), experts.sizes());
}

}  // namespace xtuner
