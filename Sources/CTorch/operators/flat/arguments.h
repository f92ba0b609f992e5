// What operators over flat buffers ask of their arguments on every device.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <optional>

namespace xtuner {

/// Elements of one type side by side, as many as the weights and on their device.
inline void check_flat(const at::Tensor &tensor, const at::Tensor &weights, const char *name, at::ScalarType type) {
  TORCH_CHECK(tensor.device() == weights.device() && tensor.scalar_type() == type && tensor.is_contiguous() &&
                  tensor.numel() == weights.numel(),
              "adamw: ", name, " must be ", weights.numel(), " contiguous ", type, " on ", weights.device(), ", is ",
              tensor.scalar_type(), tensor.sizes(), " with strides ", tensor.strides(), " on ", tensor.device());
}

/// Weights and moments have `type`, the gradient is float32 or bfloat16.
inline void check_adamw(const at::Tensor &weights, const at::Tensor &gradient, const at::Tensor &first,
                        const at::Tensor &second, at::ScalarType type, int64_t step) {
  check_flat(weights, weights, type == at::kFloat ? "master" : "weights", type);
  check_flat(gradient, weights, "gradient", gradient.scalar_type() == at::kBFloat16 ? at::kBFloat16 : at::kFloat);
  check_flat(first, weights, "first moment", type);
  check_flat(second, weights, "second moment", type);
  TORCH_CHECK(step >= 1, "adamw: step counts from 1, is ", step);
}

/// The copy of the weights that computation reads.
inline void check_adamw_copy(const std::optional<at::Tensor> &copy, const at::Tensor &weights) {
  if (!copy) return;
  auto type = copy->scalar_type();
  TORCH_CHECK((type == at::kBFloat16 || type == at::kHalf) && copy->is_contiguous() &&
                  copy->numel() == weights.numel() && copy->device() == weights.device(),
              "adamw: copy must be ", weights.numel(), " contiguous bfloat16 or float16 on ", weights.device(), ", is ",
              type, copy->sizes(), " on ", copy->device());
}

inline void check_add_rows(const at::Tensor &into, const at::Tensor &rows, const at::Tensor &indices) {
  TORCH_CHECK(into.dim() == 2 && into.scalar_type() == at::kFloat && into.is_contiguous(),
              "add_rows: the target must be contiguous float32 [V, D], is ", into.scalar_type(), into.sizes());
  TORCH_CHECK(rows.dim() == 2 && rows.size(1) == into.size(1), "add_rows: rows ", rows.sizes(), " for a target ",
              into.sizes());
  TORCH_CHECK(indices.scalar_type() == at::kLong && indices.is_contiguous() && indices.numel() == rows.size(0),
              "add_rows: indices must be ", rows.size(0), " contiguous int64, are ", indices.scalar_type(),
              indices.sizes());
}

}  // namespace xtuner
