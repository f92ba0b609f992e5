// The gradient that all norms after an addition share.
#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include "dispatch.h"

namespace xtuner {

/// The gradients of what was normalised and of the weight. `saved` is that, the weight and 1 / rms; the gradients that come,
/// of the normalised rows and past the norm, may be undefined.
inline std::tuple<at::Tensor, at::Tensor> norm_gradients(const torch::autograd::variable_list &saved,
                                                         const at::Tensor &normalized, const at::Tensor &past) {
  // Where nothing reads the norm, what comes past it is all there is.
  if (!normalized.defined()) return {past, at::Tensor()};
  auto direct = past.defined() ? std::optional<at::Tensor>(past.contiguous()) : std::nullopt;
  return call<std::tuple<at::Tensor, at::Tensor>(const at::Tensor &, const std::optional<at::Tensor> &,
                                                 const at::Tensor &, const at::Tensor &, const at::Tensor &)>(
      "xtuner::add_rms_norm_backward", normalized.contiguous(), direct, saved[0], saved[1], saved[2]);
}

}  // namespace xtuner
