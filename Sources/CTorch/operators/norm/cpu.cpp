// CPU kernels of root-mean-square normalisation, alone, after an addition, before a rotation; and of rotation alone.
#include <ATen/OpMathType.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <array>
#include <vector>

#include "../element_types.h"
#include "../parallel.h"
#include "arguments.h"

#define XTUNER_KERNELS "norm/kernels.h"
#include "../each_instruction_set.h"

namespace xtuner::cpu {
namespace {

using at::Tensor;

/// Rows whose shares of the weight's gradient are summed before they are added to those of other blocks: the
/// result does not depend on threads.
constexpr int64_t kBlock = 64;

/// Space for 1 / rms of every row.
Tensor make_scales(const Tensor &x, at::IntArrayRef sizes) {
  return at::empty(sizes, x.options().dtype(x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat));
}

std::tuple<Tensor, Tensor> rms_norm(const Tensor &x, const Tensor &weight, double epsilon) {
  check_norm_weight(x, weight, "rms_norm");
  int64_t width = x.size(-1), rows = width == 0 ? 0 : x.numel() / width;
  auto w = weight.contiguous();
  auto y = at::empty_like(x), scale = make_scales(x, {rows});
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

std::tuple<Tensor, Tensor, Tensor> add_rms_norm(const Tensor &x, const Tensor &residual, const Tensor &weight,
                                                double epsilon) {
  check_norm_weight(x, weight, "add_rms_norm");
  TORCH_CHECK(residual.sizes() == x.sizes() && residual.scalar_type() == x.scalar_type() && residual.is_contiguous(),
              "add_rms_norm: residual ", residual.scalar_type(), residual.sizes(), " for ", x.scalar_type(), x.sizes());
  int64_t width = x.size(-1), rows = width == 0 ? 0 : x.numel() / width;
  auto w = weight.contiguous();
  auto sum = at::empty_like(x), y = at::empty_like(x), scale = make_scales(x, {rows});
  XTUNER_DISPATCH(x, "add_rms_norm", [&] {
    using wide = at::opmath_type<scalar_t>;
    auto kernel = XTUNER_KERNEL(add_rms_norm_range<scalar_t, wide>);
    auto xs = x.const_data_ptr<scalar_t>(), rs = residual.const_data_ptr<scalar_t>(), ws = w.const_data_ptr<scalar_t>();
    auto sums = sum.mutable_data_ptr<scalar_t>(), ys = y.mutable_data_ptr<scalar_t>();
    auto scales = scale.mutable_data_ptr<wide>();
    parallel_for(rows, row_grain(width),
                 [&](int64_t begin, int64_t end) { kernel(xs, rs, ws, sums, ys, scales, width, epsilon, begin, end); });
  });
  return {sum, y, scale};
}

/// The gradient of what was normalised, plus `direct`, what comes past the norm.
std::tuple<Tensor, Tensor> backward(const Tensor &grad, const std::optional<Tensor> &direct, const Tensor &x,
                                    const Tensor &weight, const Tensor &scale) {
  int64_t width = x.size(-1), rows = width == 0 ? 0 : x.numel() / width;
  check_norm_gradient(grad, x, "rms_norm_backward");
  if (direct) check_norm_gradient(*direct, x, "rms_norm_backward");
  auto w = weight.contiguous();
  auto dx = at::empty_like(x);
  int64_t blocks = (rows + kBlock - 1) / kBlock;
  auto partial = at::zeros({blocks, width}, scale.options());
  XTUNER_DISPATCH(x, "rms_norm_backward", [&] {
    using wide = at::opmath_type<scalar_t>;
    auto kernel = XTUNER_KERNEL(rms_norm_backward_range<scalar_t, wide>);
    auto gs = grad.const_data_ptr<scalar_t>(), xs = x.const_data_ptr<scalar_t>(), ws = w.const_data_ptr<scalar_t>();
    auto past = direct ? direct->const_data_ptr<scalar_t>() : nullptr;
    auto out = dx.mutable_data_ptr<scalar_t>();
    auto scales = scale.const_data_ptr<wide>();
    auto sums = partial.mutable_data_ptr<wide>();
    parallel_for(blocks, std::max<int64_t>(1, row_grain(width) / kBlock), [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        kernel(gs, xs, ws, scales, past, out, sums + b * width, width, b * kBlock, std::min(rows, (b + 1) * kBlock));
    });
  });
  return {dx, partial.sum(0).to(weight.scalar_type())};
}

std::tuple<Tensor, Tensor> rms_norm_backward(const Tensor &grad, const Tensor &x, const Tensor &weight,
                                             const Tensor &scale) {
  return backward(grad, std::nullopt, x, weight, scale);
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

void check_heads(const Tensor &x, const Tensor &cosine, const Tensor &sine) {
  TORCH_CHECK(x.dim() == 3 && x.size(2) % 2 == 0 && (x.stride(2) == 1 || x.size(2) <= 1),
              "norm_rotary: x must be [tokens, heads, head size] with dense heads, is ", x.sizes(), " with strides ",
              x.strides());
  std::array<int64_t, 2> sizes = {x.size(0), x.size(2) / 2};
  at::IntArrayRef angles(sizes);
  TORCH_CHECK(cosine.sizes() == angles && sine.sizes() == angles && cosine.scalar_type() == at::kFloat &&
                  sine.scalar_type() == at::kFloat,
              "norm_rotary: x ", x.sizes(), " needs float32 cos and sin of ", angles, ", got ", cosine.sizes(), " and ",
              sine.sizes());
}

std::tuple<Tensor, Tensor> norm_rotary(const Tensor &x, const Tensor &weight, double epsilon, const Tensor &cosine,
                                       const Tensor &sine, bool interleaved) {
  check_norm_weight(x, weight, "norm_rotary");
  check_heads(x, cosine, sine);
  int64_t tokens = x.size(0), heads = x.size(1), width = x.size(2);
  auto w = weight.contiguous(), c = cosine.contiguous(), s = sine.contiguous();
  auto y = at::empty(x.sizes(), x.options()), scale = make_scales(x, {tokens, heads});
  XTUNER_DISPATCH(x, "norm_rotary", [&] {
    using wide = at::opmath_type<scalar_t>;
    auto kernel = interleaved ? XTUNER_KERNEL(norm_rotary_range<scalar_t, wide, true>)
                              : XTUNER_KERNEL(norm_rotary_range<scalar_t, wide, false>);
    auto xs = x.const_data_ptr<scalar_t>(), ws = w.const_data_ptr<scalar_t>();
    auto cs = c.const_data_ptr<float>(), ss = s.const_data_ptr<float>();
    auto ys = y.mutable_data_ptr<scalar_t>();
    auto scales = scale.mutable_data_ptr<wide>();
    parallel_for(tokens, row_grain(heads * width), [&](int64_t begin, int64_t end) {
      std::vector<scalar_t> row(width);
      kernel(xs, x.stride(0), x.stride(1), heads, width, ws, cs, ss, ys, scales, row.data(), epsilon, begin, end);
    });
  });
  return {y, scale};
}

std::tuple<Tensor, Tensor> norm_rotary_backward(const Tensor &grad, const Tensor &x, const Tensor &weight,
                                                const Tensor &scale, const Tensor &cosine, const Tensor &sine,
                                                bool interleaved) {
  check_norm_gradient(grad, x, "norm_rotary_backward");
  check_heads(x, cosine, sine);
  int64_t tokens = x.size(0), heads = x.size(1), width = x.size(2);
  auto w = weight.contiguous(), c = cosine.contiguous(), s = sine.contiguous();
  auto dx = at::empty(x.sizes(), x.options());
  int64_t block = std::max<int64_t>(1, kBlock / std::max<int64_t>(heads, 1));
  int64_t blocks = (tokens + block - 1) / block;
  auto partial = at::zeros({blocks, width}, scale.options());
  XTUNER_DISPATCH(x, "norm_rotary_backward", [&] {
    using wide = at::opmath_type<scalar_t>;
    auto kernel = interleaved ? XTUNER_KERNEL(norm_rotary_backward_range<scalar_t, wide, true>)
                              : XTUNER_KERNEL(norm_rotary_backward_range<scalar_t, wide, false>);
    auto gs = grad.const_data_ptr<scalar_t>(), xs = x.const_data_ptr<scalar_t>(), ws = w.const_data_ptr<scalar_t>();
    auto cs = c.const_data_ptr<float>(), ss = s.const_data_ptr<float>();
    auto scales = scale.const_data_ptr<wide>();
    auto out = dx.mutable_data_ptr<scalar_t>();
    auto sums = partial.mutable_data_ptr<wide>();
    int64_t grain = std::max<int64_t>(1, row_grain(heads * width) / block);
    parallel_for(blocks, grain, [&](int64_t begin, int64_t end) {
      std::vector<scalar_t> row(width);
      for (int64_t b = begin; b < end; ++b)
        kernel(gs, xs, x.stride(0), x.stride(1), heads, width, ws, scales, cs, ss, out, sums + b * width, row.data(),
               b * block, std::min(tokens, (b + 1) * block));
    });
  });
  return {dx, partial.sum(0).to(weight.scalar_type())};
}

}  // namespace
}  // namespace xtuner::cpu

TORCH_LIBRARY_IMPL(xtuner, CPU, m) {
  using namespace xtuner::cpu;
  m.impl("rms_norm", rms_norm);
  m.impl("rms_norm_backward", rms_norm_backward);
  m.impl("add_rms_norm", add_rms_norm);
  m.impl("add_rms_norm_backward", backward);
  m.impl("rotary", rotary);
  m.impl("norm_rotary", norm_rotary);
  m.impl("norm_rotary_backward", norm_rotary_backward);
}
