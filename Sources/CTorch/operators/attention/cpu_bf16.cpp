// Varlen attention in bfloat16 products, forward and backward: what runs where, in which order.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <atomic>
#include <thread>
#include <vector>

#include "../parallel.h"
#include "cpu.h"
#include "tiles_bf16.h"

#if defined(XTUNER_HAS_BF16_KERNELS)
XTUNER_BF16_BEGIN
namespace xtuner::cpu {
namespace {
/// One sample and key head. A query sees `window` tokens, itself the last of them; `repeat` query heads share the key.
struct AttentionGroup {
  int64_t length, width, value_width, window, repeat;
  float scale;

  int64_t pairs() const { return (width + 1) / 2; }
  int64_t value_pairs() const { return (value_width + 1) / 2; }
  int64_t columns() const { return (width + 15) / 16 * 16; }
  int64_t value_columns() const { return (value_width + 15) / 16 * 16; }
  float binary_scale() const { return scale * 1.44269504f; }

  /// Whether one of four queries does not see all 64 keys.
  bool is_edge(int64_t query, int64_t key) const { return key + 63 > query || key <= query + 3 - window; }
  /// Which of sixteen keys a query sees.
  __mmask16 seen(int64_t query, int64_t key) const { return lanes(query - window + 1 - key, query + 1 - key); }
};

#include "kernels_bf16_backward.h"
#include "kernels_bf16_forward.h"

/// The mean of a query's probabilities' gradient, weighted with them, is the product of output and gradient.
inline float mean_of(const c10::BFloat16 *grad, const c10::BFloat16 *out, int64_t width) {
  auto sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < width; i += 16) {
    auto wide = [&](const c10::BFloat16 *x) {
      auto bits = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes(0, width - i), x + i));
      return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
    };
    sum = _mm512_fmadd_ps(wide(grad), wide(out), sum);
  }
  return _mm512_reduce_add_ps(sum);
}
}  // namespace
}  // namespace xtuner::cpu
XTUNER_BF16_END

namespace xtuner::cpu {
namespace {

using at::BFloat16;
using at::Tensor;

/// A block of a sample's queries or keys, for one key head.
struct Item {
  int64_t sample, group, first, cost;
};

/// The blocks of all samples, expensive ones first; `cost(length, first)` does not increase where blocks wait.
template <typename Cost>
std::vector<Item> blocks_of(const Samples &samples, int64_t groups, int64_t block, Cost &&cost) {
  std::vector<Item> items;
  for (int64_t i = 0; i < samples.count; ++i)
    for (int64_t first = 0; first < samples.length(i); first += block)
      for (int64_t g = 0; g < groups; ++g) items.push_back({i, g, first, cost(samples.length(i), first)});
  std::stable_sort(items.begin(), items.end(), [](const Item &a, const Item &b) { return a.cost > b.cost; });
  return items;
}

AttentionGroup group_of(const Tensor &query, const Tensor &key, const Tensor &value, double scale) {
  return {0, query.size(2), value.size(2), 0, query.size(1) / key.size(1), float(scale)};
}

/// The group's shape for a sample of `length` tokens; no window is one of the whole sample.
AttentionGroup of_length(AttentionGroup g, int64_t length, int64_t window) {
  g.length = length;
  g.window = window > 0 ? std::min(window, length) : length;
  return g;
}

}  // namespace

std::tuple<Tensor, Tensor> bf16_attention(const Tensor &query, const Tensor &key, const Tensor &value,
                                          const Samples &samples, double scale, int64_t window,
                                          const std::optional<Tensor> &sinks) {
  auto q = with_dense_heads(query), k = with_dense_heads(key), v = with_dense_heads(value);
  int64_t heads = q.size(1), repeat = heads / k.size(1);
  auto out = at::empty({q.size(0), heads, v.size(2)}, q.options());
  auto logsumexp = at::empty({q.size(0), heads}, q.options().dtype(at::kFloat));
  auto extra = sinks ? sinks->to(at::kFloat).contiguous() : Tensor();
  auto group = group_of(q, k, v, scale);
  // 256 rows of queries pay for the packing of the keys that they see.
  int64_t block = std::max<int64_t>(256 / repeat / 16, 1) * 16;
  auto items = blocks_of(samples, k.size(1), block, [&](int64_t length, int64_t first) {
    int64_t last = std::min(first + block, length);
    return (last - first) * (window > 0 ? std::min(window, last) : last);
  });
  parallel_items(
      int64_t(items.size()), at::get_num_threads(), [&] { return ForwardMemory(group, block); },
      [&](int64_t i, const ForwardMemory &memory) {
        auto item = items[i];
        int64_t token = samples.edges[item.sample], length = samples.length(item.sample), h = item.group * repeat;
        auto l = logsumexp.mutable_data_ptr<float>() + token * heads + h;
        ForwardTensors tensors{head<const BFloat16>(q, token, h),
                               head<const BFloat16>(k, token, item.group),
                               head<const BFloat16>(v, token, item.group),
                               head<BFloat16>(out, token, h),
                               {l, heads},
                               q.stride(1),
                               out.stride(1),
                               sinks ? extra.const_data_ptr<float>() + h : nullptr};
        attention_block(of_length(group, length, window), tensors, memory, item.first,
                        std::min(block, length - item.first));
      });
  return {out, logsumexp};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> bf16_attention_backward(const Tensor &grad, const Tensor &query,
                                                                   const Tensor &key, const Tensor &value,
                                                                   const Tensor &out, const Tensor &logsumexp,
                                                                   const Samples &samples, double scale, int64_t window,
                                                                   const std::optional<Tensor> &sinks) {
  auto q = with_dense_heads(query), k = with_dense_heads(key), v = with_dense_heads(value);
  auto y = with_dense_heads(out), dy = with_dense_heads(grad);
  int64_t tokens = q.size(0), heads = q.size(1), groups = k.size(1), repeat = heads / groups;
  auto dq = at::empty(q.sizes(), q.options()), dk = at::empty(k.sizes(), k.options()),
       dv = at::empty(v.sizes(), v.options());
  auto group = group_of(q, k, v, scale);
  auto means = at::empty({tokens, heads}, logsumexp.options());
  auto mean = means.mutable_data_ptr<float>();
  auto lse = logsumexp.const_data_ptr<float>();
  parallel_for(tokens, 64, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t h = 0; h < heads; ++h)
        mean[t * heads + h] =
            mean_of(head<const BFloat16>(dy, t, h).data, head<const BFloat16>(y, t, h).data, v.size(2));
  });

  // Only samples of several blocks of keys sum gradients of queries in memory that threads share.
  std::vector<int64_t> sums_at(samples.count, -1), turns_at(samples.count);
  int64_t sums = 0, turns = 0;
  for (int64_t i = 0; i < samples.count; ++i) {
    int64_t length = samples.length(i);
    turns_at[i] = turns;
    turns += heads * ((length + kQueryTile - 1) / kQueryTile);
    if (length <= kBlock) continue;
    sums_at[i] = sums;
    sums += heads * ((length + 3) / 4 * 4) * group.columns();
  }
  Aligned<float> dquery_sums(sums);
  auto turn = std::make_unique<std::atomic<int32_t>[]>(turns);

  auto items = blocks_of(samples, groups, kBlock, [&](int64_t length, int64_t first) {
    int64_t last = std::min(first + kBlock, length);
    return (last - first) * ((window > 0 ? std::min(last + window, length) : length) - first);
  });
  parallel_items(
      int64_t(items.size()), at::get_num_threads(), [&] { return BackwardMemory(group); },
      [&](int64_t i, const BackwardMemory &memory) {
        auto [sample, g, first, cost] = items[i];
        int64_t token = samples.edges[sample], length = samples.length(sample), h = g * repeat;
        auto shape = of_length(group, length, window);
        int64_t tiles = (length + kQueryTile - 1) / kQueryTile, rows = (length + 3) / 4 * 4;
        BackwardTensors tensors{
            head<const BFloat16>(q, token, h),
            head<const BFloat16>(k, token, g),
            head<const BFloat16>(v, token, g),
            head<const BFloat16>(dy, token, h),
            {lse + token * heads + h, heads},
            {mean + token * heads + h, heads},
            head<BFloat16>(dq, token, h),
            head<BFloat16>(dk, token, g),
            head<BFloat16>(dv, token, g),
            q.stride(1),
            dy.stride(1),
            dq.stride(1),
            sums_at[sample] < 0 ? nullptr : dquery_sums + sums_at[sample] + h * rows * shape.columns(),
            turn.get() + turns_at[sample] + h * tiles};
        attention_block_backward(shape, tensors, memory, first);
      });

  Tensor dsinks;
  if (sinks) {
    auto extra = sinks->to(at::kFloat).contiguous();
    auto sums = at::zeros({heads}, extra.options());
    parallel_items(heads, at::get_num_threads(), [&](int64_t h) {
      float sink = extra.const_data_ptr<float>()[h];
      double sum = 0;
      for (int64_t t = 0; t < tokens; ++t) sum -= std::exp(sink - lse[t * heads + h]) * mean[t * heads + h];
      sums.mutable_data_ptr<float>()[h] = float(sum);
    });
    dsinks = sums.to(sinks->scalar_type());
  }
  return {dq, dk, dv, dsinks};
}

}  // namespace xtuner::cpu
#else
namespace xtuner::cpu {

std::tuple<at::Tensor, at::Tensor> bf16_attention(const at::Tensor &, const at::Tensor &, const at::Tensor &,
                                                  const Samples &, double, int64_t, const std::optional<at::Tensor> &) {
  TORCH_CHECK(false, "bf16_attention: this processor has no products of bfloat16");
}
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> bf16_attention_backward(
    const at::Tensor &, const at::Tensor &, const at::Tensor &, const at::Tensor &, const at::Tensor &,
    const at::Tensor &, const Samples &, double, int64_t, const std::optional<at::Tensor> &) {
  TORCH_CHECK(false, "bf16_attention_backward: this processor has no products of bfloat16");
}

}  // namespace xtuner::cpu
#endif
