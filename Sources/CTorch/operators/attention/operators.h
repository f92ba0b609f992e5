// Attention over samples of a pack. Shapes are in ctorch.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace xtuner {

namespace reference {
at::Tensor varlen_attention(const at::Tensor &query, const at::Tensor &key, const at::Tensor &value,
                            const at::Tensor &bounds, double scale, int64_t window,
                            const std::optional<at::Tensor> &sinks);
}  // namespace reference

/// Whether libtorch's flash kernel computes this: full causal attention, one width, no sinks.
inline bool flash_fits(const at::Tensor &query, const at::Tensor &value, int64_t window,
                       const std::optional<at::Tensor> &sinks) {
  return window <= 0 && !sinks && query.size(2) == value.size(2) && query.scalar_type() != at::kDouble;
}

// Differentiable: through the dispatcher to the device's kernel.
at::Tensor varlen_attention(const at::Tensor &query, const at::Tensor &key, const at::Tensor &value,
                            const at::Tensor &bounds, double scale, int64_t window,
                            const std::optional<at::Tensor> &sinks);

}  // namespace xtuner
