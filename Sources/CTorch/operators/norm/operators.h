// Root-mean-square normalisation, alone, after an addition, before a rotation; rotation alone. Shapes are in ctorch.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>
#include <vector>

namespace xtuner {

namespace reference {
at::Tensor rms_norm(const at::Tensor &x, const at::Tensor &weight, double epsilon);
/// The sum of x and residual, and its norm.
std::tuple<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor &x, const at::Tensor &residual,
                                                const at::Tensor &weight, double epsilon);
at::Tensor norm_rotary(const at::Tensor &x, const at::Tensor &weight, double epsilon, const at::Tensor &cosine,
                       const at::Tensor &sine, bool interleaved);
at::Tensor rotary(const at::Tensor &x, const at::Tensor &cosine, const at::Tensor &sine, bool interleaved);
}  // namespace reference

// Differentiable: through the dispatcher to the device's kernel.
at::Tensor rms_norm(const at::Tensor &x, const at::Tensor &weight, double epsilon);
/// The sum of x and residual, and its norm.
std::tuple<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor &x, const at::Tensor &residual,
                                                const at::Tensor &weight, double epsilon);
at::Tensor norm_rotary(const at::Tensor &x, const at::Tensor &weight, double epsilon, const at::Tensor &cosine,
                       const at::Tensor &sine, bool interleaved);
at::Tensor rotary(const at::Tensor &x, const at::Tensor &cosine, const at::Tensor &sine, bool interleaved);

/// The gradients of what was normalised and of the weight. `kept` is that, the weight and 1 / rms; the gradients that come,
/// of the normalised rows and past the norm, may be undefined.
std::tuple<at::Tensor, at::Tensor> norm_gradients(const std::vector<at::Tensor> &kept, const at::Tensor &normalized,
                                                  const at::Tensor &past);

}  // namespace xtuner
