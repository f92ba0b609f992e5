// Composite references: readable, differentiated by libtorch, used by tests and where no kernel fits.
#include <ATen/ATen.h>

#include <limits>

#include "operators.h"

namespace xtuner::reference {
namespace {

/// The dtype that sums are taken in: float32, or float64 for float64.
at::ScalarType wide_type(const at::Tensor &x) { return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat; }

}  // namespace

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

at::Tensor swiglu(const at::Tensor &gate_up) {
  auto halves = gate_up.to(wide_type(gate_up)).chunk(2, -1);
  return (at::silu(halves[0]) * halves[1]).to(gate_up.scalar_type());
}

at::Tensor varlen_attention(const at::Tensor &query, const at::Tensor &key, const at::Tensor &value,
                            const at::Tensor &bounds, double scale, int64_t window,
                            const std::optional<at::Tensor> &sinks) {
  int64_t heads = query.size(1), repeat = heads / key.size(1);
  auto host = bounds.cpu();
  auto edges = host.const_data_ptr<int64_t>();
  std::vector<at::Tensor> samples;
  for (int64_t i = 0; i + 1 < bounds.numel(); ++i) {
    int64_t n = edges[i + 1] - edges[i];
    auto take = [&](const at::Tensor &t) { return t.narrow(0, edges[i], n).transpose(0, 1).to(wide_type(t)); };
    auto q = take(query);                               // [H, n, d]
    auto k = take(key).repeat_interleave(repeat, 0);    // [H, n, d]
    auto v = take(value).repeat_interleave(repeat, 0);  // [H, n, dv]
    auto scores = at::matmul(q, k.transpose(1, 2)) * scale;
    auto distance = at::arange(n, bounds.options().device(query.device()));
    distance = distance.unsqueeze(1) - distance;
    auto hidden = distance < 0;
    if (window > 0) hidden = at::logical_or(hidden, distance >= window);
    scores = scores.masked_fill(hidden, -std::numeric_limits<float>::infinity());
    if (sinks)
      scores = at::cat({scores, sinks->to(scores.scalar_type()).view({heads, 1, 1}).expand({heads, n, 1})}, -1);
    auto weights = at::softmax(scores, -1).slice(-1, 0, n);
    samples.push_back(at::matmul(weights, v).transpose(0, 1));
  }
  if (samples.empty()) return at::empty({0, heads, value.size(2)}, query.options());
  return at::cat(samples, 0).to(query.scalar_type());
}

at::Tensor linear(const at::Tensor &x, const at::Tensor &weight, const std::optional<at::Tensor> &bias) {
  return at::linear(x, weight, bias);
}

at::Tensor grouped_linear(const at::Tensor &x, const at::Tensor &weight, const at::Tensor &offsets) {
  auto host = offsets.cpu();
  auto ends = host.const_data_ptr<int64_t>();
  std::vector<at::Tensor> groups;
  for (int64_t e = 0, begin = 0; e < weight.size(0); begin = ends[e++])
    groups.push_back(at::matmul(x.slice(0, begin, ends[e]), weight[e].t()));
  return at::cat(groups, 0);
}

at::Tensor permute_rows(const at::Tensor &x, const at::Tensor &token_of_row) { return x.index_select(0, token_of_row); }

at::Tensor unpermute_rows(const at::Tensor &rows, const at::Tensor &weights, const at::Tensor &row_of_slot) {
  auto slots = rows.index_select(0, row_of_slot.flatten())
                   .view({row_of_slot.size(0), row_of_slot.size(1), rows.size(1)})
                   .to(wide_type(rows));
  return (slots * weights.unsqueeze(-1)).sum(1).to(rows.scalar_type());
}

std::tuple<at::Tensor, at::Tensor> router_scores(const at::Tensor &logits) {
  return {at::softmax(logits, -1), at::logsumexp(logits, -1)};
}

at::Tensor route_top_k(const at::Tensor &scores, int64_t k) {
  auto order = std::get<1>(at::sort(scores, /*stable=*/true, -1, /*descending=*/true));
  return order.slice(-1, 0, k).contiguous();
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> expert_order(const at::Tensor &experts,
                                                                        int64_t expert_count) {
  auto flat = experts.flatten();
  auto order = at::argsort(flat, /*stable=*/true, 0, /*descending=*/false);
  auto row_of_slot = at::empty_like(order).scatter_(0, order, at::arange(order.numel(), order.options()));
  auto counts = at::bincount(flat, {}, expert_count);
  return {at::floor_divide(order, std::max<int64_t>(experts.size(1), 1)), row_of_slot.view(experts.sizes()), counts,
          counts.cumsum(0)};
}

std::tuple<at::Tensor, at::Tensor> cross_entropy(const at::Tensor &logits, const at::Tensor &targets,
                                                 const std::optional<at::Tensor> &weights, double z_loss) {
  auto wide = logits.to(wide_type(logits));
  auto index = targets.unsqueeze(1);
  // As log-softmax does it: positive infinity in a row gives NaN.
  auto largest = wide.amax(1, /*keepdim=*/true);
  auto shifted = wide - largest;
  auto rest = shifted.exp().sum(1, /*keepdim=*/true).log();
  auto sums = largest + rest;  // [C, 1]
  auto losses = (rest - shifted.gather(1, index)).squeeze(1);
  if (weights) {
    auto gradient = (shifted - rest).exp() * (sums * (2 * z_loss) + 1);
    gradient.scatter_add_(1, index, at::full_like(sums, -1));
    logits.copy_(gradient * weights->unsqueeze(1));
  }
  return {losses, sums.squeeze(1)};
}

}  // namespace xtuner::reference
