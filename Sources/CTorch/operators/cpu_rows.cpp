// CPU kernels that work row by row: normalisation, rotation, activation.
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include "parallel.h"

#define XTUNER_KERNELS "kernels_rows.h"
#include "each_instruction_set.h"

namespace xtuner::cpu {
namespace {

using at::Tensor;

#define XTUNER_DISPATCH(tensor, name, ...) \
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, (tensor).scalar_type(), name, __VA_ARGS__)

/// Rows of at least this many elements in all are worth another thread.
constexpr int64_t kElementGrain = 16384;
int64_t row_grain(int64_t width) { return std::max<int64_t>(1, kElementGrain / std::max<int64_t>(width, 1)); }

void check_same(const Tensor &grad, const Tensor &like, const char *what) {
  TORCH_CHECK(grad.scalar_type() == like.scalar_type() && grad.numel() == like.numel() && grad.is_contiguous(), what,
              ": gradient ", grad.scalar_type(), grad.sizes(), " for ", like.scalar_type(), like.sizes());
}

std::tuple<Tensor, Tensor> rms_norm(const Tensor &x, const Tensor &weight, double epsilon) {
  TORCH_CHECK(x.dim() >= 1, "rms_norm: x is a scalar");
  int64_t width = x.size(-1), rows = width == 0 ? 0 : x.numel() / width;
  TORCH_CHECK(weight.dim() == 1 && weight.size(0) == width, "rms_norm: weight ", weight.sizes(), " for rows of ",
              width);
  TORCH_CHECK(weight.scalar_type() == x.scalar_type(), "rms_norm: weight is ", weight.scalar_type(), ", x is ",
              x.scalar_type());
  auto w = weight.contiguous();
  auto y = at::empty_like(x);
  auto scale = at::empty({rows}, x.options().dtype(x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat));
  XTUNER_DISPATCH(x, "rms_norm", [&] {
    using wide = at::opmath_type<scalar_t>;
    auto kernel = XTUNER_KERNEL(rms_norm_range<scalar_t, wide>);
    auto xs = x.const_data_ptr<scalar_t>(), ws = w.const_data_ptr<scalar_t>();
    auto ys = y.mutable_data_ptr<scalar_t>();
    auto scales = scale.mutable_data_ptr<wide>();
    parallel_for(rows, row_grain(width),
                 [&](int64_t begin, int64_t end) { kernel(xs, ws, ys, scales, width, epsilon, begin, end); });
  });
  return {y, scale};
}

std::tuple<Tensor, Tensor> rms_norm_backward(const Tensor &grad, const Tensor &x, const Tensor &weight,
                                             const Tensor &scale) {
  int64_t width = x.size(-1), rows = width == 0 ? 0 : x.numel() / width;
  check_same(grad, x, "rms_norm_backward");
  auto w = weight.contiguous();
  auto dx = at::empty_like(x);
  // Partial sums of the weight's gradient, one row a block of rows: the result does not depend on threads.
  constexpr int64_t kBlock = 64;
  int64_t blocks = (rows + kBlock - 1) / kBlock;
  auto partial = at::zeros({blocks, width}, scale.options());
  XTUNER_DISPATCH(x, "rms_norm_backward", [&] {
    using wide = at::opmath_type<scalar_t>;
    auto kernel = XTUNER_KERNEL(rms_norm_backward_range<scalar_t, wide>);
    auto gs = grad.const_data_ptr<scalar_t>(), xs = x.const_data_ptr<scalar_t>(), ws = w.const_data_ptr<scalar_t>();
    auto out = dx.mutable_data_ptr<scalar_t>();
    auto scales = scale.const_data_ptr<wide>();
    auto sums = partial.mutable_data_ptr<wide>();
    parallel_for(blocks, std::max<int64_t>(1, row_grain(width) / kBlock), [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        kernel(gs, xs, ws, scales, out, sums + b * width, width, b * kBlock, std::min(rows, (b + 1) * kBlock));
    });
  });
  return {dx, partial.sum(0).to(weight.scalar_type())};
}

Tensor rotary(const Tensor &x, const Tensor &cosine, const Tensor &sine, bool interleaved, bool inverse) {
  TORCH_CHECK(x.dim() == 3, "rotary: x must be [tokens, heads, head size], is ", x.sizes());
  int64_t tokens = x.size(0), heads = x.size(1), width = x.size(2), half = width / 2;
  TORCH_CHECK(width % 2 == 0 && cosine.sizes() == at::IntArrayRef({tokens, half}) && sine.sizes() == cosine.sizes(),
              "rotary: x ", x.sizes(), " needs cos and sin of [", tokens, ", ", half, "], got ", cosine.sizes(),
              " and ", sine.sizes());
  auto c = cosine.contiguous(), s = sine.contiguous();
  auto y = at::empty_like(x);
  XTUNER_DISPATCH(x, "rotary", [&] {
    auto kernel =
        interleaved ? XTUNER_KERNEL(rotate_neighbours_range<scalar_t>) : XTUNER_KERNEL(rotate_halves_range<scalar_t>);
    auto xs = x.const_data_ptr<scalar_t>();
    auto ys = y.mutable_data_ptr<scalar_t>();
    auto cs = c.const_data_ptr<float>(), ss = s.const_data_ptr<float>();
    parallel_for(tokens, row_grain(heads * width), [&](int64_t begin, int64_t end) {
      kernel(xs, cs, ss, ys, heads, half, inverse ? -1.0f : 1.0f, begin, end);
    });
  });
  return y;
}

Tensor swiglu(const Tensor &gate_up) {
  TORCH_CHECK(gate_up.dim() == 2 && gate_up.size(1) % 2 == 0, "swiglu: expected [rows, 2 x width], got ",
              gate_up.sizes());
  int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
  auto y = at::empty({rows, width}, gate_up.options());
  XTUNER_DISPATCH(gate_up, "swiglu", [&] {
    auto kernel = XTUNER_KERNEL(swiglu_range<scalar_t>);
    auto in = gate_up.const_data_ptr<scalar_t>();
    auto out = y.mutable_data_ptr<scalar_t>();
    parallel_for(rows, row_grain(width), [&](int64_t begin, int64_t end) { kernel(in, out, width, begin, end); });
  });
  return y;
}

Tensor swiglu_backward(const Tensor &grad, const Tensor &gate_up) {
  int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
  TORCH_CHECK(grad.sizes() == at::IntArrayRef({rows, width}) && grad.scalar_type() == gate_up.scalar_type(),
              "swiglu_backward: gradient ", grad.scalar_type(), grad.sizes(), " for ", gate_up.scalar_type(),
              gate_up.sizes());
  auto dx = at::empty_like(gate_up);
  XTUNER_DISPATCH(gate_up, "swiglu_backward", [&] {
    auto kernel = XTUNER_KERNEL(swiglu_backward_range<scalar_t>);
    auto in = gate_up.const_data_ptr<scalar_t>(), gs = grad.const_data_ptr<scalar_t>();
    auto out = dx.mutable_data_ptr<scalar_t>();
    parallel_for(rows, row_grain(width), [&](int64_t begin, int64_t end) { kernel(gs, in, out, width, begin, end); });
  });
  return dx;
}

}  // namespace
}  // namespace xtuner::cpu

TORCH_LIBRARY_IMPL(xtuner, CPU, m) {
  using namespace xtuner::cpu;
  m.impl("rms_norm", rms_norm);
  m.impl("rms_norm_backward", rms_norm_backward);
  m.impl("rotary", rotary);
  m.impl("swiglu", swiglu);
  m.impl("swiglu_backward", swiglu_backward);
}
