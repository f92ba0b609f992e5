// Operators of libtorch that only its CUDA library has, for the emulated plug-in: the same conditions and results.
#include <ATen/ATen.h>
#include <torch/library.h>

#include <limits>

namespace emulated {

/// Calls of cuDNN's attention, for checks that a choice is made.
int64_t cudnn_calls = 0;

}  // namespace emulated

namespace {

using at::Tensor;

struct Samples {
  std::vector<int64_t> edges;

  Samples(const Tensor &ends, int64_t tokens) {
    TORCH_CHECK(ends.scalar_type() == at::kInt && ends.is_contiguous(), "ends must be contiguous int32");
    for (int64_t i = 0; i < ends.numel(); ++i) edges.push_back(ends.const_data_ptr<int32_t>()[i]);
    TORCH_CHECK(edges.front() == 0 && edges.back() == tokens, "ends must go from 0 to the tokens");
  }
};

void check_flash(const Tensor &query, const Tensor &key, const Tensor &value) {
  for (const auto &x : {query, key, value})
    TORCH_CHECK((x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf) && x.dim() == 3 &&
                    x.stride(2) == 1 && x.size(2) == query.size(2) && x.size(2) % 8 == 0 && x.size(2) <= 256,
                "flash attention: ", x.scalar_type(), x.sizes(), " with strides ", x.strides());
}

/// A sample's rows of [tokens, heads, width] as [heads, n, width] floats, key heads repeated.
Tensor heads_of(const Tensor &x, int64_t begin, int64_t end, int64_t heads) {
  return x.slice(0, begin, end).transpose(0, 1).to(at::kFloat).repeat_interleave(heads / x.size(1), 0);
}

Tensor scores_of(const Tensor &q, const Tensor &k, double scale, std::optional<int64_t> left) {
  auto n = q.size(1);
  auto distance = at::arange(n).unsqueeze(1) - at::arange(n);
  auto hidden = distance < 0;
  if (left && *left >= 0) hidden = at::logical_or(hidden, distance > *left);
  return (at::matmul(q, k.transpose(1, 2)) * scale).masked_fill(hidden, -std::numeric_limits<float>::infinity());
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> flash_forward(
    const Tensor &query, const Tensor &key, const Tensor &value, const std::optional<Tensor> &ends,
    const std::optional<Tensor> &key_ends, int64_t longest, int64_t longest_key, double dropout, bool is_causal,
    bool returns_mask, std::optional<double> scale, std::optional<int64_t> left, std::optional<int64_t> right,
    const std::optional<Tensor> &, const std::optional<Tensor> &) {
  check_flash(query, key, value);
  TORCH_CHECK(is_causal && dropout == 0 && !returns_mask && right.value_or(0) == 0, "causal, without dropout");
  int64_t tokens = query.size(0), heads = query.size(1);
  auto out = at::empty(query.sizes(), query.options()), sums = at::empty({heads, tokens}, at::kFloat);
  Samples samples(*ends, tokens);
  for (size_t i = 0; i + 1 < samples.edges.size(); ++i) {
    int64_t begin = samples.edges[i], end = samples.edges[i + 1];
    TORCH_CHECK(end - begin <= longest && end - begin <= longest_key, "a sample is longer than the longest");
    if (begin == end) continue;
    auto scores = scores_of(heads_of(query, begin, end, heads), heads_of(key, begin, end, heads), *scale, left);
    out.slice(0, begin, end)
        .copy_(at::matmul(at::softmax(scores, -1), heads_of(value, begin, end, heads)).transpose(0, 1));
    sums.slice(1, begin, end).copy_(at::logsumexp(scores, -1));
  }
  return {out, sums, at::empty({2}, at::kUInt64), at::empty({}, at::kUInt64), at::empty({0}, query.options())};
}

/// The gradients that follow from `sums` and `out`, whatever they hold: as the library's kernel computes them.
std::tuple<Tensor, Tensor, Tensor> flash_backward(const Tensor &grad, const Tensor &query, const Tensor &key,
                                                  const Tensor &value, const Tensor &out, const Tensor &sums,
                                                  const Tensor &ends, const Tensor &, int64_t, int64_t, double dropout,
                                                  bool is_causal, const Tensor &seed, const Tensor &,
                                                  std::optional<double> scale, std::optional<int64_t> left,
                                                  std::optional<int64_t>) {
  check_flash(query, key, value);
  check_flash(grad, out, value);
  TORCH_CHECK(is_causal && dropout == 0 && seed.numel() == 2, "causal, without dropout");
  int64_t tokens = query.size(0), heads = query.size(1), groups = key.size(1);
  TORCH_CHECK(sums.is_contiguous() && sums.sizes() == at::IntArrayRef({heads, tokens}), "sums are ", sums.sizes());
  auto dq = at::empty(query.sizes(), query.options()), dk = at::empty(key.sizes(), key.options()),
       dv = at::empty(value.sizes(), value.options());
  Samples samples(ends, tokens);
  for (size_t i = 0; i + 1 < samples.edges.size(); ++i) {
    int64_t begin = samples.edges[i], end = samples.edges[i + 1];
    if (begin == end) continue;
    auto part = [&](const Tensor &x) { return heads_of(x, begin, end, heads); };
    auto q = part(query), k = part(key), v = part(value), g = part(grad);
    auto p = (scores_of(q, k, *scale, left) - sums.slice(1, begin, end).unsqueeze(-1)).exp();
    auto mean = (g * part(out)).sum(-1, true);
    auto slopes = p * (at::matmul(g, v.transpose(1, 2)) - mean) * *scale;
    auto joined = [&](const Tensor &x) { return x.unflatten(0, {groups, heads / groups}).sum(1).transpose(0, 1); };
    dq.slice(0, begin, end).copy_(at::matmul(slopes, k).transpose(0, 1));
    dk.slice(0, begin, end).copy_(joined(at::matmul(slopes.transpose(1, 2), q)));
    dv.slice(0, begin, end).copy_(joined(at::matmul(p.transpose(1, 2), g)));
  }
  return {dq, dk, dv};
}

void check_cudnn(const Tensor &x) {
  TORCH_CHECK((x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf) && x.dim() == 4 && x.size(0) == 1 &&
                  x.stride(3) == 1 && x.size(3) % 8 == 0 && x.stride(1) % 8 == 0 && x.stride(2) % 8 == 0 &&
                  reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0,
              "cuDNN's attention: ", x.scalar_type(), x.sizes(), " with strides ", x.strides());
}

/// The [tokens, heads, width] of cuDNN's [1, heads, tokens, width], and the ends of their one sample.
Tensor rows_of_batch(const Tensor &x) { return x.squeeze(0).transpose(0, 1); }
Tensor as_batch(const Tensor &x) { return x.contiguous().unsqueeze(0).transpose(1, 2); }

std::tuple<Tensor, Tensor, Tensor, Tensor, c10::SymInt, c10::SymInt, Tensor, Tensor, Tensor> cudnn_forward(
    const Tensor &query, const Tensor &key, const Tensor &value, const std::optional<Tensor> &bias,
    const std::optional<Tensor> &ends, const std::optional<Tensor> &key_ends, int64_t longest, int64_t longest_key,
    bool computes_sums, double dropout, bool is_causal, bool returns_mask, std::optional<double> scale) {
  ++emulated::cudnn_calls;
  for (const auto &x : {query, key, value}) check_cudnn(x);
  TORCH_CHECK(!bias && !ends && !key_ends && computes_sums && dropout == 0 && is_causal && !returns_mask,
              "one causal sample, without bias and dropout");
  int64_t tokens = query.size(2), heads = query.size(1);
  TORCH_CHECK(longest == tokens && longest_key == tokens, "the longest sample is the pack");
  auto part = [&](const Tensor &x) { return heads_of(rows_of_batch(x), 0, tokens, heads); };
  auto scores = scores_of(part(query), part(key), *scale, std::nullopt);
  auto out = at::matmul(at::softmax(scores, -1), part(value)).transpose(0, 1).to(query.scalar_type());
  auto none = at::empty({}, at::kLong);
  return {as_batch(out),
          at::logsumexp(scores, -1).unsqueeze(0).unsqueeze(-1),
          {},
          {},
          longest,
          longest_key,
          none,
          none,
          {}};
}

/// Like flash_backward, in cuDNN's layout.
std::tuple<Tensor, Tensor, Tensor> cudnn_backward(const Tensor &grad, const Tensor &query, const Tensor &key,
                                                  const Tensor &value, const Tensor &out, const Tensor &sums,
                                                  const Tensor &, const Tensor &, const Tensor &bias,
                                                  const Tensor &ends, const Tensor &key_ends, int64_t, int64_t,
                                                  double dropout, bool is_causal, std::optional<double> scale) {
  ++emulated::cudnn_calls;
  for (const auto &x : {grad, query, key, value, out}) check_cudnn(x);
  TORCH_CHECK(!bias.defined() && !ends.defined() && !key_ends.defined() && dropout == 0 && is_causal,
              "one causal sample, without bias and dropout");
  int64_t tokens = query.size(2), heads = query.size(1), groups = key.size(1);
  TORCH_CHECK(sums.is_contiguous() && sums.sizes() == at::IntArrayRef({1, heads, tokens, 1}), "sums are ",
              sums.sizes());
  auto part = [&](const Tensor &x) { return heads_of(rows_of_batch(x), 0, tokens, heads); };
  auto q = part(query), k = part(key), v = part(value), g = part(grad);
  auto p = (scores_of(q, k, *scale, std::nullopt) - sums.squeeze(0)).exp();
  auto slopes = p * (at::matmul(g, v.transpose(1, 2)) - (g * part(out)).sum(-1, true)) * *scale;
  auto joined = [&](const Tensor &x, const Tensor &like) {
    auto sum = x.unflatten(0, {like.size(1), heads / like.size(1)}).sum(1);
    return as_batch(sum.transpose(0, 1).to(like.scalar_type()));
  };
  TORCH_CHECK(groups == value.size(1), "as many heads of keys as of values");
  return {joined(at::matmul(slopes, k), query), joined(at::matmul(slopes.transpose(1, 2), q), key),
          joined(at::matmul(p.transpose(1, 2), g), value)};
}

Tensor &addmm_dtype_out(const Tensor &self, const Tensor &a, const Tensor &b, at::ScalarType type,
                        const at::Scalar &beta, const at::Scalar &alpha, Tensor &out) {
  TORCH_CHECK(type == out.scalar_type() && type == self.scalar_type() && type == at::kFloat &&
                  a.scalar_type() == b.scalar_type(),
              "addmm: ", a.scalar_type(), " into ", out.scalar_type());
  auto sum = at::addmm(self, a.to(type), b.to(type), beta, alpha);
  return out.copy_(sum);
}

}  // namespace

TORCH_LIBRARY_IMPL(aten, CPU, m) {
  m.impl("_flash_attention_forward", flash_forward);
  m.impl("_flash_attention_backward", flash_backward);
  m.impl("_cudnn_attention_forward", cudnn_forward);
  m.impl("_cudnn_attention_backward", cudnn_backward);
  m.impl("addmm.dtype_out", addmm_dtype_out);
}
