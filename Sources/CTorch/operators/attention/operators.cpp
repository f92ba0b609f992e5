// Schemas, gradient formulas and composite references of attention.
#include "operators.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/logical_or.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <torch/library.h>

#include <limits>
#include <vector>

#include "../dispatch.h"
#include "../formula.h"
#include "../wide_type.h"

TORCH_LIBRARY_FRAGMENT(xtuner, m) {
  m.def(
      "varlen_attention(Tensor query, Tensor key, Tensor value, Tensor bounds, float scale, int window, "
      "Tensor? sinks) -> (Tensor, Tensor)");
  m.def(
      "varlen_attention_backward(Tensor grad, Tensor query, Tensor key, Tensor value, Tensor out, "
      "Tensor logsumexp, Tensor bounds, float scale, int window, Tensor? sinks) -> (Tensor, Tensor, Tensor, Tensor)");
}

namespace xtuner {

using at::Tensor;
using Pair = std::tuple<Tensor, Tensor>;

Tensor varlen_attention(const Tensor &query, const Tensor &key, const Tensor &value, const Tensor &bounds, double scale,
                        int64_t window, const std::optional<Tensor> &sinks) {
  using Forward = Pair(const Tensor &, const Tensor &, const Tensor &, const Tensor &, double, int64_t,
                       const std::optional<Tensor> &);
  using Backward = std::tuple<Tensor, Tensor, Tensor, Tensor>(
      const Tensor &, const Tensor &, const Tensor &, const Tensor &, const Tensor &, const Tensor &, const Tensor &,
      double, int64_t, const std::optional<Tensor> &);
  auto forward = [&](const Record &record) -> Tensors {
    auto [out, logsumexp] = call<Forward>("xtuner::varlen_attention", query, key, value, bounds, scale, window, sinks);
    record.keep({query, key, value, out, logsumexp, bounds, sinks.value_or(Tensor())});
    return {out};
  };
  auto backward = [scale, window](const Record &record, const Tensors &grads) -> Tensors {
    auto s = record.kept();
    auto sinks = s[6].defined() ? std::optional<Tensor>(s[6]) : std::nullopt;
    auto [dq, dk, dv, ds] = call<Backward>("xtuner::varlen_attention_backward", grads[0].contiguous(), s[0], s[1], s[2],
                                           s[3], s[4], s[5], scale, window, sinks);
    return {dq, dk, dv, Tensor(), ds};
  };
  return differentiable({query, key, value, bounds, sinks.value_or(Tensor())}, forward, backward)[0];
}

}  // namespace xtuner

// ---- Composite references

namespace xtuner::reference {

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

}  // namespace xtuner::reference
