// What norms ask of their arguments on every device; each device's own limits are checked where its kernels are.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

namespace xtuner {

inline void check_norm_weight(const at::Tensor &x, const at::Tensor &weight, const char *what) {
  TORCH_CHECK(x.dim() >= 1, what, ": x is a scalar");
  TORCH_CHECK(weight.dim() == 1 && weight.size(0) == x.size(-1), what, ": weight ", weight.sizes(), " for rows of ",
              x.size(-1));
  TORCH_CHECK(weight.scalar_type() == x.scalar_type(), what, ": weight is ", weight.scalar_type(), ", x is ",
              x.scalar_type());
}

inline void check_norm_gradient(const at::Tensor &grad, const at::Tensor &like, const char *what) {
  TORCH_CHECK(grad.scalar_type() == like.scalar_type() && grad.numel() == like.numel() && grad.is_contiguous(), what,
              ": gradient ", grad.scalar_type(), grad.sizes(), " for ", like.scalar_type(), like.sizes());
}

}  // namespace xtuner
