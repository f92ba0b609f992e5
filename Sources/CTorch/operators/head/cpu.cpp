// CPU kernels of the cross-entropy of rows of logits, with its gradient in the logits' place.
#include <ATen/OpMathType.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <limits>

#include "../element_types.h"
#include "../parallel.h"
#include "arguments.h"

#define XTUNER_KERNELS "head/kernels.h"
#include "../each_instruction_set.h"

namespace xtuner::cpu {
namespace {

using at::Tensor;

/// A wrong target would read and write anywhere.
const int64_t *checked_targets(const Tensor &targets, int64_t width) {
  auto data = targets.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < targets.numel(); ++i)
    TORCH_CHECK(data[i] >= 0 && data[i] < width, "cross_entropy: target ", data[i], " at ", i, " is outside 0..<",
                width);
  return data;
}

/// Losses and log-sum-exps; writes to the logits only where there are weights.
std::tuple<Tensor, Tensor> run(const Tensor &logits, const Tensor &targets, const float *weights, double z_loss) {
  check_logits(logits, targets);
  int64_t rows = logits.size(0), width = logits.size(1);
  auto chosen = targets.contiguous();
  auto indices = checked_targets(chosen, width);
  auto options = logits.options().dtype(logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
  auto losses = at::empty({rows}, options), sums = at::empty({rows}, options);
  XTUNER_DISPATCH(logits, "cross_entropy", [&] {
    using wide = at::opmath_type<scalar_t>;
    auto kernel = XTUNER_KERNEL(cross_entropy_range<scalar_t, wide>);
    auto data =
        const_cast<scalar_t *>(weights ? logits.mutable_data_ptr<scalar_t>() : logits.const_data_ptr<scalar_t>());
    auto out = losses.mutable_data_ptr<wide>(), out_sums = sums.mutable_data_ptr<wide>();
    // Each row is gone through twice: for its sum, and for the gradient.
    parallel_for(rows, row_grain(2 * width), [&](int64_t begin, int64_t end) {
      kernel(data, indices, weights, z_loss, out, out_sums, width, begin, end);
    });
  });
  return {losses, sums};
}

std::tuple<Tensor, Tensor> cross_entropy(const Tensor &logits, const Tensor &targets) {
  return run(logits, targets, nullptr, 0);
}

std::tuple<Tensor, Tensor> cross_entropy_(const Tensor &logits, const Tensor &targets, const Tensor &weights,
                                          double z_loss) {
  check_target_weights(weights, targets);
  auto w = weights.contiguous();
  return run(logits, targets, w.const_data_ptr<float>(), z_loss);
}

}  // namespace
}  // namespace xtuner::cpu

TORCH_LIBRARY_IMPL(xtuner, CPU, m) {
  using namespace xtuner::cpu;
  m.impl("cross_entropy", cross_entropy);
  m.impl("cross_entropy_", cross_entropy_);
}
