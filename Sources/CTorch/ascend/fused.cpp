// Our operators by torch_npu's fused operators.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "call.h"
#include "mapping.h"

namespace xtuner::ascend {
namespace {

using at::Tensor;
using Pair = std::tuple<Tensor, Tensor>;

// ---- Norms, rotation and SwiGLU

/// npu_rms_norm wants the weight in the dtype of x, and returns 1 / root of the mean square in float32.
Pair rms_norm(const Tensor &x, const Tensor &weight, double epsilon) {
  if (x.numel() == 0) return {at::empty_like(x), at::empty({0}, x.options().dtype(at::kFloat))};
  auto results = Call("npu::npu_rms_norm")
                     .with("input", x.contiguous())
                     .with("gamma", weight.to(x.scalar_type()))
                     .with("epsilon", epsilon)
                     .run();
  return {results[0].toTensor(), results[1].toTensor()};
}

Pair rms_norm_backward(const Tensor &grad, const Tensor &x, const Tensor &weight, const Tensor &scale) {
  if (x.numel() == 0) return {at::empty_like(x), at::zeros_like(weight)};
  auto results = Call("npu::npu_rms_norm_backward")
                     .with("dy", grad.contiguous())
                     .with("input", x.contiguous())
                     .with("gamma", weight.to(x.scalar_type()))
                     .with("rstd", scale)
                     .run();
  // The gradient of the weight is float32.
  return {results[0].toTensor(), results[1].toTensor().to(weight.scalar_type())};
}

std::tuple<Tensor, Tensor, Tensor> add_rms_norm(const Tensor &x, const Tensor &residual, const Tensor &weight,
                                                double epsilon) {
  if (x.numel() == 0) return {at::empty_like(x), at::empty_like(x), at::empty({0}, x.options().dtype(at::kFloat))};
  auto results = Call("npu::npu_add_rms_norm")
                     .with("x1", x)
                     .with("x2", residual)
                     .with("gamma", weight.to(x.scalar_type()))
                     .with("epsilon", epsilon)
                     .run();
  return {results[2].toTensor(), results[0].toTensor(), results[1].toTensor()};
}

Pair add_rms_norm_backward(const Tensor &grad, const std::optional<Tensor> &sum_grad, const Tensor &sum,
                           const Tensor &weight, const Tensor &scale) {
  auto [dx, dw] = rms_norm_backward(grad, sum, weight, scale);
  return {sum_grad ? dx + *sum_grad : dx, dw};
}

/// npu_rotary_mul takes [1, T, H, d] with cosines and sines of the whole width in the dtype of x. Heads are turned
/// in float32, as everywhere: bfloat16 cosines would be off by 0.4 %.
Tensor rotary(const Tensor &x, const Tensor &cosine, const Tensor &sine, bool interleaved, bool inverse) {
  if (x.numel() == 0) return at::empty_like(x, at::MemoryFormat::Contiguous);
  auto whole = [&](const Tensor &half) {
    auto wide = interleaved ? half.repeat_interleave(2, -1) : at::cat({half, half}, -1);
    return wide.to(at::kFloat).view({1, x.size(0), 1, x.size(2)});
  };
  auto turned = Call("npu::npu_rotary_mul")
                    .with("input", x.to(at::kFloat).contiguous().unsqueeze(0))
                    .with("r1", whole(cosine))
                    .with("r2", whole(inverse ? sine.neg() : sine))
                    .with("rotary_mode", interleaved ? "interleave" : "half")
                    .tensor();
  return turned.squeeze(0).to(x.scalar_type());
}

Pair norm_rotary(const Tensor &x, const Tensor &weight, double epsilon, const Tensor &cosine, const Tensor &sine,
                 bool interleaved) {
  auto [y, scale] = rms_norm(x, weight, epsilon);
  return {rotary(y, cosine, sine, interleaved, false), scale};
}

Pair norm_rotary_backward(const Tensor &grad, const Tensor &x, const Tensor &weight, const Tensor &scale,
                          const Tensor &cosine, const Tensor &sine, bool interleaved) {
  return rms_norm_backward(rotary(grad, cosine, sine, interleaved, true), x, weight, scale);
}

/// The gate is the first half for both.
Tensor swiglu(const Tensor &gate_up) {
  if (gate_up.numel() == 0) return at::empty({gate_up.size(0), gate_up.size(1) / 2}, gate_up.options());
  return Call("npu::npu_swiglu").with("input", gate_up.contiguous()).tensor();
}

Tensor swiglu_backward(const Tensor &grad, const Tensor &gate_up) {
  if (gate_up.numel() == 0) return at::empty_like(gate_up);
  return Call("npu::npu_swiglu_backward")
      .with("grad_output", grad.contiguous())
      .with("input", gate_up.contiguous())
      .tensor();
}

// ---- Attention inside samples, by npu_fusion_attention with the layout TND

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

// ---- Grouped products, and the way of rows to experts and back

/// npu_grouped_matmul's groups: parts of the left operand's rows, or of the dim that is summed over.
constexpr int64_t groups_of_rows = 0, groups_of_inner_dim = 2;
/// One result for all groups.
constexpr int64_t one_result = 3;

Tensor grouped_product(const Tensor &left, const Tensor &right, const Tensor &offsets, int64_t groups) {
  return Call("npu::npu_grouped_matmul")
      .with("x", std::vector<Tensor>{left})
      .with("weight", std::vector<Tensor>{right})
      .with("group_list", offsets.to(left.device()))
      .with("split_item", one_result)
      .with("group_type", groups)
      .run()
      .at(0)
      .toTensorVector()
      .at(0);
}

Tensor grouped_linear(const Tensor &x, const Tensor &weight, const Tensor &offsets) {
  if (x.size(0) == 0) return at::empty({0, weight.size(1)}, x.options());
  return grouped_product(x.contiguous(), weight.transpose(1, 2), offsets, groups_of_rows);
}

/// The library has no backward: it is the same product with the other operands.
std::tuple<Tensor, Tensor> grouped_linear_backward(const Tensor &grad, const Tensor &x, const Tensor &weight,
                                                   const Tensor &offsets) {
  if (x.size(0) == 0) return {at::empty_like(x), at::zeros_like(weight)};
  auto dx = grouped_product(grad.contiguous(), weight, offsets, groups_of_rows);
  auto dw = grouped_product(grad.t(), x.contiguous(), offsets, groups_of_inner_dim);
  // An expert without rows sums nothing; nothing says that the kernel writes its zeros.
  auto ends = offsets.to(x.device());
  auto begins = at::cat({at::zeros({1}, ends.options()), ends.slice(0, 0, -1)});
  dw = dw.masked_fill((ends == begins).view({-1, 1, 1}), 0);
  return {dx, dw};
}

Tensor indices_of(const Tensor &row_of_slot) { return row_of_slot.flatten().to(at::kInt); }

/// The order is known, so npu_moe_token_permute, which would sort the experts again, is not needed.
Tensor permute_rows(const Tensor &x, const Tensor &token_of_row) { return x.index_select(0, token_of_row); }

Tensor sum_rows(const Tensor &rows, const Tensor &row_of_slot) {
  int64_t tokens = row_of_slot.size(0);
  if (tokens == 0) return at::empty({0, rows.size(1)}, rows.options());
  return Call("npu::npu_moe_token_permute_grad_v2")
      .with("grad_permuted_tokens", rows.contiguous())
      .with("sorted_indices", indices_of(row_of_slot))
      .with("tokens_size_0", tokens)
      .with("tokens_dtype", rows.scalar_type())
      .with("num_topK", row_of_slot.size(1))
      .tensor();
}

Tensor unpermute_rows(const Tensor &rows, const Tensor &weights, const Tensor &row_of_slot) {
  if (row_of_slot.size(0) == 0) return at::empty({0, rows.size(1)}, rows.options());
  return Call("npu::npu_moe_token_unpermute")
      .with("permuted_tokens", rows.contiguous())
      .with("sorted_indices", indices_of(row_of_slot))
      .with("probs", weights)
      .tensor();
}

std::tuple<Tensor, Tensor> unpermute_rows_backward(const Tensor &grad, const Tensor &rows, const Tensor &weights,
                                                   const Tensor &row_of_slot) {
  if (row_of_slot.size(0) == 0) return {at::empty_like(rows), at::empty_like(weights)};
  auto results = Call("npu::npu_moe_token_unpermute_grad")
                     .with("permuted_tokens", rows.contiguous())
                     .with("grad_unpermuted_tokens", grad.contiguous())
                     .with("sorted_indices", indices_of(row_of_slot))
                     .with("probs", weights)
                     .run();
  return {results[0].toTensor(), results[1].toTensor()};
}

}  // namespace

void register_fused(torch::Library &library) {
  library.impl("rms_norm", TORCH_FN(rms_norm));
  library.impl("rms_norm_backward", TORCH_FN(rms_norm_backward));
  library.impl("add_rms_norm", TORCH_FN(add_rms_norm));
  library.impl("add_rms_norm_backward", TORCH_FN(add_rms_norm_backward));
  library.impl("norm_rotary", TORCH_FN(norm_rotary));
  library.impl("norm_rotary_backward", TORCH_FN(norm_rotary_backward));
  library.impl("rotary", TORCH_FN(rotary));
  library.impl("swiglu", TORCH_FN(swiglu));
  library.impl("swiglu_backward", TORCH_FN(swiglu_backward));
  library.impl("varlen_attention", TORCH_FN(varlen_attention));
  library.impl("varlen_attention_backward", TORCH_FN(varlen_attention_backward));
  library.impl("grouped_linear", TORCH_FN(grouped_linear));
  library.impl("grouped_linear_backward", TORCH_FN(grouped_linear_backward));
  library.impl("permute_rows", TORCH_FN(permute_rows));
  library.impl("sum_rows", TORCH_FN(sum_rows));
  library.impl("unpermute_rows", TORCH_FN(unpermute_rows));
  library.impl("unpermute_rows_backward", TORCH_FN(unpermute_rows_backward));
}

}  // namespace xtuner::ascend
