// Attention, grouped products and the permutation of rows as torch_npu documents them.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/logical_or.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <limits>

#include "npu_operators.h"

namespace test_device {
namespace {

using at::Tensor;

/// The parts of an attention call that both directions read.
struct Attention {
  Tensor query, key, value;  // [T, N, d], float32
  int64_t heads, window;
  std::vector<int64_t> ends;
  std::optional<Tensor> sink;

  explicit Attention(const Arguments &a)
      : query(a.tensor("query").to(at::kFloat)),
        key(a.tensor("key").to(at::kFloat)),
        value(a.tensor("value").to(at::kFloat)),
        heads(a.value("head_num").toInt()),
        ends(a.value("actual_seq_qlen").toIntVector()),
        sink(a.optional("sink")) {
    TORCH_CHECK(a.value("input_layout").toStringView() == "TND" && heads == query.size(1), "npu_fusion_attention");
    TORCH_CHECK(a.value("actual_seq_kvlen").toIntVector() == ends && ends.back() == query.size(0), "sequence ends");
    TORCH_CHECK(a.value("keep_prob").toDouble() == 1 && a.value("next_tockens").toInt() == 0,
                "npu_fusion_attention: keep_prob must be 1 and next_tockens 0, are ", a.value("keep_prob"), " and ",
                a.value("next_tockens"));
    auto mode = a.value("sparse_mode").toInt();
    TORCH_CHECK(mode == 3 || mode == 4, "sparse_mode ", mode);
    window = mode == 4 ? a.value("pre_tockens").toInt() + 1 : 0;
    auto mask = a.tensor("atten_mask");
    TORCH_CHECK(mask.equal(at::ones({2048, 2048}, at::kBool).triu(1)), "modes 3 and 4 take the compressed mask");
  }

  Tensor part(const Tensor &x, size_t i) const {
    int64_t begin = i == 0 ? 0 : ends[i - 1];
    auto rows = x.slice(0, begin, ends[i]).transpose(0, 1);                                 // [n, L, d]
    return rows.size(0) == heads ? rows : rows.repeat_interleave(heads / rows.size(0), 0);  // [N, L, d]
  }
  Tensor scores(size_t i, double scale) const {
    auto products = at::matmul(part(query, i), part(key, i).transpose(1, 2)) * scale;
    int64_t length = products.size(1);
    auto distance = at::arange(length).unsqueeze(1) - at::arange(length);
    auto hidden = window > 0 ? at::logical_or(distance < 0, distance >= window) : distance < 0;
    return products.masked_fill(hidden, -std::numeric_limits<float>::infinity());
  }
};

/// The softmax's numbers are in the order NTD whatever the shape says, eight times each.
Tensor eightfold(const std::vector<Tensor> &parts, int64_t tokens, int64_t heads) {
  return at::cat(parts, 1).expand({heads, tokens, 8}).contiguous().view({tokens, heads, 8});
}

}  // namespace

Results fusion_attention(const Arguments &a) {
  Attention in(a);
  std::vector<Tensor> outs, largest, sums;
  for (size_t i = 0; i < in.ends.size(); ++i) {
    auto scores = in.scores(i, a.value("scale").toDouble());
    auto most = scores.amax(-1, /*keepdim=*/true);
    if (in.sink) most = at::maximum(most, in.sink->view({-1, 1, 1}));
    auto weights = (scores - most).exp();
    auto sum = weights.sum(-1, /*keepdim=*/true);
    if (in.sink) sum = sum + (in.sink->view({-1, 1, 1}) - most).exp();
    outs.push_back(at::matmul(weights / sum, in.part(in.value, i)).transpose(0, 1));
    largest.push_back(most);
    sums.push_back(sum);
  }
  auto dtype = a.tensor("query").scalar_type();
  int64_t tokens = in.query.size(0);
  return {at::cat(outs, 0).to(dtype),
          eightfold(largest, tokens, in.heads),
          eightfold(sums, tokens, in.heads),
          at::empty({0}, dtype),
          int64_t{0},
          int64_t{0},
          int64_t{0}};
}

Results fusion_attention_grad(const Arguments &a) {
  Attention in(a);
  int64_t tokens = in.query.size(0), begin = 0;
  auto dy = a.tensor("dy").to(at::kFloat), out = a.tensor("attention_in").to(at::kFloat);
  auto ordered = [&](const char *name) { return a.tensor(name).view({in.heads, tokens, 8}).slice(-1, 0, 1); };
  auto largest = ordered("softmax_max"), sums = ordered("softmax_sum");
  double scale = a.value("scale_value").toDouble();
  auto dq = at::zeros_like(in.query), dk = at::zeros_like(in.key), dv = at::zeros_like(in.value);
  auto dsink = in.sink ? at::zeros_like(*in.sink) : at::empty({0});
  auto folded = [&](const Tensor &x, int64_t heads) {  // [N, L, d] to [L, n, d]
    return x.view({heads, in.heads / heads, x.size(1), x.size(2)}).sum(1).transpose(0, 1);
  };
  for (size_t i = 0; i < in.ends.size(); begin = in.ends[i++]) {
    auto most = largest.slice(1, begin, in.ends[i]), sum = sums.slice(1, begin, in.ends[i]);
    auto weights = (in.scores(i, scale) - most).exp() / sum;
    auto grad = in.part(dy, i);
    auto mean = (grad * in.part(out, i)).sum(-1, /*keepdim=*/true);
    auto dscores = weights * (at::matmul(grad, in.part(in.value, i).transpose(1, 2)) - mean) * scale;
    dq.slice(0, begin, in.ends[i]).copy_(folded(at::matmul(dscores, in.part(in.key, i)), in.heads));
    dk.slice(0, begin, in.ends[i])
        .copy_(folded(at::matmul(dscores.transpose(1, 2), in.part(in.query, i)), in.key.size(1)));
    dv.slice(0, begin, in.ends[i]).copy_(folded(at::matmul(weights.transpose(1, 2), grad), in.value.size(1)));
    if (in.sink) dsink -= ((in.sink->view({-1, 1, 1}) - most).exp() / sum * mean).sum({1, 2});
  }
  auto dtype = a.tensor("query").scalar_type();
  return {dq.to(dtype), dk.to(dtype), dv.to(dtype), Tensor(), dsink};
}

Results grouped_matmul(const Arguments &a) {
  auto left = a.value("x").toTensorVector().at(0), right = a.value("weight").toTensorVector().at(0);
  auto list = a.tensor("group_list");
  TORCH_CHECK(a.value("split_item").toInt() == 3 && a.value("group_list_type").toInt() == 0, "npu_grouped_matmul");
  TORCH_CHECK(list.scalar_type() == at::kLong && list.dim() == 1, "group_list");
  auto ends = list.const_data_ptr<int64_t>();
  bool by_rows = a.value("group_type").toInt() == 0;
  TORCH_CHECK(by_rows ? right.dim() == 3 && right.size(0) == list.numel() : right.dim() == 2, "npu_grouped_matmul");
  std::vector<Tensor> results;
  for (int64_t e = 0, begin = 0; e < list.numel(); begin = ends[e++]) {
    if (by_rows)
      results.push_back(at::matmul(left.slice(0, begin, ends[e]), right[e]));
    else if (begin < ends[e])
      results.push_back(at::matmul(left.slice(1, begin, ends[e]), right.slice(0, begin, ends[e])));
    else  // The documentation does not say what a group without rows gives.
      results.push_back(at::full({left.size(0), right.size(1)}, std::nan(""), left.options()));
  }
  return {std::vector<Tensor>{by_rows ? at::cat(results, 0) : at::stack(results, 0)}};
}

namespace {
Tensor sorted_indices(const Arguments &a) {
  auto indices = a.tensor("sorted_indices");
  TORCH_CHECK(indices.dim() == 1 && indices.scalar_type() == at::kInt, "sorted_indices are int32");
  return indices;
}
}  // namespace

Results moe_token_permute_grad_v2(const Arguments &a) {
  auto grad = a.tensor("grad_permuted_tokens");
  auto rows = grad.to(at::kFloat).index_select(0, sorted_indices(a));
  auto sum = rows.view({a.value("tokens_size_0").toInt(), a.value("num_topK").toInt(), grad.size(1)}).sum(1);
  return {sum.to(a.value("tokens_dtype").toScalarType())};
}

Results moe_token_unpermute(const Arguments &a) {
  auto permuted = a.tensor("permuted_tokens"), probs = a.tensor("probs");
  auto rows = permuted.to(at::kFloat).index_select(0, sorted_indices(a));
  auto sum = (rows.view({probs.size(0), probs.size(1), -1}) * probs.unsqueeze(-1)).sum(1);
  return {sum.to(permuted.scalar_type())};
}

Results moe_token_unpermute_grad(const Arguments &a) {
  auto permuted = a.tensor("permuted_tokens"), probs = a.tensor("probs"), indices = sorted_indices(a);
  auto grad = a.tensor("grad_unpermuted_tokens").to(at::kFloat).unsqueeze(1);  // [T, 1, D]
  auto weighted = (grad * probs.unsqueeze(-1)).view({-1, permuted.size(1)});
  auto dpermuted = at::zeros_like(weighted).index_copy_(0, indices.to(at::kLong), weighted);
  auto rows = permuted.to(at::kFloat).index_select(0, indices).view({probs.size(0), probs.size(1), -1});
  return {dpermuted.to(permuted.scalar_type()), (rows * grad).sum(-1).to(probs.scalar_type())};
}

}  // namespace test_device
