// The engine's own operators, `xtuner::`. Each has a CPU kernel (files beside this one), a composite
// reference built from ATen operators that the tests compare it with (reference.cpp), and an
// autograd formula (autograd.cpp). Shapes are in ctorch.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <tuple>

namespace xtuner {

namespace reference {
at::Tensor rms_norm(const at::Tensor &x, const at::Tensor &weight, double epsilon);
/// The sum of x and residual, and its norm.
std::tuple<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor &x, const at::Tensor &residual,
                                                const at::Tensor &weight, double epsilon);
at::Tensor norm_rotary(const at::Tensor &x, const at::Tensor &weight, double epsilon, const at::Tensor &cosine,
                       const at::Tensor &sine, bool interleaved);
at::Tensor rotary(const at::Tensor &x, const at::Tensor &cosine, const at::Tensor &sine, bool interleaved);
at::Tensor swiglu(const at::Tensor &gate_up);
at::Tensor varlen_attention(const at::Tensor &query, const at::Tensor &key, const at::Tensor &value,
                            const at::Tensor &bounds, double scale, int64_t window,
                            const std::optional<at::Tensor> &sinks);
at::Tensor linear(const at::Tensor &x, const at::Tensor &weight, const std::optional<at::Tensor> &bias);
at::Tensor grouped_linear(const at::Tensor &x, const at::Tensor &weight, const at::Tensor &offsets);
at::Tensor permute_rows(const at::Tensor &x, const at::Tensor &token_of_row);
at::Tensor unpermute_rows(const at::Tensor &rows, const at::Tensor &weights, const at::Tensor &row_of_slot);
std::tuple<at::Tensor, at::Tensor> router_scores(const at::Tensor &logits);
at::Tensor route_top_k(const at::Tensor &scores, int64_t k);
/// token_of_row, row_of_slot, counts, offsets.
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> expert_order(const at::Tensor &experts,
                                                                        int64_t expert_count);
/// Losses and log-sum-exps; with weights the logits become their gradient.
std::tuple<at::Tensor, at::Tensor> cross_entropy(const at::Tensor &logits, const at::Tensor &targets,
                                                 const std::optional<at::Tensor> &weights, double z_loss);
}  // namespace reference

/// Whether libtorch's flash kernel computes this: full causal attention, one width, no sinks.
inline bool flash_fits(const at::Tensor &query, const at::Tensor &value, int64_t window,
                       const std::optional<at::Tensor> &sinks) {
  return window <= 0 && !sinks && query.size(2) == value.size(2) && query.scalar_type() != at::kDouble;
}

// Differentiable entry points: they go through the dispatcher to the device's kernel.
at::Tensor rms_norm(const at::Tensor &x, const at::Tensor &weight, double epsilon);
/// The sum of x and residual, and its norm.
std::tuple<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor &x, const at::Tensor &residual,
                                                const at::Tensor &weight, double epsilon);
at::Tensor norm_rotary(const at::Tensor &x, const at::Tensor &weight, double epsilon, const at::Tensor &cosine,
                       const at::Tensor &sine, bool interleaved);
at::Tensor rotary(const at::Tensor &x, const at::Tensor &cosine, const at::Tensor &sine, bool interleaved);
at::Tensor swiglu(const at::Tensor &gate_up);
at::Tensor varlen_attention(const at::Tensor &query, const at::Tensor &key, const at::Tensor &value,
                            const at::Tensor &bounds, double scale, int64_t window,
                            const std::optional<at::Tensor> &sinks);
at::Tensor linear(const at::Tensor &x, const at::Tensor &weight, const std::optional<at::Tensor> &bias);
at::Tensor grouped_linear(const at::Tensor &x, const at::Tensor &weight, const at::Tensor &offsets);
at::Tensor permute_rows(const at::Tensor &x, const at::Tensor &token_of_row, const at::Tensor &row_of_slot);
std::tuple<at::Tensor, at::Tensor> router_scores(const at::Tensor &logits);
at::Tensor unpermute_rows(const at::Tensor &rows, const at::Tensor &weights, const at::Tensor &row_of_slot);

}  // namespace xtuner
