// Schemas, gradient formulas and composite references of normalisation and rotation.
#include "operators.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/stack.h>
#include <torch/library.h>

#include "../dispatch.h"
#include "../formula.h"
#include "../wide_type.h"

TORCH_LIBRARY_FRAGMENT(xtuner, m) {
  m.def("rms_norm(Tensor x, Tensor weight, float epsilon) -> (Tensor, Tensor)");
  m.def("rms_norm_backward(Tensor grad, Tensor x, Tensor weight, Tensor scale) -> (Tensor, Tensor)");
  m.def("add_rms_norm(Tensor x, Tensor residual, Tensor weight, float epsilon) -> (Tensor, Tensor, Tensor)");
  m.def(
      "add_rms_norm_backward(Tensor grad, Tensor? sum_grad, Tensor sum, Tensor weight, Tensor scale) "
      "-> (Tensor, Tensor)");
  m.def(
      "norm_rotary(Tensor x, Tensor weight, float epsilon, Tensor cosine, Tensor sine, bool interleaved) "
      "-> (Tensor, Tensor)");
  m.def(
      "norm_rotary_backward(Tensor grad, Tensor x, Tensor weight, Tensor scale, Tensor cosine, Tensor sine, "
      "bool interleaved) -> (Tensor, Tensor)");
  m.def("rotary(Tensor x, Tensor cosine, Tensor sine, bool interleaved, bool inverse) -> Tensor");
}

namespace xtuner {

using at::Tensor;
using Pair = std::tuple<Tensor, Tensor>;

Tensor rms_norm(const Tensor &input, const Tensor &weight, double epsilon) {
  auto x = input.contiguous();
  auto forward = [&](const Record &record) -> Tensors {
    auto [y, scale] = call<Pair(const Tensor &, const Tensor &, double)>("xtuner::rms_norm", x, weight, epsilon);
    record.keep({x, weight, scale});
    return {y};
  };
  auto backward = [](const Record &record, const Tensors &grads) -> Tensors {
    auto s = record.kept();
    auto [dx, dw] = call<Pair(const Tensor &, const Tensor &, const Tensor &, const Tensor &)>(
        "xtuner::rms_norm_backward", grads[0].contiguous(), s[0], s[1], s[2]);
    return {dx, dw};
  };
  return differentiable({x, weight}, forward, backward)[0];
}

Pair norm_gradients(const Tensors &kept, const Tensor &normalized, const Tensor &past) {
  // Where nothing reads the norm, what comes past it is all there is.
  if (!normalized.defined()) return {past, Tensor()};
  auto direct = past.defined() ? std::optional<Tensor>(past.contiguous()) : std::nullopt;
  return call<Pair(const Tensor &, const std::optional<Tensor> &, const Tensor &, const Tensor &, const Tensor &)>(
      "xtuner::add_rms_norm_backward", normalized.contiguous(), direct, kept[0], kept[1], kept[2]);
}

Pair add_rms_norm(const Tensor &input, const Tensor &past, const Tensor &weight, double epsilon) {
  auto x = input.contiguous(), residual = past.contiguous();
  auto forward = [&](const Record &record) -> Tensors {
    auto [sum, y, scale] =
        call<std::tuple<Tensor, Tensor, Tensor>(const Tensor &, const Tensor &, const Tensor &, double)>(
            "xtuner::add_rms_norm", x, residual, weight, epsilon);
    record.keep({sum, weight, scale});
    record.without_zeros();
    return {sum, y};
  };
  auto backward = [](const Record &record, const Tensors &grads) -> Tensors {
    auto [dx, dw] = norm_gradients(record.kept(), grads[1], grads[0]);
    return {dx, dx, dw};
  };
  auto results = differentiable({x, residual, weight}, forward, backward);
  return {results[0], results[1]};
}

Tensor rotary(const Tensor &input, const Tensor &cosine, const Tensor &sine, bool interleaved) {
  using Signature = Tensor(const Tensor &, const Tensor &, const Tensor &, bool, bool);
  auto x = input.contiguous();
  auto forward = [&](const Record &record) -> Tensors {
    record.keep({cosine, sine});
    return {call<Signature>("xtuner::rotary", x, cosine, sine, interleaved, false)};
  };
  auto backward = [interleaved](const Record &record, const Tensors &grads) -> Tensors {
    auto s = record.kept();
    return {call<Signature>("xtuner::rotary", grads[0].contiguous(), s[0], s[1], interleaved, true), Tensor(),
            Tensor()};
  };
  return differentiable({x, cosine, sine}, forward, backward)[0];
}

Tensor norm_rotary(const Tensor &input, const Tensor &weight, double epsilon, const Tensor &cosine, const Tensor &sine,
                   bool interleaved) {
  bool is_dense = input.dim() == 3 && input.stride(2) == 1;
  auto x = is_dense ? input : input.contiguous();
  auto forward = [&](const Record &record) -> Tensors {
    auto [y, scale] = call<Pair(const Tensor &, const Tensor &, double, const Tensor &, const Tensor &, bool)>(
        "xtuner::norm_rotary", x, weight, epsilon, cosine, sine, interleaved);
    record.keep({x, weight, scale, cosine, sine});
    return {y};
  };
  auto backward = [interleaved](const Record &record, const Tensors &grads) -> Tensors {
    auto s = record.kept();
    auto [dx, dw] = call<Pair(const Tensor &, const Tensor &, const Tensor &, const Tensor &, const Tensor &,
                              const Tensor &, bool)>("xtuner::norm_rotary_backward", grads[0].contiguous(), s[0], s[1],
                                                     s[2], s[3], s[4], interleaved);
    return {dx, dw, Tensor(), Tensor()};
  };
  return differentiable({x, weight, cosine, sine}, forward, backward)[0];
}

}  // namespace xtuner

// ---- Composite references

namespace xtuner::reference {

at::Tensor rms_norm(const at::Tensor &x, const at::Tensor &weight, double epsilon) {
  auto wide = x.to(wide_type(x));
  auto normalized = wide * at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + epsilon);
  return weight * normalized.to(x.scalar_type());
}

at::Tensor rotary(const at::Tensor &x, const at::Tensor &cosine, const at::Tensor &sine, bool interleaved) {
  auto c = cosine.unsqueeze(1), s = sine.unsqueeze(1);  // [T, 1, d/2]
  auto wide = x.to(wide_type(x));
  int64_t half = x.size(-1) / 2;
  auto a = interleaved ? wide.slice(-1, 0, std::nullopt, 2) : wide.slice(-1, 0, half);
  auto b = interleaved ? wide.slice(-1, 1, std::nullopt, 2) : wide.slice(-1, half);
  auto first = a * c - b * s, second = b * c + a * s;
  auto out = interleaved ? at::stack({first, second}, -1).flatten(-2) : at::cat({first, second}, -1);
  return out.to(x.scalar_type());
}

std::tuple<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor &x, const at::Tensor &residual,
                                                const at::Tensor &weight, double epsilon) {
  auto sum = x + residual;
  return {sum, rms_norm(sum, weight, epsilon)};
}

at::Tensor norm_rotary(const at::Tensor &x, const at::Tensor &weight, double epsilon, const at::Tensor &cosine,
                       const at::Tensor &sine, bool interleaved) {
  return rotary(rms_norm(x, weight, epsilon), cosine, sine, interleaved);
}

}  // namespace xtuner::reference
