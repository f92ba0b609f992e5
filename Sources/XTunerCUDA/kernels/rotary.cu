// Rotation of heads by their positions, alone and after normalisation. A group of lanes takes a head; each lane takes
// N pairs of elements at a time.
#include "elements.cuh"
#include "kernels.h"
#include "reduce.cuh"

namespace xtuner::cuda {
namespace {

/// N pairs from pair i on: (i, i + half), or neighbours where they are interleaved.
template <int N, bool kInterleaved, typename T>
__device__ void load_pairs(const T *head, int64_t half, int64_t i, float (&a)[N], float (&b)[N]) {
  if constexpr (kInterleaved) {
    float both[2 * N];
    load<2 * N>(head + 2 * i, both);
    for (int j = 0; j < N; ++j) a[j] = both[2 * j], b[j] = both[2 * j + 1];
  } else {
    load<N>(head + i, a);
    load<N>(head + half + i, b);
  }
}
template <int N, bool kInterleaved, typename T>
__device__ void store_pairs(T *head, int64_t half, int64_t i, const float (&a)[N], const float (&b)[N]) {
  if constexpr (kInterleaved) {
    float both[2 * N];
    for (int j = 0; j < N; ++j) both[2 * j] = a[j], both[2 * j + 1] = b[j];
    store<2 * N>(head + 2 * i, both);
  } else {
    store<N>(head + i, a);
    store<N>(head + half + i, b);
  }
}

/// Rotates pairs by `sign` times their angles.
template <int N>
__device__ void rotate(float (&a)[N], float (&b)[N], const float *cosine, const float *sine, float sign) {
  float c[N], s[N];
  load<N>(cosine, c);
  load<N>(sine, s);
  for (int j = 0; j < N; ++j) {
    float x = a[j], y = b[j], t = s[j] * sign;
    a[j] = x * c[j] - y * t;
    b[j] = y * c[j] + x * t;
  }
}

template <typename T, int N, bool kInterleaved>
__global__ void rotary_kernel(const T *x, const float *cosine, const float *sine, T *y, Heads heads, float sign,
                              int lanes) {
  int64_t item = (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) / lanes;
  if (item >= heads.tokens * heads.heads) return;
  int64_t token = item / heads.heads, head = item % heads.heads;
  const T *in = x + token * heads.token_stride + head * heads.head_stride;
  for (int64_t i = threadIdx.x % lanes * N; i < heads.half; i += lanes * N) {
    float a[N], b[N];
    load_pairs<N, kInterleaved>(in, heads.half, i, a, b);
    rotate<N>(a, b, cosine + token * heads.half + i, sine + token * heads.half + i, sign);
    store_pairs<N, kInterleaved>(y + item * 2 * heads.half, heads.half, i, a, b);
  }
}

template <typename T, int N, bool kInterleaved>
__global__ void norm_rotary_kernel(const T *x, const T *weight, const float *cosine, const float *sine, T *y,
                                   float *scales, Heads heads, float epsilon, int lanes) {
  int64_t item = (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) / lanes;
  // Lanes without a head take part in the sums of their warp.
  const bool is_inside = item < heads.tokens * heads.heads;
  int64_t token = item / heads.heads, head = item % heads.heads;
  const T *in = x + token * heads.token_stride + head * heads.head_stride;
  const int64_t first = threadIdx.x % lanes * N, end = is_inside ? heads.half : 0;
  float squares = 0;
  for (int64_t i = first; i < end; i += lanes * N) {
    float a[N], b[N];
    load_pairs<N, kInterleaved>(in, heads.half, i, a, b);
    for (int j = 0; j < N; ++j) squares += a[j] * a[j] + b[j] * b[j];
  }
  float scale = 1.0f / sqrtf(group_sum(squares, lanes) / static_cast<float>(2 * heads.half) + epsilon);
  if (is_inside && first == 0) scales[item] = scale;
  for (int64_t i = first; i < end; i += lanes * N) {
    float a[N], b[N], v[N], w[N];
    load_pairs<N, kInterleaved>(in, heads.half, i, a, b);
    load_pairs<N, kInterleaved>(weight, heads.half, i, v, w);
    // Rounded as where norm and rotation are two operators.
    for (int j = 0; j < N; ++j) {
      a[j] = rounded<T>(v[j] * rounded<T>(a[j] * scale));
      b[j] = rounded<T>(w[j] * rounded<T>(b[j] * scale));
    }
    rotate<N>(a, b, cosine + token * heads.half + i, sine + token * heads.half + i, 1);
    store_pairs<N, kInterleaved>(y + item * 2 * heads.half, heads.half, i, a, b);
  }
}

/// A lane keeps the weight's gradient of its kPacks x N pairs over all heads that its group takes.
template <typename T, int N, int kPacks, bool kInterleaved>
__global__ void __launch_bounds__(256)
    norm_rotary_backward_kernel(const T *grad, const T *x, const T *weight, const float *scales, const float *cosine,
                                const float *sine, T *dx, float *partial, Heads heads, int lanes) {
  __shared__ float sums[8][2 * kLargestHalf];
  const int groups = blockDim.x / lanes;
  const int64_t count = heads.tokens * heads.heads, first = threadIdx.x % lanes * N, half = heads.half;
  float va[kPacks][N], vb[kPacks][N], wa[kPacks][N] = {}, wb[kPacks][N] = {};
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    int64_t i = first + p * lanes * N;
    if (i < half) load_pairs<N, kInterleaved>(weight, half, i, va[p], vb[p]);
  }
  // All lanes of a warp go round as often, for the sums.
  for (int64_t base = blockIdx.x * static_cast<int64_t>(groups); base < count; base += gridDim.x * groups) {
    const int64_t item = base + threadIdx.x / lanes;
    const bool is_inside = item < count;
    const int64_t token = item / heads.heads, head = item % heads.heads, end = is_inside ? half : 0;
    const T *in = x + token * heads.token_stride + head * heads.head_stride;
    const float scale = is_inside ? scales[item] : 0;
    float ga[kPacks][N], gb[kPacks][N], sum = 0;
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      int64_t i = first + p * lanes * N;
      if (i >= end) break;
      float a[N], b[N];
      load_pairs<N, kInterleaved>(grad + item * 2 * half, half, i, ga[p], gb[p]);
      rotate<N>(ga[p], gb[p], cosine + token * half + i, sine + token * half + i, -1);
      load_pairs<N, kInterleaved>(in, half, i, a, b);
      for (int j = 0; j < N; ++j) {
        ga[p][j] = rounded<T>(ga[p][j]), gb[p][j] = rounded<T>(gb[p][j]);
        float pa = ga[p][j] * a[j], pb = gb[p][j] * b[j];
        sum += pa * va[p][j] + pb * vb[p][j];
        wa[p][j] += pa * scale, wb[p][j] += pb * scale;
      }
    }
    float share = group_sum(sum, lanes) * scale * scale / static_cast<float>(2 * half);
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      int64_t i = first + p * lanes * N;
      if (i >= end) break;
      float a[N], b[N];
      load_pairs<N, kInterleaved>(in, half, i, a, b);
      for (int j = 0; j < N; ++j) {
        a[j] = (ga[p][j] * va[p][j] - a[j] * share) * scale;
        b[j] = (gb[p][j] * vb[p][j] - b[j] * share) * scale;
      }
      store_pairs<N, kInterleaved>(dx + item * 2 * half, half, i, a, b);
    }
  }
  // Over the groups of a warp, then over the warps in order.
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int p = 0; p < kPacks; ++p)
    for (int j = 0; j < N; ++j) {
      for (int offset = lanes; offset < 32; offset *= 2) {
        wa[p][j] += __shfl_xor_sync(kAllLanes, wa[p][j], offset);
        wb[p][j] += __shfl_xor_sync(kAllLanes, wb[p][j], offset);
      }
      int64_t i = first + p * lanes * N + j;
      if (lane >= lanes || i >= half) continue;
      sums[warp][kInterleaved ? 2 * i : i] = wa[p][j];
      sums[warp][kInterleaved ? 2 * i + 1 : half + i] = wb[p][j];
    }
  __syncthreads();
  for (int64_t i = threadIdx.x; i < 2 * half; i += blockDim.x) {
    float sum = 0;
    for (int w = 0; w < 8; ++w) sum += sums[w][i];
    partial[blockIdx.x * 2 * half + i] = sum;
  }
}

/// The lanes of a head: a power of two, so that groups do not cross warps.
int lanes_for(int64_t half, int64_t n) {
  int lanes = 1;
  while (lanes < 32 && lanes * n < half) lanes *= 2;
  return lanes;
}

/// Whether heads of `x` and everything beside them are whole vectors of 16 bytes.
template <typename T>
bool has_whole_pairs(const void *x, const Heads &heads) {
  return heads.half % kVector<T> == 0 &&
         are_whole_vectors(address(x), heads.token_stride * sizeof(T), heads.head_stride * sizeof(T));
}

template <typename T, bool kInterleaved, typename Run>
void choose_rotary(bool is_whole, Run &&run) {
  is_whole ? run(rotary_kernel<T, kVector<T>, kInterleaved>, kVector<T>) : run(rotary_kernel<T, 1, kInterleaved>, 1);
}
template <typename T, bool kInterleaved, typename Run>
void choose_norm_rotary(bool is_whole, Run &&run) {
  is_whole ? run(norm_rotary_kernel<T, kVector<T>, kInterleaved>, kVector<T>)
           : run(norm_rotary_kernel<T, 1, kInterleaved>, 1);
}
template <typename T, bool kInterleaved, typename Run>
void choose_backward(bool is_whole, int64_t half, Run &&run) {
  constexpr int N = kVector<T>;
  if (is_whole)
    half <= 32 * N ? run(norm_rotary_backward_kernel<T, N, 1, kInterleaved>, N)
                   : run(norm_rotary_backward_kernel<T, N, 2, kInterleaved>, N);
  else
    half <= 32 ? run(norm_rotary_backward_kernel<T, 1, 1, kInterleaved>, 1)
               : run(norm_rotary_backward_kernel<T, 1, 8, kInterleaved>, 1);
}

}  // namespace

void rotary(Element element, const void *x, const float *cosine, const float *sine, void *y, Heads heads,
            bool interleaved, bool inverse, cudaStream_t stream) {
  if (heads.tokens * heads.heads * heads.half == 0) return;
  with_type(element, [&](auto type) {
    using T = typename decltype(type)::Type;
    bool is_whole = has_whole_pairs<T>(x, heads) && are_whole_vectors(address(cosine), address(sine), address(y));
    auto run = [&](auto kernel, int64_t n) {
      int lanes = lanes_for(heads.half, n);
      XTUNER_LAUNCH(blocks_for(heads.tokens * heads.heads * lanes, 256), 256u, stream, kernel)
      (static_cast<const T *>(x), cosine, sine, static_cast<T *>(y), heads, inverse ? -1.0f : 1.0f, lanes);
    };
    interleaved ? choose_rotary<T, true>(is_whole, run) : choose_rotary<T, false>(is_whole, run);
  });
}

void norm_rotary(Element element, const void *x, const void *weight, const float *cosine, const float *sine, void *y,
                 float *scales, Heads heads, float epsilon, bool interleaved, cudaStream_t stream) {
  if (heads.tokens * heads.heads * heads.half == 0) return;
  with_type(element, [&](auto type) {
    using T = typename decltype(type)::Type;
    bool is_whole =
        has_whole_pairs<T>(x, heads) && are_whole_vectors(address(weight), address(cosine), address(sine), address(y));
    auto run = [&](auto kernel, int64_t n) {
      int lanes = lanes_for(heads.half, n);
      XTUNER_LAUNCH(blocks_for(heads.tokens * heads.heads * lanes, 256), 256u, stream, kernel)
      (static_cast<const T *>(x), static_cast<const T *>(weight), cosine, sine, static_cast<T *>(y), scales, heads,
       epsilon, lanes);
    };
    interleaved ? choose_norm_rotary<T, true>(is_whole, run) : choose_norm_rotary<T, false>(is_whole, run);
  });
}

void norm_rotary_backward(Element element, const void *grad, const void *x, const void *weight, const float *scales,
                          const float *cosine, const float *sine, void *dx, void *dweight, float *partial, Heads heads,
                          bool interleaved, cudaStream_t stream) {
  if (heads.half == 0) return;
  int64_t count = heads.tokens * heads.heads;
  int64_t blocks = count < kSumBlocks ? count : kSumBlocks;
  with_type(element, [&](auto type) {
    using T = typename decltype(type)::Type;
    bool is_whole = has_whole_pairs<T>(x, heads) &&
                    are_whole_vectors(address(grad), address(weight), address(cosine), address(sine), address(dx));
    auto run = [&](auto kernel, int64_t n) {
      XTUNER_LAUNCH(static_cast<unsigned>(blocks), 256u, stream, kernel)
      (static_cast<const T *>(grad), static_cast<const T *>(x), static_cast<const T *>(weight), scales, cosine, sine,
       static_cast<T *>(dx), partial, heads, lanes_for(heads.half, n));
    };
    if (blocks == 0) return;
    interleaved ? choose_backward<T, true>(is_whole, heads.half, run)
                : choose_backward<T, false>(is_whole, heads.half, run);
  });
  sum_columns(element, partial, dweight, blocks, 2 * heads.half, stream);
}

}  // namespace xtuner::cuda
