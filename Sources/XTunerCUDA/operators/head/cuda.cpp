// The cross-entropy of rows of logits, with its gradient in the logits' place.
#include "../arguments.h"

namespace xtuner::cuda_operators {
namespace {

std::tuple<Tensor, Tensor> losses_of(const Tensor &logits, const Tensor &targets, const std::optional<Tensor> &weights,
                                     double z_loss) {
  TORCH_CHECK(logits.dim() == 2 && logits.is_contiguous(), "cross_entropy: logits must be contiguous of two dims, are ",
              logits.sizes(), " with strides ", logits.strides());
  TORCH_CHECK(targets.scalar_type() == at::kLong && targets.dim() == 1 && targets.size(0) == logits.size(0),
              "cross_entropy: targets must be int64 [", logits.size(0), "], are ", targets.scalar_type(),
              targets.sizes());
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
  TORCH_CHECK(weights.scalar_type() == at::kFloat && weights.sizes() == targets.sizes(),
              "cross_entropy_: weights must be float32 ", targets.sizes(), ", are ", weights.scalar_type(),
              weights.sizes());
  return losses_of(logits, targets, weights.contiguous(), z_loss);
}

}  // namespace
}  // namespace xtuner::cuda_operators

TORCH_LIBRARY_IMPL(xtuner, XTUNER_DEVICE_KEY, m) {
  using namespace xtuner::cuda_operators;
  m.impl("cross_entropy", cross_entropy);
  m.impl("cross_entropy_", cross_entropy_);
}
