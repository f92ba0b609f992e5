// A CPU does not multiply float8: products are those of float32 numbers.
#include <torch/library.h>

#include "fp8_emulated.h"

namespace xtuner::cpu {
namespace {

using at::Tensor;

void check_emulated(bool native) {
  TORCH_CHECK(!native, "a CPU does not multiply float8; emulated products compute the same numbers");
}

Tensor product(const Tensor &x, const Tensor &x_scales, const Tensor &weight, const Tensor &weight_scales,
               const std::optional<Tensor> &bias, bool native) {
  check_emulated(native);
  return emulated::product(x, x_scales, weight, weight_scales, bias);
}

Tensor grouped_product(const Tensor &x, const Tensor &x_scales, const Tensor &weight, const Tensor &weight_scales,
                       const Tensor &offsets, bool native) {
  check_emulated(native);
  return emulated::grouped_product(x, x_scales, weight, weight_scales, offsets);
}

Tensor weight_gradient(const Tensor &grad, const Tensor &grad_scales, const Tensor &x, const Tensor &x_scales,
                       const std::optional<Tensor> &offsets, at::ScalarType dtype, bool native) {
  check_emulated(native);
  return emulated::weight_gradient(grad, grad_scales, x, x_scales, offsets, dtype);
}

}  // namespace
}  // namespace xtuner::cpu

TORCH_LIBRARY_IMPL(xtuner, CPU, m) {
  using namespace xtuner::cpu;
  m.impl("fp8_product", product);
  m.impl("fp8_grouped_product", grouped_product);
  m.impl("fp8_weight_gradient", weight_gradient);
}
