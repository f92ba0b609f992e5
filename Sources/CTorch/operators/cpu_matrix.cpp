// CPU kernels around libtorch's matrix products: grouped linear layers and varlen attention.
#include <ATen/ATen.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <torch/library.h>

#include "operators.h"

namespace xtuner::cpu {
namespace {

using at::Tensor;

/// The end of every group on the host, checked to be rising and to end at the last row.
const int64_t *checked_ends(const Tensor &offsets, int64_t groups, int64_t rows, const char *what) {
  TORCH_CHECK(offsets.scalar_type() == at::kLong && offsets.is_contiguous() && offsets.numel() == groups, what,
              ": offsets must be ", groups, " contiguous int64, got ", offsets.scalar_type(), offsets.sizes());
  auto ends = offsets.const_data_ptr<int64_t>();
  for (int64_t g = 0, previous = 0; g < groups; previous = ends[g++])
    TORCH_CHECK(ends[g] >= previous, what, ": offsets fall from ", previous, " to ", ends[g], " at group ", g);
  TORCH_CHECK((groups == 0 ? 0 : ends[groups - 1]) == rows, what, ": offsets end at ",
              groups == 0 ? 0 : ends[groups - 1], ", not at the ", rows, " rows");
  return ends;
}

Tensor grouped_linear(const Tensor &x, const Tensor &weight, const Tensor &offsets) {
  TORCH_CHECK(x.dim() == 2 && weight.dim() == 3 && x.size(1) == weight.size(2), "grouped_linear: x ", x.sizes(),
              " with weight ", weight.sizes());
  auto ends = checked_ends(offsets, weight.size(0), x.size(0), "grouped_linear");
  auto y = at::empty({x.size(0), weight.size(1)}, x.options());
  for (int64_t e = 0, begin = 0; e < weight.size(0); begin = ends[e++]) {
    if (ends[e] == begin) continue;
    auto out = y.slice(0, begin, ends[e]);
    at::mm_out(out, x.slice(0, begin, ends[e]), weight[e].t());
  }
  return y;
}

std::tuple<Tensor, Tensor> grouped_linear_backward(const Tensor &grad, const Tensor &x, const Tensor &weight,
                                                   const Tensor &offsets) {
  auto ends = checked_ends(offsets, weight.size(0), x.size(0), "grouped_linear_backward");
  auto dx = at::empty_like(x);
  auto dw = at::empty_like(weight);
  for (int64_t e = 0, begin = 0; e < weight.size(0); begin = ends[e++]) {
    auto dwe = dw[e];
    if (ends[e] == begin) {
      dwe.zero_();
      continue;
    }
    auto g = grad.slice(0, begin, ends[e]), dxe = dx.slice(0, begin, ends[e]);
    at::mm_out(dxe, g, weight[e]);
    at::mm_out(dwe, g.t(), x.slice(0, begin, ends[e]));
  }
  return {dx, dw};
}

struct Samples {
  const int64_t *edges;
  int64_t count;
};

Samples checked_samples(const Tensor &bounds, int64_t tokens) {
  TORCH_CHECK(bounds.scalar_type() == at::kLong && bounds.is_contiguous() && bounds.numel() >= 1,
              "varlen_attention: bounds must be contiguous int64, got ", bounds.scalar_type(), bounds.sizes());
  Samples samples{bounds.const_data_ptr<int64_t>(), bounds.numel() - 1};
  TORCH_CHECK(samples.edges[0] == 0 && samples.edges[samples.count] == tokens,
              "varlen_attention: bounds must go from 0 to the ", tokens, " tokens, go from ", samples.edges[0], " to ",
              samples.edges[samples.count]);
  for (int64_t i = 0; i < samples.count; ++i)
    TORCH_CHECK(samples.edges[i] <= samples.edges[i + 1], "varlen_attention: bounds fall at ", i);
  return samples;
}

/// Tokens `begin ..< end` of [T, H, d] as the [1, H, n, d] that libtorch's attention takes; a view.
Tensor sample(const Tensor &x, int64_t begin, int64_t end) {
  return x.slice(0, begin, end).transpose(0, 1).unsqueeze(0);
}

std::tuple<Tensor, Tensor> varlen_attention(const Tensor &query, const Tensor &key, const Tensor &value,
                                            const Tensor &bounds, double scale, int64_t window,
                                            const std::optional<Tensor> &sinks) {
  int64_t tokens = query.size(0), heads = query.size(1);
  TORCH_CHECK(key.size(0) == tokens && value.size(0) == tokens && key.size(1) == value.size(1) &&
                  query.size(2) == key.size(2) && heads % key.size(1) == 0,
              "varlen_attention: query ", query.sizes(), ", key ", key.sizes(), ", value ", value.sizes());
  auto samples = checked_samples(bounds, tokens);
  TORCH_CHECK(flash_fits(query, value, window, sinks),
              "varlen_attention: the CPU kernel computes full attention with one head width and no sinks");
  auto out = at::empty({tokens, heads, value.size(2)}, query.options());
  auto logsumexp = at::empty({tokens, heads}, query.options().dtype(at::kFloat));
  for (int64_t i = 0; i < samples.count; ++i) {
    int64_t b = samples.edges[i], e = samples.edges[i + 1];
    if (b == e) continue;
    auto [o, l] = at::_scaled_dot_product_flash_attention_for_cpu(sample(query, b, e), sample(key, b, e),
                                                                  sample(value, b, e), 0.0, true, {}, scale);
    sample(out, b, e).copy_(o);
    logsumexp.slice(0, b, e).copy_(l[0].t());
  }
  return {out, logsumexp};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> varlen_attention_backward(
    const Tensor &grad, const Tensor &query, const Tensor &key, const Tensor &value, const Tensor &out,
    const Tensor &logsumexp, const Tensor &bounds, double scale, int64_t window, const std::optional<Tensor> &sinks) {
  auto samples = checked_samples(bounds, query.size(0));
  auto dq = at::empty_like(query, at::MemoryFormat::Contiguous), dk = at::empty_like(key, at::MemoryFormat::Contiguous),
       dv = at::empty_like(value, at::MemoryFormat::Contiguous);
  for (int64_t i = 0; i < samples.count; ++i) {
    int64_t b = samples.edges[i], e = samples.edges[i + 1];
    if (b == e) continue;
    auto lse = logsumexp.slice(0, b, e).t().unsqueeze(0);
    auto [gq, gk, gv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        sample(grad, b, e), sample(query, b, e), sample(key, b, e), sample(value, b, e), sample(out, b, e), lse, 0.0,
        true, {}, scale);
    sample(dq, b, e).copy_(gq);
    sample(dk, b, e).copy_(gk);
    sample(dv, b, e).copy_(gv);
  }
  return {dq, dk, dv, Tensor()};
}

}  // namespace
}  // namespace xtuner::cpu

TORCH_LIBRARY_IMPL(xtuner, CPU, m) {
  using namespace xtuner::cpu;
  m.impl("grouped_linear", grouped_linear);
  m.impl("grouped_linear_backward", grouped_linear_backward);
  m.impl("varlen_attention", varlen_attention);
  m.impl("varlen_attention_backward", varlen_attention_backward);
}
