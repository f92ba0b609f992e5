// Attention over samples of a pack: FlashAttention-2 of libtorch where it fits, else plain attention in float32. For a
// pack of one sample cuDNN's attention where that is faster, see choice.h.
//
// Sinks are no part of either: e^sink is added to the sums whose logarithms it returns, and the output is scaled
// accordingly. Their backward then gives the exact gradients of query, key and value, since they take probabilities from
// these sums, and the product of output and gradient from the output.
#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/tensor.h>

#include "../../../CTorch/operators/attention/arguments.h"
#include "../arguments.h"
#include "choice.h"

namespace xtuner::cuda_operators {
namespace {

/// Where samples start and end. They come on the host, where the longest can be seen without waiting.
struct Bounds {
  int64_t longest;
  Tensor edges;  // int64, on the device

  Bounds(const Tensor &host, const Tensor &query)
      : longest(checked_samples(host, query.size(0)).longest()),
        edges(host.to(query.device(), /*non_blocking=*/true)) {}
};

void check_heads(const Tensor &query, const Tensor &key, const Tensor &value, const std::optional<Tensor> &sinks) {
  check_attention_heads(query, key, value, sinks);
  check_devices("varlen_attention", query, key, value, sinks);
  check_row_count(query.size(0) * query.size(1), "varlen_attention");
}

/// FlashAttention has one width for all heads, of at most 256 elements in multiples of 8; values may be narrower, and
/// are then padded.
bool flash_fits(const Tensor &query, const Tensor &value, double scale) {
  int64_t width = query.size(2);
  return (query.scalar_type() == at::kBFloat16 || query.scalar_type() == at::kHalf) && scale > 0 && width % 8 == 0 &&
         width > 0 && width <= 256 && value.size(2) <= width;
}

/// What is the same for the library's forward and backward.
struct Flash {
  Tensor ends;  // int32
  int64_t longest;
  int64_t width;  // of query and key
  std::optional<c10::SymInt> left, right;

  /// One sample of `tokens`.
  Flash(const Tensor &query, int64_t tokens)
      : ends(at::tensor({int32_t(0), int32_t(tokens)}, at::kInt).to(query.device())),
        longest(tokens),
        width(query.size(2)) {}
  Flash(const Tensor &query, const Bounds &bounds, int64_t window)
      : ends(at::empty({bounds.edges.numel()}, bounds.edges.options().dtype(at::kInt))),
        longest(bounds.longest),
        width(query.size(2)) {
    OnDevice stream(query);
    cuda::narrow_offsets(bounds.edges.const_data_ptr<int64_t>(), ends.mutable_data_ptr<int32_t>(), ends.numel(),
                         stream);
    if (window > 0) left = window - 1, right = 0;
  }
  /// Heads as wide as the query's, with dense elements.
  Tensor padded(const Tensor &x) const {
    if (x.size(2) < width) return at::constant_pad_nd(x, {0, width - x.size(2)});
    return x.stride(2) == 1 ? x : x.contiguous();
  }
};

cuda::HeadRows rows_of(const Tensor &x) { return {const_cast<void *>(x.const_data_ptr()), x.stride(0), x.stride(1)}; }
Tensor with_dense_heads(const Tensor &x) { return x.stride(2) == 1 || x.size(2) == 1 ? x : x.contiguous(); }

cuda::Attention shape_of(const Tensor &query, const Tensor &key, const Tensor &value, const Bounds &bounds,
                         double scale, int64_t window) {
  int64_t widest = std::max(query.size(2), value.size(2));
  TORCH_CHECK(widest <= cuda::kWidestHead, "varlen_attention: heads of ", widest, " elements; CUDA takes up to ",
              cuda::kWidestHead);
  return {query.size(0),
          query.size(1),
          key.size(1),
          query.size(2),
          value.size(2),
          window,
          bounds.edges.const_data_ptr<int64_t>(),
          bounds.edges.numel() - 1,
          float(scale)};
}

std::optional<Tensor> as_floats(const std::optional<Tensor> &sinks) {
  return sinks ? std::optional<Tensor>(sinks->to(at::kFloat).contiguous()) : std::nullopt;
}

/// FlashAttention's pass, or cuDNN's of one sample where that is faster. Passes take the first tokens of the pack.
template <typename ByFlash>
Results by_faster(const char *what, const Tensor &query, const Tensor &key, const Tensor &value, const Bounds &edges,
                  int64_t window, ByFlash &&by_flash, const Pass &by_cudnn) {
  int64_t tokens = query.size(0);
  if (!cudnn_fits(query, value, edges.longest, window)) return by_flash(Flash(query, edges, window), tokens);
  auto flash = [&](int64_t count) {
    return by_flash(count < tokens ? Flash(query, count) : Flash(query, edges, 0), count);
  };
  return run_faster(what, query, key, value, flash, by_cudnn);
}

/// Logarithms of sums are [heads, tokens] in memory, as the library has them, and [tokens, heads] by their strides.
std::tuple<Tensor, Tensor> varlen_attention(const Tensor &query, const Tensor &key, const Tensor &value,
                                            const Tensor &bounds, double scale, int64_t window,
                                            const std::optional<Tensor> &sinks) {
  check_heads(query, key, value, sinks);
  int64_t tokens = query.size(0), heads = query.size(1), width = value.size(2);
  auto element = element_of(query, "varlen_attention");
  if (tokens == 0 || width == 0)
    return {at::empty({tokens, heads, width}, query.options()), floats(query, {heads, tokens}).t()};
  OnDevice stream(query);
  Bounds edges(bounds, query);
  auto extra = as_floats(sinks);
  if (!flash_fits(query, value, scale)) {
    auto q = with_dense_heads(query), k = with_dense_heads(key), v = with_dense_heads(value);
    auto out = at::empty({tokens, heads, width}, query.options()), sums = floats(query, {heads, tokens});
    cuda::plain_attention(element, shape_of(q, k, v, edges, scale, window), rows_of(q), rows_of(k), rows_of(v),
                          rows_of(out), float_pointer(extra), sums.mutable_data_ptr<float>(), stream);
    return {out, sums.t()};
  }
  auto by_flash = [&](const Flash &flash, int64_t count) {
    auto first = [&](const Tensor &x) { return flash.padded(x.narrow(0, 0, count)); };
    auto [wide, sums, seed, unused, mask] = at::_flash_attention_forward_symint(
        first(query), first(key), first(value), flash.ends, flash.ends, flash.longest, flash.longest, 0.0,
        /*is_causal=*/true, /*return_debug_mask=*/false, scale, flash.left, flash.right);
    return Results{width < flash.width ? wide.narrow(2, 0, width).contiguous() : wide.contiguous(), sums};
  };
  auto results = by_faster("varlen_attention", query, key, value, edges, window, by_flash, [&](int64_t count) {
    auto first = [&](const Tensor &x) { return x.narrow(0, 0, count); };
    return cudnn_forward(first(query), first(key), first(value), scale);
  });
  auto out = results[0], sums = results[1];
  if (extra)
    cuda::fold_sinks(element, extra->const_data_ptr<float>(), sums.mutable_data_ptr<float>(), out.mutable_data_ptr(),
                     tokens, heads, width, stream);
  return {out, sums.t()};
}

/// The sinks' gradient: - the sum over tokens of e^(sink - sum) times the product of output and gradient.
Tensor sink_gradient(Element element, const Tensor &grad, const Tensor &out, const Tensor &sinks, const Tensor &extra,
                     const Tensor &sums, cudaStream_t stream) {
  int64_t tokens = out.size(0), heads = out.size(1);
  int64_t blocks = (tokens + cuda::kSinkTokens - 1) / cuda::kSinkTokens;
  auto partial = floats(out, {blocks, heads}), dsinks = floats(out, {heads});
  cuda::sink_gradients(element, rows_of(grad), rows_of(out), extra.const_data_ptr<float>(),
                       sums.const_data_ptr<float>(), partial.mutable_data_ptr<float>(), tokens, heads, out.size(2),
                       stream);
  cuda::sum_columns(Element::float32, partial.const_data_ptr<float>(), dsinks.mutable_data_ptr(), blocks, heads,
                    stream);
  return dsinks.to(sinks.scalar_type());
}

std::tuple<Tensor, Tensor, Tensor, Tensor> varlen_attention_backward(const Tensor &grad, const Tensor &query,
                                                                     const Tensor &key, const Tensor &value,
                                                                     const Tensor &out, const Tensor &logsumexp,
                                                                     const Tensor &bounds, double scale, int64_t window,
                                                                     const std::optional<Tensor> &sinks) {
  check_heads(query, key, value, sinks);
  check_devices("varlen_attention_backward", query, grad, out, logsumexp);
  int64_t tokens = query.size(0), heads = query.size(1), width = value.size(2);
  auto element = element_of(query, "varlen_attention_backward");
  auto dense = [](const Tensor &x) { return at::empty(x.sizes(), x.options()); };
  OnDevice stream(query);
  Bounds edges(bounds, query);
  auto g = grad.contiguous(), y = out.contiguous(), sums = logsumexp.t().contiguous();
  auto extra = as_floats(sinks);
  Tensor dsinks;
  if (sinks) dsinks = sink_gradient(element, g, y, *sinks, *extra, sums, stream);
  if (tokens == 0 || width == 0) {
    auto zeros = [](const Tensor &x) { return at::empty(x.sizes(), x.options()).zero_(); };
    return {zeros(query), zeros(key), zeros(value), dsinks};
  }
  if (!flash_fits(query, value, scale)) {
    auto q = with_dense_heads(query), k = with_dense_heads(key), v = with_dense_heads(value);
    auto dq = dense(q), dk = dense(k), dv = dense(v), means = floats(q, {tokens, heads});
    cuda::plain_attention_backward(element, shape_of(q, k, v, edges, scale, window), rows_of(g), rows_of(q), rows_of(k),
                                   rows_of(v), rows_of(y), sums.const_data_ptr<float>(), rows_of(dq), rows_of(dk),
                                   rows_of(dv), means.mutable_data_ptr<float>(), stream);
    return {dq, dk, dv, dsinks};
  }
  auto by_flash = [&](const Flash &flash, int64_t count) {
    auto first = [&](const Tensor &x) { return flash.padded(x.narrow(0, 0, count)); };
    // Without dropout there are no random numbers to draw again.
    auto none = at::empty({2}, query.options().dtype(at::kUInt64));
    auto [dq, dk, dv] = at::_flash_attention_backward_symint(
        first(g), first(query), first(key), first(value), first(y), sums.narrow(1, 0, count).contiguous(), flash.ends,
        flash.ends, flash.longest, flash.longest, 0.0, /*is_causal=*/true, none, none, scale, flash.left, flash.right);
    return Results{dq, dk, width < flash.width ? dv.narrow(2, 0, width).contiguous() : dv};
  };
  auto results = by_faster("varlen_attention_backward", query, key, value, edges, window, by_flash, [&](int64_t count) {
    auto first = [&](const Tensor &x) { return x.narrow(0, 0, count); };
    return cudnn_backward(first(g), first(query), first(key), first(value), first(y), sums.narrow(1, 0, count), scale);
  });
  return {results[0], results[1], results[2], dsinks};
}

}  // namespace
}  // namespace xtuner::cuda_operators

TORCH_LIBRARY_IMPL(xtuner, XTUNER_DEVICE_KEY, m) {
  using namespace xtuner::cuda_operators;
  m.impl("varlen_attention", varlen_attention);
  m.impl("varlen_attention_backward", varlen_attention_backward);
}
