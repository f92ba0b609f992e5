// Schemas and composite references of the cross-entropy, whose gradient comes in the logits' place.
#include "operators.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full_like.h>
#include <torch/library.h>

#include "../dispatch.h"
#include "../wide_type.h"

TORCH_LIBRARY_FRAGMENT(xtuner, m) {
  m.def("cross_entropy(Tensor logits, Tensor targets) -> (Tensor, Tensor)");
  m.def("cross_entropy_(Tensor(a!) logits, Tensor targets, Tensor weights, float z_loss) -> (Tensor, Tensor)");
}

namespace xtuner {

using at::Tensor;
using Pair = std::tuple<Tensor, Tensor>;

Pair cross_entropy(const Tensor &logits, const Tensor &targets, const std::optional<Tensor> &weights, double z_loss) {
  if (weights)
    return call<Pair(const Tensor &, const Tensor &, const Tensor &, double)>("xtuner::cross_entropy_", logits, targets,
                                                                              *weights, z_loss);
  return call<Pair(const Tensor &, const Tensor &)>("xtuner::cross_entropy", logits, targets);
}

}  // namespace xtuner

// ---- Composite references

namespace xtuner::reference {

std::tuple<at::Tensor, at::Tensor> cross_entropy(const at::Tensor &logits, const at::Tensor &targets,
                                                 const std::optional<at::Tensor> &weights, double z_loss) {
  auto wide = logits.to(wide_type(logits));
  auto index = targets.unsqueeze(1);
  // As log-softmax does it: positive infinity in a row gives NaN.
  auto largest = wide.amax(1, /*keepdim=*/true);
  auto shifted = wide - largest;
  auto rest = shifted.exp().sum(1, /*keepdim=*/true).log();
  auto sums = largest + rest;  // [C, 1]
  auto losses = (rest - shifted.gather(1, index)).squeeze(1);
  if (weights) {
    auto gradient = (shifted - rest).exp() * (sums * (2 * z_loss) + 1);
    gradient.scatter_add_(1, index, at::full_like(sums, -1));
    logits.copy_(gradient * weights->unsqueeze(1));
  }
  return {losses, sums.squeeze(1)};
}

}  // namespace xtuner::reference
