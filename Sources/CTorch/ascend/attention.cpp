// Attention inside samples on Ascend, by npu_fusion_attention with the layout TND.
#include <ATen/ATen.h>

#include "call.h"
#include "mapping.h"

namespace xtuner::ascend {
namespace {

using at::Tensor;

/// The side of the one mask that stands for masks of every length, as the operator's sparse modes have it.
constexpr int64_t mask_size = 2048;
/// npu_fusion_attention's sparse modes: causal from the lower right corner, and a band.
constexpr int64_t causal_mode = 3, band_mode = 4;
/// Copies of each number in softmax_max and softmax_sum.
constexpr int64_t softmax_copies = 8;

/// Ends of the samples that have tokens.
std::vector<int64_t> sample_ends(const Tensor &bounds) {
  auto host = bounds.cpu();
  auto edges = host.const_data_ptr<int64_t>();
  std::vector<int64_t> ends;
  for (int64_t i = 1; i < bounds.numel(); ++i)
    if (edges[i] > edges[i - 1]) ends.push_back(edges[i]);
  return ends;
}

/// Causal, and with a window the last `window` keys; the same for both directions.
Call &with_visibility(Call &call, const Tensor &query, const Tensor &bounds, int64_t window) {
  auto ends = sample_ends(bounds);
  // True is hidden. 4 MB, made anew: a step makes it in microseconds.
  auto mask = at::ones({mask_size, mask_size}, query.options().dtype(at::kBool)).triu(1);
  call.with("head_num", query.size(1)).with("input_layout", "TND").with("atten_mask", mask);
  call.with("actual_seq_qlen", ends).with("actual_seq_kvlen", ends);
  call.with("sparse_mode", window > 0 ? band_mode : causal_mode).with("next_tockens", 0);
  if (window > 0) call.with("pre_tockens", window - 1);
  return call;
}

/// What is kept for backward is one number a query and head, the log-sum-exp: maximum and sum enter the operator's
/// probabilities exp(score - maximum) / sum only together, so they may come back as (log-sum-exp, 1).
std::tuple<Tensor, Tensor> varlen_attention(const Tensor &query, const Tensor &key, const Tensor &value,
                                            const Tensor &bounds, double scale, int64_t window,
                                            const std::optional<Tensor> &sinks) {
  int64_t tokens = query.size(0), heads = query.size(1);
  if (tokens == 0)
    return {at::empty({0, heads, value.size(2)}, query.options()),
            at::empty({0, heads}, query.options().dtype(at::kFloat))};
  Call call("npu::npu_fusion_attention");
  call.with("query", query.contiguous()).with("key", key.contiguous()).with("value", value.contiguous());
  auto results = with_visibility(call, query, bounds, window).with("scale", scale).with("sink", sinks).run();
  auto largest = results[1].toTensor().select(-1, 0), sum = results[2].toTensor().select(-1, 0);
  return {results[0].toTensor(), largest + sum.log()};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> varlen_attention_backward(const Tensor &grad, const Tensor &query,
                                                                     const Tensor &key, const Tensor &value,
                                                                     const Tensor &out, const Tensor &logsumexp,
                                                                     const Tensor &bounds, double scale, int64_t window,
                                                                     const std::optional<Tensor> &sinks) {
  if (query.size(0) == 0)
    return {at::zeros_like(query), at::zeros_like(key), at::zeros_like(value),
            sinks ? at::zeros_like(*sinks) : Tensor()};
  auto largest = logsumexp.unsqueeze(-1).expand({-1, -1, softmax_copies}).contiguous();
  Call call("npu::npu_fusion_attention_grad");
  call.with("query", query.contiguous()).with("key", key.contiguous()).with("value", value.contiguous());
  call.with("dy", grad.contiguous()).with("attention_in", out);
  call.with("softmax_max", largest).with("softmax_sum", at::ones_like(largest));
  auto results = with_visibility(call, query, bounds, window).with("scale_value", scale).with("sink", sinks).run();
  auto dsinks = sinks ? results[4].toTensor() : Tensor();
  return {results[0].toTensor(), results[1].toTensor(), results[2].toTensor(), dsinks};
}

}  // namespace

void register_attention(torch::Library &library) {
  library.impl("varlen_attention", TORCH_FN(varlen_attention));
  library.impl("varlen_attention_backward", TORCH_FN(varlen_attention_backward));
}

}  // namespace xtuner::ascend
