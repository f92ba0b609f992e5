// What the orders of rows ask of their arguments on every device; each device's own limits are checked where its kernels are.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

namespace xtuner {

inline void check_rows(const at::Tensor &rows, const char *what) {
  TORCH_CHECK(rows.dim() == 2 && rows.is_contiguous(), what, ": rows must be contiguous of two dims, are ",
              rows.sizes(), " with strides ", rows.strides());
}

/// The form of indices; which rows they name is checked where they can be read.
inline void check_row_indices(const at::Tensor &indices, int64_t dim, const char *what) {
  TORCH_CHECK(indices.scalar_type() == at::kLong && indices.is_contiguous() && indices.dim() == dim, what,
              ": indices must be contiguous int64 of ", dim, " dims, are ", indices.scalar_type(), indices.sizes());
}

inline void check_mixing_weights(const at::Tensor &weights, const at::Tensor &row_of_slot, const char *what) {
  TORCH_CHECK(weights.sizes() == row_of_slot.sizes() && weights.scalar_type() == at::kFloat, what,
              ": weights must be float32 ", row_of_slot.sizes(), ", are ", weights.scalar_type(), weights.sizes());
}

inline void check_mixed_gradient(const at::Tensor &grad, const at::Tensor &rows, int64_t tokens) {
  TORCH_CHECK(grad.sizes() == at::IntArrayRef({tokens, rows.size(1)}) && grad.scalar_type() == rows.scalar_type() &&
                  grad.is_contiguous(),
              "unpermute_rows_backward: gradient ", grad.scalar_type(), grad.sizes(), " for rows ", rows.sizes());
}

}  // namespace xtuner
