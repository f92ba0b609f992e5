// CPU kernels that work row by row: rotation, activation.
#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include "parallel.h"

#define XTUNER_KERNELS "kernels_rows.h"
#include "each_instruction_set.h"

namespace xtuner::cpu {
namespace {

using at::Tensor;

#define XTUNER_DISPATCH(tensor, name, ...) \
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, (tensor).scalar_type(), name, __VA_ARGS__)

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
        interleaved ? XTUNER_KERNEL(rotate_range<scalar_t, true>) : XTUNER_KERNEL(rotate_range<scalar_t, false>);
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
  m.impl("rotary", rotary);
  m.impl("swiglu", swiglu);
  m.impl("swiglu_backward", swiglu_backward);
}
