// The cross-entropy of rows of logits, with its gradient in the logits' place.
#include "../../../CTorch/operators/head/arguments.h"
#include "../arguments.h"

namespace xtuner::cuda_operators {
namespace {

std::tuple<Tensor, Tensor> losses_of(const Tensor &logits, const Tensor &targets, const std::optional<Tensor> &weights,
                                     double z_loss) {
  check_logits(logits, targets);
  check_devices("cross_entropy", logits, targets, weights);
  check_row_count(logits.size(0), "cross_entropy");
  OnDevice stream(logits);
  auto chosen = targets.contiguous();
  auto losses = floats(logits, {logits.size(0)}), sums = floats(logits, {logits.size(0)});
  cuda::cross_entropy(element_of(logits, "cross_entropy"),
                      weights ? logits.mutable_data_ptr() : const_cast<void *>(logits.const_data_ptr()),
                      chosen.const_data_ptr<int64_t>(), float_pointer(weights), float(z_loss),
                      losses.mutable_data_ptr<float>(), sums.mutable_data_ptr<float>(), logits.size(0), logits.size(1),
                      stream);
  return {losses, sums};
}

std::tuple<Tensor, Tensor> cross_entropy(const Tensor &logits, const Tensor &targets) {
  return losses_of(logits, targets, std::nullopt, 0);
}

std::tuple<Tensor, Tensor> cross_entropy_(const Tensor &logits, const Tensor &targets, const Tensor &weights,
                                          double z_loss) {
  check_target_weights(weights, targets);
  return losses_of(logits, targets, weights.contiguous(), z_loss);
}

}  // namespace
}  // namespace xtuner::cuda_operators

TORCH_LIBRARY_IMPL(xtuner, XTUNER_DEVICE_KEY, m) {
  using namespace xtuner::cuda_operators;
  m.impl("cross_entropy", cross_entropy);
  m.impl("cross_entropy_", cross_entropy_);
}
