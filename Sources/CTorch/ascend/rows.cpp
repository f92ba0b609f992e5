// Norms, rotation and SwiGLU on Ascend.
#include <ATen/ATen.h>

#include "call.h"
#include "mapping.h"

namespace xtuner::ascend {
namespace {

using at::Tensor;
using Pair = std::tuple<Tensor, Tensor>;

/// npu_rms_norm wants the weight in the dtype of x, and returns 1 / root of the mean square in float32.
Pair rms_norm(const Tensor &x, const Tensor &weight, double epsilon) {
  if (x.numel() == 0) return {at::empty_like(x), at::empty({0}, x.options().dtype(at::kFloat))};
  auto results = Call("npu::npu_rms_norm")
                     .with("input", x.contiguous())
                     .with("gamma", weight.to(x.scalar_type()))
                     .with("epsilon", epsilon)
                     .run();
  return {results[0].toTensor(), results[1].toTensor()};
}

Pair rms_norm_backward(const Tensor &grad, const Tensor &x, const Tensor &weight, const Tensor &scale) {
  if (x.numel() == 0) return {at::empty_like(x), at::zeros_like(weight)};
  auto results = Call("npu::npu_rms_norm_backward")
                     .with("dy", grad.contiguous())
                     .with("input", x.contiguous())
                     .with("gamma", weight.to(x.scalar_type()))
                     .with("rstd", scale)
                     .run();
  // The gradient of the weight is float32.
  return {results[0].toTensor(), results[1].toTensor().to(weight.scalar_type())};
}

std::tuple<Tensor, Tensor, Tensor> add_rms_norm(const Tensor &x, const Tensor &residual, const Tensor &weight,
                                                double epsilon) {
  if (x.numel() == 0) return {at::empty_like(x), at::empty_like(x), at::empty({0}, x.options().dtype(at::kFloat))};
  auto results = Call("npu::npu_add_rms_norm")
                     .with("x1", x)
                     .with("x2", residual)
                     .with("gamma", weight.to(x.scalar_type()))
                     .with("epsilon", epsilon)
                     .run();
  return {results[2].toTensor(), results[0].toTensor(), results[1].toTensor()};
}

Pair add_rms_norm_backward(const Tensor &grad, const std::optional<Tensor> &sum_grad, const Tensor &sum,
                           const Tensor &weight, const Tensor &scale) {
  auto [dx, dw] = rms_norm_backward(grad, sum, weight, scale);
  return {sum_grad ? dx + *sum_grad : dx, dw};
}

/// npu_rotary_mul takes [1, T, H, d] with cosines and sines of the whole width in the dtype of x. Heads are turned
/// in float32, as everywhere: bfloat16 cosines would be off by 0.4 %.
Tensor rotary(const Tensor &x, const Tensor &cosine, const Tensor &sine, bool interleaved, bool inverse) {
  if (x.numel() == 0) return at::empty_like(x, at::MemoryFormat::Contiguous);
  auto whole = [&](const Tensor &half) {
    auto wide = interleaved ? half.repeat_interleave(2, -1) : at::cat({half, half}, -1);
    return wide.to(at::kFloat).view({1, x.size(0), 1, x.size(2)});
  };
  auto turned = Call("npu::npu_rotary_mul")
                    .with("input", x.to(at::kFloat).contiguous().unsqueeze(0))
                    .with("r1", whole(cosine))
                    .with("r2", whole(inverse ? sine.neg() : sine))
                    .with("rotary_mode", interleaved ? "interleave" : "half")
                    .tensor();
  return turned.squeeze(0).to(x.scalar_type());
}

Pair norm_rotary(const Tensor &x, const Tensor &weight, double epsilon, const Tensor &cosine, const Tensor &sine,
                 bool interleaved) {
  auto [y, scale] = rms_norm(x, weight, epsilon);
  return {rotary(y, cosine, sine, interleaved, false), scale};
}

Pair norm_rotary_backward(const Tensor &grad, const Tensor &x, const Tensor &weight, const Tensor &scale,
                          const Tensor &cosine, const Tensor &sine, bool interleaved) {
  return rms_norm_backward(rotary(grad, cosine, sine, interleaved, true), x, weight, scale);
}

/// The gate is the first half for both.
Tensor swiglu(const Tensor &gate_up) {
  if (gate_up.numel() == 0) return at::empty({gate_up.size(0), gate_up.size(1) / 2}, gate_up.options());
  return Call("npu::npu_swiglu").with("input", gate_up.contiguous()).tensor();
}

Tensor swiglu_backward(const Tensor &grad, const Tensor &gate_up) {
  if (gate_up.numel() == 0) return at::empty_like(gate_up);
  return Call("npu::npu_swiglu_backward")
      .with("grad_output", grad.contiguous())
      .with("input", gate_up.contiguous())
      .tensor();
}

}  // namespace

void register_rows(torch::Library &library) {
  library.impl("rms_norm", TORCH_FN(rms_norm));
  library.impl("rms_norm_backward", TORCH_FN(rms_norm_backward));
  library.impl("add_rms_norm", TORCH_FN(add_rms_norm));
  library.impl("add_rms_norm_backward", TORCH_FN(add_rms_norm_backward));
  library.impl("norm_rotary", TORCH_FN(norm_rotary));
  library.impl("norm_rotary_backward", TORCH_FN(norm_rotary_backward));
  library.impl("rotary", TORCH_FN(rotary));
  library.impl("swiglu", TORCH_FN(swiglu));
  library.impl("swiglu_backward", TORCH_FN(swiglu_backward));
}

}  // namespace xtuner::ascend
