// The type that references compute in.
#pragma once

#include <ATen/core/Tensor.h>

namespace xtuner::reference {

/// The dtype that sums are taken in: float32, or float64 for float64.
inline at::ScalarType wide_type(const at::Tensor &x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

}  // namespace xtuner::reference
