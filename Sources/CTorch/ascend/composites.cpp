// Operators for which torch_npu has nothing better than ATen's.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

#include "../operators/head/operators.h"
#include "../operators/router/operators.h"
#include "mapping.h"

namespace xtuner::ascend {
namespace {

using at::Tensor;
using Pair = std::tuple<Tensor, Tensor>;

Tensor product(const Tensor &a, const Tensor &b) { return at::mm(a, b); }

/// A float32 sum of bfloat16 operands is computed in float32: mm would round it to bfloat16 first.
void add_product(Tensor &into, const Tensor &a, const Tensor &b) {
  into.addmm_(a.to(into.scalar_type()), b.to(into.scalar_type()));
}

Tensor linear(const Tensor &x, const Tensor &weight, const std::optional<Tensor> &bias) {
  return at::linear(x, weight, bias);
}

std::tuple<Tensor, Tensor, Tensor> linear_backward(const Tensor &grad, const Tensor &x, const Tensor &weight,
                                                   bool needs_x, bool needs_weight, bool needs_bias) {
  auto rows = grad.reshape({-1, grad.size(-1)});
  Tensor dx, dw, db;
  if (needs_x) dx = at::matmul(grad, weight);
  if (needs_weight) dw = at::mm(rows.t(), x.reshape({-1, x.size(-1)}));
  if (needs_bias) db = rows.sum(0);
  return {dx, dw, db};
}

/// As the CPU's: decay, moments with the scaled gradient, bias correction, epsilon after the root.
void adamw(const Tensor &master, const Tensor &gradient, const Tensor &first, const Tensor &second,
           const std::optional<Tensor> &copy, double learning_rate, double beta1, double beta2, double epsilon,
           double weight_decay, int64_t step, double gradient_scale) {
  auto scaled = gradient.to(at::kFloat) * gradient_scale;
  master.mul_(1 - learning_rate * weight_decay);
  first.lerp_(scaled, 1 - beta1);
  second.mul_(beta2).addcmul_(scaled, scaled, 1 - beta2);
  double correction1 = 1 - std::pow(beta1, static_cast<double>(step));
  double correction2 = 1 - std::pow(beta2, static_cast<double>(step));
  auto root = second.sqrt().div_(std::sqrt(correction2)).add_(epsilon);
  master.addcdiv_(first, root, -learning_rate / correction1);
  if (copy) copy->copy_(master);
}

/// The hash of the CPU's kernel, operators/flat/kernels.h, of numbers of 32 bits in 64.
Tensor hashed(Tensor x) {
  constexpr int64_t kMask = 0xffffffff;
  x = x.bitwise_xor(x.bitwise_right_shift(16)).mul(0x7feb352d).bitwise_and(kMask);
  // The second factor, 0x846ca68b, less 2^32: the product fits into 63 bits.
  x = x.bitwise_xor(x.bitwise_right_shift(15)).mul(int64_t(0x846ca68b) - (int64_t(1) << 32)).bitwise_and(kMask);
  return x.bitwise_xor(x.bitwise_right_shift(16));
}

/// Rounds to bfloat16, up with the probability that the low 16 of `bits` give; infinity and NaN stay.
Tensor stochastically_rounded(const Tensor &x, const Tensor &bits) {
  auto moved = (x.view(at::kInt) + bits.bitwise_and(0xffff).to(at::kInt)).bitwise_and(-65536).view(at::kFloat);
  return at::where(at::isfinite(x), moved, x).to(at::kBFloat16);
}

/// Widened, stepped and rounded by the same random bits as on the CPU.
void adamw_rounded(const Tensor &weights, const Tensor &gradient, const Tensor &first, const Tensor &second,
                   double learning_rate, double beta1, double beta2, double epsilon, double weight_decay, int64_t step,
                   double gradient_scale, int64_t seed, int64_t start, int64_t first_place, int64_t row, int64_t gap) {
  auto p = weights.to(at::kFloat), m = first.to(at::kFloat), v = second.to(at::kFloat);
  adamw(p, gradient, m, v, std::nullopt, learning_rate, beta1, beta2, epsilon, weight_decay, step, gradient_scale);
  auto place = at::arange(first_place, first_place + weights.numel(), weights.options().dtype(at::kLong));
  auto index = place.add(start);
  if (gap != 0) index = index.add(place.div(row, "floor"), gap);
  auto high = index.bitwise_right_shift(32).mul(0x9e3779b9).add(seed & 0xffffffff).bitwise_and(0xffffffff);
  auto bits = hashed(index.bitwise_and(0xffffffff).bitwise_xor(hashed(high)));
  first.copy_(m);
  second.copy_(stochastically_rounded(v, bits));
  weights.copy_(stochastically_rounded(p, bits.bitwise_right_shift(16)));
}

/// In float32: NPUs have no float64. The sum is read as a number.
Tensor squared_sum(const Tensor &x) { return x.to(at::kFloat).square().sum(); }

void add_rows(const Tensor &into, const Tensor &rows, const Tensor &indices) {
  into.index_add_(0, indices, rows.to(into.scalar_type()));
}

Pair router_scores(const Tensor &logits) { return reference::router_scores(logits); }

Tensor router_scores_backward(const std::optional<Tensor> &grad, const std::optional<Tensor> &sum_grad,
                              const Tensor &scores) {
  auto dx = at::zeros_like(scores);
  if (grad) dx += scores * (*grad - (*grad * scores).sum(-1, /*keepdim=*/true));
  if (sum_grad) dx += scores * sum_grad->unsqueeze(-1);
  return dx;
}

Pair cross_entropy(const Tensor &logits, const Tensor &targets) {
  return reference::cross_entropy(logits, targets, std::nullopt, 0);
}
Pair cross_entropy_(const Tensor &logits, const Tensor &targets, const Tensor &weights, double z_loss) {
  return reference::cross_entropy(logits, targets, weights, z_loss);
}

}  // namespace

void register_composites(torch::Library &library) {
  library.impl("product", TORCH_FN(product));
  library.impl("add_product_", TORCH_FN(add_product));
  library.impl("linear", TORCH_FN(linear));
  library.impl("linear_backward", TORCH_FN(linear_backward));
  library.impl("adamw_", TORCH_FN(adamw));
  library.impl("adamw_rounded_", TORCH_FN(adamw_rounded));
  library.impl("squared_sum", TORCH_FN(squared_sum));
  library.impl("add_rows_", TORCH_FN(add_rows));
  library.impl("router_scores", TORCH_FN(router_scores));
  library.impl("router_scores_backward", TORCH_FN(router_scores_backward));
  library.impl("route_top_k", TORCH_FN(reference::route_top_k));
  library.impl("expert_order", TORCH_FN(reference::expert_order));
  library.impl("cross_entropy", TORCH_FN(cross_entropy));
  library.impl("cross_entropy_", TORCH_FN(cross_entropy_));
}

}  // namespace xtuner::ascend
