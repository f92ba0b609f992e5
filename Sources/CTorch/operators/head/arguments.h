// What the cross-entropy asks of its arguments on every device; each device's own limits are checked where its kernels are.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

namespace xtuner {

inline void check_logits(const at::Tensor &logits, const at::Tensor &targets) {
  TORCH_CHECK(logits.dim() == 2 && logits.is_contiguous(), "cross_entropy: logits must be contiguous of two dims, are ",
              logits.sizes(), " with strides ", logits.strides());
  TORCH_CHECK(targets.scalar_type() == at::kLong && targets.dim() == 1 && targets.size(0) == logits.size(0),
              "cross_entropy: targets must be int64 [", logits.size(0), "], are ", targets.scalar_type(),
              targets.sizes());
}

inline void check_target_weights(const at::Tensor &weights, const at::Tensor &targets) {
  TORCH_CHECK(weights.scalar_type() == at::kFloat && weights.sizes() == targets.sizes(),
              "cross_entropy_: weights must be float32 ", targets.sizes(), ", are ", weights.scalar_type(),
              weights.sizes());
}

}  // namespace xtuner
