// Root-mean-square normalisation: alone, after an addition, before a rotation; rotation alone.
#include "../../../CTorch/operators/norm/arguments.h"
#include "../arguments.h"

namespace xtuner::cuda_operators {
namespace {

std::tuple<Tensor, Tensor> rms_norm(const Tensor &x, const Tensor &weight, double epsilon) {
  check_devices("rms_norm", x, weight);
  check_norm_weight(x, weight, "rms_norm");
  TORCH_CHECK(x.is_contiguous(), "rms_norm: x ", x.sizes(), " is not contiguous");
  OnDevice stream(x);
  int64_t rows = row_count(x, "rms_norm");
  auto w = weight.contiguous();
  auto y = at::empty_like(x), scale = floats(x, {rows});
  cuda::rms_norm(element_of(x, "rms_norm"), pointer(x), nullptr, pointer(w), nullptr, y.mutable_data_ptr(),
                 scale.mutable_data_ptr<float>(), rows, x.size(-1), float(epsilon), stream);
  return {y, scale};
}

std::tuple<Tensor, Tensor, Tensor> add_rms_norm(const Tensor &x, const Tensor &residual, const Tensor &weight,
                                                double epsilon) {
  check_devices("add_rms_norm", x, residual, weight);
  check_norm_weight(x, weight, "add_rms_norm");
  TORCH_CHECK(x.is_contiguous() && residual.sizes() == x.sizes() && residual.scalar_type() == x.scalar_type() &&
                  residual.is_contiguous(),
              "add_rms_norm: residual ", residual.scalar_type(), residual.sizes(), " for ", x.scalar_type(), x.sizes());
  OnDevice stream(x);
  int64_t rows = row_count(x, "add_rms_norm");
  auto w = weight.contiguous();
  auto sum = at::empty_like(x), y = at::empty_like(x), scale = floats(x, {rows});
  cuda::rms_norm(element_of(x, "add_rms_norm"), pointer(x), pointer(residual), pointer(w), sum.mutable_data_ptr(),
                 y.mutable_data_ptr(), scale.mutable_data_ptr<float>(), rows, x.size(-1), float(epsilon), stream);
  return {sum, y, scale};
}

/// The gradient of what was normalised, plus `direct`, what comes past the norm.
std::tuple<Tensor, Tensor> add_rms_norm_backward(const Tensor &grad, const std::optional<Tensor> &direct,
                                                 const Tensor &x, const Tensor &weight, const Tensor &scale) {
  check_devices("rms_norm_backward", x, grad, direct, weight, scale);
  check_norm_gradient(grad, x, "rms_norm_backward");
  if (direct) check_norm_gradient(*direct, x, "rms_norm_backward");
  TORCH_CHECK(x.is_contiguous(), "rms_norm_backward: x ", x.sizes(), " is not contiguous");
  int64_t rows = row_count(x, "rms_norm_backward"), width = x.size(-1), size = x.element_size();
  int64_t most = cuda::widest_norm(width * size % 16 == 0, size);
  TORCH_CHECK(width <= most, "rms_norm_backward: rows of ", width, " ", x.scalar_type(), "; the CUDA kernel takes ",
              most, " of this type and remainder, and ", cuda::widest_norm(true, size), " in multiples of ", 16 / size);
  OnDevice stream(x);
  auto w = weight.contiguous();
  auto dx = at::empty_like(x), dw = at::empty({width}, weight.options());
  auto partial = floats(x, {std::min<int64_t>(rows, cuda::kSumBlocks), width});
  cuda::rms_norm_backward(element_of(x, "rms_norm_backward"), pointer(grad), pointer(x), pointer(w),
                          scale.const_data_ptr<float>(), pointer(direct), dx.mutable_data_ptr(), dw.mutable_data_ptr(),
                          partial.mutable_data_ptr<float>(), rows, width, stream);
  return {dx, dw};
}

std::tuple<Tensor, Tensor> rms_norm_backward(const Tensor &grad, const Tensor &x, const Tensor &weight,
                                             const Tensor &scale) {
  return add_rms_norm_backward(grad, std::nullopt, x, weight, scale);
}

cuda::Heads heads_of(const Tensor &x, const Tensor &cosine, const Tensor &sine, const char *what) {
  TORCH_CHECK(x.dim() == 3 && x.size(2) % 2 == 0 && (x.stride(2) == 1 || x.size(2) <= 1), what,
              ": x must be [tokens, heads, head size] with dense heads, is ", x.sizes(), " with strides ", x.strides());
  check_devices(what, x, cosine, sine);
  int64_t tokens = x.size(0), half = x.size(2) / 2;
  auto fits = [&](const Tensor &angles) {
    return angles.sizes() == at::IntArrayRef({tokens, half}) && angles.scalar_type() == at::kFloat;
  };
  TORCH_CHECK(fits(cosine) && fits(sine), what, ": x ", x.sizes(), " needs float32 cos and sin of [", tokens, ", ",
              half, "], got ", cosine.sizes(), " and ", sine.sizes());
  check_row_count(tokens * x.size(1), what);
  return {tokens, x.size(1), half, x.stride(0), x.stride(1)};
}

Tensor rotary(const Tensor &x, const Tensor &cosine, const Tensor &sine, bool interleaved, bool inverse) {
  auto heads = heads_of(x, cosine, sine, "rotary");
  OnDevice stream(x);
  auto c = cosine.contiguous(), s = sine.contiguous();
  auto y = at::empty(x.sizes(), x.options());
  cuda::rotary(element_of(x, "rotary"), pointer(x), c.const_data_ptr<float>(), s.const_data_ptr<float>(),
               y.mutable_data_ptr(), heads, interleaved, inverse, stream);
  return y;
}

std::tuple<Tensor, Tensor> norm_rotary(const Tensor &x, const Tensor &weight, double epsilon, const Tensor &cosine,
                                       const Tensor &sine, bool interleaved) {
  check_devices("norm_rotary", x, weight);
  check_norm_weight(x, weight, "norm_rotary");
  auto heads = heads_of(x, cosine, sine, "norm_rotary");
  OnDevice stream(x);
  auto w = weight.contiguous(), c = cosine.contiguous(), s = sine.contiguous();
  auto y = at::empty(x.sizes(), x.options()), scale = floats(x, {heads.tokens, heads.heads});
  cuda::norm_rotary(element_of(x, "norm_rotary"), pointer(x), pointer(w), c.const_data_ptr<float>(),
                    s.const_data_ptr<float>(), y.mutable_data_ptr(), scale.mutable_data_ptr<float>(), heads,
                    float(epsilon), interleaved, stream);
  return {y, scale};
}

std::tuple<Tensor, Tensor> norm_rotary_backward(const Tensor &grad, const Tensor &x, const Tensor &weight,
                                                const Tensor &scale, const Tensor &cosine, const Tensor &sine,
                                                bool interleaved) {
  check_devices("norm_rotary_backward", x, grad, weight, scale);
  check_norm_gradient(grad, x, "norm_rotary_backward");
  auto heads = heads_of(x, cosine, sine, "norm_rotary_backward");
  TORCH_CHECK(heads.half <= cuda::kLargestHalf, "norm_rotary_backward: heads of ", 2 * heads.half,
              " elements; the CUDA kernel takes up to ", 2 * cuda::kLargestHalf);
  OnDevice stream(x);
  auto w = weight.contiguous(), c = cosine.contiguous(), s = sine.contiguous();
  auto dx = at::empty(x.sizes(), x.options()), dw = at::empty({x.size(2)}, weight.options());
  auto partial = floats(x, {std::min<int64_t>(heads.tokens * heads.heads, cuda::kSumBlocks), x.size(2)});
  cuda::norm_rotary_backward(element_of(x, "norm_rotary_backward"), pointer(grad), pointer(x), pointer(w),
                             scale.const_data_ptr<float>(), c.const_data_ptr<float>(), s.const_data_ptr<float>(),
                             dx.mutable_data_ptr(), dw.mutable_data_ptr(), partial.mutable_data_ptr<float>(), heads,
                             interleaved, stream);
  return {dx, dw};
}

}  // namespace
}  // namespace xtuner::cuda_operators

TORCH_LIBRARY_IMPL(xtuner, XTUNER_DEVICE_KEY, m) {
  using namespace xtuner::cuda_operators;
  m.impl("rms_norm", rms_norm);
  m.impl("rms_norm_backward", rms_norm_backward);
  m.impl("add_rms_norm", add_rms_norm);
  m.impl("add_rms_norm_backward", add_rms_norm_backward);
  m.impl("rotary", rotary);
  m.impl("norm_rotary", norm_rotary);
  m.impl("norm_rotary_backward", norm_rotary_backward);
}
