// The cross-entropy of rows of logits. Shapes are in ctorch.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <tuple>

namespace xtuner {

namespace reference {
/// Losses and log-sum-exps; with weights the logits become their gradient.
std::tuple<at::Tensor, at::Tensor> cross_entropy(const at::Tensor &logits, const at::Tensor &targets,
                                                 const std::optional<at::Tensor> &weights, double z_loss);
}  // namespace reference
/// The same by the device's kernel.
std::tuple<at::Tensor, at::Tensor> cross_entropy(const at::Tensor &logits, const at::Tensor &targets,
                                                 const std::optional<at::Tensor> &weights, double z_loss);

}  // namespace xtuner
