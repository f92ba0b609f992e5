// Attention over samples of a pack where libraries do not compute it (float32, heads of other widths), and the sinks of
// attention that they do compute. Plain attention is for correctness: a warp takes a query, or a key in backward, and
// goes through the others one by one.
#include <cmath>

#include "elements.cuh"
#include "kernels.h"
#include "reduce.cuh"

namespace xtuner::cuda {
namespace {

struct Range {
  int64_t begin, end;
};

/// The sample of a token: a search in the bounds.
__device__ inline Range sample_of(const Attention &a, int64_t token) {
  int64_t low = 0, high = a.samples;  // bounds[low] <= token < bounds[high]
  while (high - low > 1) {
    int64_t middle = (low + high) / 2;
    (a.bounds[middle] <= token ? low : high) = middle;
  }
  return {a.bounds[low], a.bounds[high]};
}

template <typename T>
__device__ T *row(const HeadRows &rows, int64_t token, int64_t head) {
  return static_cast<T *>(rows.data) + token * rows.token_stride + head * rows.head_stride;
}

template <typename T>
__device__ float product(const T *a, const T *b, int64_t width) {
  float sum = 0;
  for (int64_t i = threadIdx.x % 32; i < width; i += 32) sum += widened(a[i]) * widened(b[i]);
  return warp_sum(sum);
}

/// The warp's item: a head of a token.
__device__ inline int64_t item_of_warp() { return (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) / 32; }

template <typename T, int kColumns>
__global__ void attention_kernel(Attention a, HeadRows query, HeadRows key, HeadRows value, HeadRows out,
                                 const float *sinks, float *logsumexp) {
  const int64_t item = item_of_warp(), token = item / a.heads, h = item % a.heads, g = h / (a.heads / a.key_heads);
  if (item >= a.tokens * a.heads) return;
  const int lane = threadIdx.x % 32;
  int64_t first = sample_of(a, token).begin;
  if (a.window > 0 && token - a.window + 1 > first) first = token - a.window + 1;
  const T *q = row<T>(query, token, h);
  float top = sinks != nullptr ? sinks[h] : -INFINITY, sum = sinks != nullptr ? 1 : 0, result[kColumns] = {};
  for (int64_t j = first; j <= token; ++j) {
    const float score = product(q, row<T>(key, j, g), a.width) * a.scale, peak = score > top ? score : top;
    const float before = expf(top - peak), weight = expf(score - peak);
    const T *v = row<T>(value, j, g);
#pragma unroll
    for (int c = 0; c < kColumns; ++c)
      if (lane + 32 * c < a.value_width) result[c] = result[c] * before + weight * widened(v[lane + 32 * c]);
    sum = sum * before + weight;
    top = peak;
  }
  T *o = row<T>(out, token, h);
#pragma unroll
  for (int c = 0; c < kColumns; ++c)
    if (lane + 32 * c < a.value_width) o[lane + 32 * c] = narrowed<T>(result[c] / sum);
  if (lane == 0) logsumexp[h * a.tokens + token] = top + logf(sum);
}

/// Gradients of queries; `means` gets the product of output and gradient.
template <typename T, int kColumns>
__global__ void query_gradient_kernel(Attention a, HeadRows grad, HeadRows query, HeadRows key, HeadRows value,
                                      HeadRows out, const float *logsumexp, HeadRows dquery, float *means) {
  const int64_t item = item_of_warp(), token = item / a.heads, h = item % a.heads, g = h / (a.heads / a.key_heads);
  if (item >= a.tokens * a.heads) return;
  const int lane = threadIdx.x % 32;
  int64_t first = sample_of(a, token).begin;
  if (a.window > 0 && token - a.window + 1 > first) first = token - a.window + 1;
  const T *q = row<T>(query, token, h), *dy = row<T>(grad, token, h);
  const float mean = product(dy, row<T>(out, token, h), a.value_width), sum = logsumexp[h * a.tokens + token];
  float result[kColumns] = {};
  for (int64_t j = first; j <= token; ++j) {
    const T *k = row<T>(key, j, g);
    const float p = expf(product(q, k, a.width) * a.scale - sum);
    const float slope = p * (product(dy, row<T>(value, j, g), a.value_width) - mean) * a.scale;
#pragma unroll
    for (int c = 0; c < kColumns; ++c)
      if (lane + 32 * c < a.width) result[c] += slope * widened(k[lane + 32 * c]);
  }
  T *dq = row<T>(dquery, token, h);
#pragma unroll
  for (int c = 0; c < kColumns; ++c)
    if (lane + 32 * c < a.width) dq[lane + 32 * c] = narrowed<T>(result[c]);
  if (lane == 0) means[item] = mean;
}

/// Gradients of a key and its value, summed over the queries that see it in their order.
template <typename T, int kColumns>
__global__ void key_gradient_kernel(Attention a, HeadRows grad, HeadRows query, HeadRows key, HeadRows value,
                                    const float *logsumexp, HeadRows dkey, HeadRows dvalue, const float *means) {
  const int64_t item = item_of_warp(), token = item / a.key_heads, g = item % a.key_heads;
  if (item >= a.tokens * a.key_heads) return;
  const int lane = threadIdx.x % 32;
  const int64_t repeat = a.heads / a.key_heads;
  int64_t end = sample_of(a, token).end;
  if (a.window > 0 && token + a.window < end) end = token + a.window;
  const T *k = row<T>(key, token, g), *v = row<T>(value, token, g);
  float dk[kColumns] = {}, dv[kColumns] = {};
  for (int64_t h = g * repeat; h < (g + 1) * repeat; ++h)
    for (int64_t t = token; t < end; ++t) {
      const T *q = row<T>(query, t, h), *dy = row<T>(grad, t, h);
      const float p = expf(product(q, k, a.width) * a.scale - logsumexp[h * a.tokens + t]);
      const float slope = p * (product(dy, v, a.value_width) - means[t * a.heads + h]) * a.scale;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        if (lane + 32 * c < a.width) dk[c] += slope * widened(q[lane + 32 * c]);
        if (lane + 32 * c < a.value_width) dv[c] += p * widened(dy[lane + 32 * c]);
      }
    }
  T *key_out = row<T>(dkey, token, g), *value_out = row<T>(dvalue, token, g);
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    if (lane + 32 * c < a.width) key_out[lane + 32 * c] = narrowed<T>(dk[c]);
    if (lane + 32 * c < a.value_width) value_out[lane + 32 * c] = narrowed<T>(dv[c]);
  }
}

template <typename T>
__global__ void fold_kernel(const float *sinks, float *logsumexp, T *out, int64_t tokens, int64_t heads,
                            int64_t width) {
  const int64_t item = item_of_warp(), token = item / heads, h = item % heads;
  if (item >= tokens * heads) return;
  const int lane = threadIdx.x % 32;
  const float sum = logsumexp[h * tokens + token], sink = sinks[h], top = sum > sink ? sum : sink;
  const float all = top + logf(expf(sum - top) + expf(sink - top)), factor = expf(sum - all);
  __syncwarp();  // all have read it
  if (lane == 0) logsumexp[h * tokens + token] = all;
  for (int64_t i = lane; i < width; i += 32)
    out[item * width + i] = narrowed<T>(widened(out[item * width + i]) * factor);
}

/// blockIdx.x: kSinkTokens tokens; blockIdx.y: the head.
template <typename T>
__global__ void sink_kernel(HeadRows grad, HeadRows out, const float *sinks, const float *logsumexp, float *partial,
                            int64_t tokens, int64_t heads, int64_t width) {
  const int64_t h = blockIdx.y, begin = blockIdx.x * kSinkTokens;
  const int64_t end = begin + kSinkTokens < tokens ? begin + kSinkTokens : tokens;
  float sum = 0;
  for (int64_t t = begin + threadIdx.x / 32; t < end; t += blockDim.x / 32) {
    float mean = product(row<T>(grad, t, h), row<T>(out, t, h), width);
    sum -= expf(sinks[h] - logsumexp[h * tokens + t]) * mean;
  }
  sum = block_sum(threadIdx.x % 32 == 0 ? sum : 0.0f);
  if (threadIdx.x == 0) partial[blockIdx.x * heads + h] = sum;
}

constexpr unsigned kThreads = 128;

/// Calls `run` with the smallest of the two kernels whose columns hold a head.
template <typename Run, typename Narrow, typename Wide>
void choose(int64_t width, Run &&run, Narrow narrow, Wide wide) {
  width <= 128 ? run(narrow) : run(wide);
}

}  // namespace

void plain_attention(Element element, Attention shape, HeadRows query, HeadRows key, HeadRows value, HeadRows out,
                     const float *sinks, float *logsumexp, cudaStream_t stream) {
  if (shape.tokens == 0) return;
  with_type(element, [&](auto type) {
    using T = typename decltype(type)::Type;
    auto run = [&](auto kernel) {
      XTUNER_LAUNCH(blocks_for(shape.tokens * shape.heads * 32, kThreads), kThreads, stream, kernel)
      (shape, query, key, value, out, sinks, logsumexp);
    };
    choose(shape.value_width, run, attention_kernel<T, 4>, attention_kernel<T, kWidestHead / 32>);
  });
}

void plain_attention_backward(Element element, Attention shape, HeadRows grad, HeadRows query, HeadRows key,
                              HeadRows value, HeadRows out, const float *logsumexp, HeadRows dquery, HeadRows dkey,
                              HeadRows dvalue, float *means, cudaStream_t stream) {
  if (shape.tokens == 0) return;
  with_type(element, [&](auto type) {
    using T = typename decltype(type)::Type;
    auto queries = [&](auto kernel) {
      XTUNER_LAUNCH(blocks_for(shape.tokens * shape.heads * 32, kThreads), kThreads, stream, kernel)
      (shape, grad, query, key, value, out, logsumexp, dquery, means);
    };
    auto keys = [&](auto kernel) {
      XTUNER_LAUNCH(blocks_for(shape.tokens * shape.key_heads * 32, kThreads), kThreads, stream, kernel)
      (shape, grad, query, key, value, logsumexp, dkey, dvalue, means);
    };
    constexpr int kWide = kWidestHead / 32;
    choose(shape.width, queries, query_gradient_kernel<T, 4>, query_gradient_kernel<T, kWide>);
    choose(shape.width > shape.value_width ? shape.width : shape.value_width, keys, key_gradient_kernel<T, 4>,
           key_gradient_kernel<T, kWide>);
  });
}

void fold_sinks(Element element, const float *sinks, float *logsumexp, void *out, int64_t tokens, int64_t heads,
                int64_t width, cudaStream_t stream) {
  if (tokens == 0) return;
  with_type(element, [&](auto type) {
    using T = typename decltype(type)::Type;
    XTUNER_LAUNCH(blocks_for(tokens * heads * 32, kThreads), kThreads, stream, fold_kernel<T>)
    (sinks, logsumexp, static_cast<T *>(out), tokens, heads, width);
  });
}

void sink_gradients(Element element, HeadRows grad, HeadRows out, const float *sinks, const float *logsumexp,
                    float *partial, int64_t tokens, int64_t heads, int64_t width, cudaStream_t stream) {
  if (tokens == 0) return;
  with_type(element, [&](auto type) {
    using T = typename decltype(type)::Type;
    dim3 grid(blocks_for(tokens, kSinkTokens), static_cast<unsigned>(heads));
    XTUNER_LAUNCH(grid, kThreads, stream, sink_kernel<T>)
    (grad, out, sinks, logsumexp, partial, tokens, heads, width);
  });
}

}  // namespace xtuner::cuda
