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

}  // namespace xtuner
