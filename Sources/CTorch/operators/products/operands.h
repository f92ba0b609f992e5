// Tensors as operands of our own bfloat16 products.
#pragma once

#include <ATen/core/Tensor.h>

#include "gemm.h"

namespace xtuner::cpu {

/// Whether products of `rows` rows of x are our own. With a few rows reading the weight is all that counts, and
/// libtorch reads it without packing; where products are widened, that pays from two rows on.
inline bool takes_own_products(const at::Tensor &x, int64_t rows) {
  if (x.scalar_type() != at::kBFloat16) return false;
  return has_bf16_products() ? rows > kFewRows : rows > 1 && widens_bf16_products();
}

/// The matrix, or a copy whose rows or columns are dense.
inline at::Tensor with_dense_rows(const at::Tensor &x) {
  return x.stride(1) == 1 || x.stride(0) == 1 ? x : x.contiguous();
}

/// A matrix whose rows or columns are dense.
inline Bf16Matrix matrix_of(const at::Tensor &x) {
  bool is_transposed = x.stride(1) != 1;
  return {x.const_data_ptr<c10::BFloat16>(), x.stride(is_transposed ? 1 : 0), is_transposed};
}

/// a [m, k] times b [k, n] into rows of `out`, bfloat16 or float32.
inline Bf16Product product_of(const at::Tensor &a, const at::Tensor &b, const at::Tensor &out) {
  bool is_wide = out.scalar_type() == at::kFloat;
  return {a.size(0),
          b.size(1),
          a.size(1),
          matrix_of(a),
          matrix_of(b),
          is_wide ? nullptr : out.mutable_data_ptr<c10::BFloat16>(),
          is_wide ? out.mutable_data_ptr<float>() : nullptr,
          out.stride(0)};
}

}  // namespace xtuner::cpu
