// What matrix products ask of their arguments on every device.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <optional>

namespace xtuner {

inline void check_linear(const at::Tensor &x, const at::Tensor &weight, const std::optional<at::Tensor> &bias) {
  TORCH_CHECK(x.dim() >= 1 && weight.dim() == 2 && x.size(-1) == weight.size(1) &&
                  x.scalar_type() == weight.scalar_type() &&
                  (!bias || (bias->dim() == 1 && bias->size(0) == weight.size(0))),
              "linear: x ", x.scalar_type(), x.sizes(), " with weight ", weight.scalar_type(), weight.sizes(),
              " and bias ", bias ? bias->sizes() : at::IntArrayRef());
}

/// x as a matrix of rows, a view where it can be one.
inline at::Tensor rows_of(const at::Tensor &x) { return x.dim() == 2 ? x : x.reshape({-1, x.size(-1)}); }

inline void check_product(const at::Tensor &a, const at::Tensor &b) {
  TORCH_CHECK(a.dim() == 2 && b.dim() == 2 && a.size(1) == b.size(0) && a.scalar_type() == b.scalar_type(),
              "product: a ", a.scalar_type(), a.sizes(), " times b ", b.scalar_type(), b.sizes());
}

inline void check_sum_of_product(const at::Tensor &into, const at::Tensor &a, const at::Tensor &b) {
  TORCH_CHECK(a.dim() == 2 && b.dim() == 2 && a.size(1) == b.size(0) && into.dim() == 2 && into.is_contiguous() &&
                  into.size(0) == a.size(0) && into.size(1) == b.size(1) && a.scalar_type() == b.scalar_type(),
              "add_product_: into ", into.scalar_type(), into.sizes(), " a ", a.scalar_type(), a.sizes(), " times b ",
              b.scalar_type(), b.sizes());
}

}  // namespace xtuner
