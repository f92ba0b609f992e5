// Flat buffers: the optimizer's step, squared sums, gradients of an embedding.
#include "elements.cuh"
#include "kernels.h"
#include "reduce.cuh"

namespace xtuner::cuda {
namespace {

/// Elements of a thread at once; bf16 copies of eight floats are 16 bytes.
constexpr int kStep = 8;

/// Weights and moments of one element after a step, in float32.
__device__ inline void adamw_step(const AdamWStep &step, float gradient, float &p, float &m, float &v) {
  float slope = gradient * step.gradient_scale;
  m += (slope - m) * (1.0f - step.beta1);
  v = v * step.beta2 + slope * slope * (1.0f - step.beta2);
  p = p * step.keep - step.rate * m / (sqrtf(v) * step.inverse_root + step.epsilon);
}

template <typename Gradient, typename Copy, int N>
__global__ void adamw_kernel(float *master, const Gradient *gradient, float *first, float *second, Copy *copy,
                             AdamWStep step, int64_t begin, int64_t count) {
  const int64_t i = begin + (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) * N;
  if (i >= count) return;
  float g[N], m[N], v[N], p[N];
  load<N>(gradient + i, g);
  load<N>(first + i, m);
  load<N>(second + i, v);
  load<N>(master + i, p);
  for (int j = 0; j < N; ++j) adamw_step(step, g[j], p[j], m[j], v[j]);
  store<N>(first + i, m);
  store<N>(second + i, v);
  store<N>(master + i, p);
  if (copy != nullptr) store<N>(copy + i, p);
}

/// The random bits of the CPU's kernel: see operators/flat/kernels.h of CTorch.
__device__ inline uint32_t hashed(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}

/// Rounds to bfloat16, up with the probability of the distance from the lower neighbour; infinity and NaN stay.
__device__ inline float stochastically_rounded(float x, uint32_t random) {
  uint32_t raw = __float_as_uint(x);
  if ((raw & 0x7f800000u) == 0x7f800000u) return x;
  return __uint_as_float((raw + (random & 0xffffu)) & 0xffff0000u);
}

template <typename Gradient, int N>
__global__ void adamw_rounded_kernel(BFloat16 *weights, const Gradient *gradient, BFloat16 *first, BFloat16 *second,
                                     AdamWStep step, uint32_t seed, SliceIndices indices, int64_t begin,
                                     int64_t count) {
  const int64_t i = begin + (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) * N;
  if (i >= count) return;
  float g[N], m[N], v[N], p[N];
  load<N>(gradient + i, g);
  load<N>(first + i, m);
  load<N>(second + i, v);
  load<N>(weights + i, p);
  int64_t index = indices.start + indices.first + i, place = 0;
  if (indices.gap != 0) {
    place = (indices.first + i) % indices.row;
    index += (indices.first + i) / indices.row * indices.gap;
  }
  for (int j = 0; j < N; ++j, ++index) {
    adamw_step(step, g[j], p[j], m[j], v[j]);
    const uint32_t random =
        hashed(static_cast<uint32_t>(index) ^ hashed(seed + static_cast<uint32_t>(index >> 32) * 0x9e3779b9u));
    v[j] = stochastically_rounded(v[j], random);
    p[j] = stochastically_rounded(p[j], random >> 16);
    if (indices.gap != 0 && ++place == indices.row) {
      place = 0;
      index += indices.gap;
    }
  }
  store<N>(first + i, m);
  store<N>(second + i, v);
  store<N>(weights + i, p);
}

/// A sum in double precision for each block, over a part of the elements that does not depend on the device.
template <typename T, int N>
__global__ void squares_kernel(const T *x, double *partial, int64_t count) {
  double sum = 0;
  const int64_t whole = count / N * N, step = static_cast<int64_t>(gridDim.x) * blockDim.x * N;
#pragma unroll 4
  for (int64_t i = (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) * N; i < whole; i += step) {
    float v[N];
    load<N>(x + i, v);
    for (int j = 0; j < N; ++j) sum += static_cast<double>(v[j]) * v[j];
  }
  if (blockIdx.x == 0 && threadIdx.x < count - whole) {
    double v = widened(x[whole + threadIdx.x]);
    sum += v * v;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void total_kernel(const double *partial, double *out, int count) {
  double sum = 0;
  for (int i = threadIdx.x; i < count; i += blockDim.x) sum += partial[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *out = sum;
}

/// A block adds the rows of one target, if the place is the first one of it.
template <typename T, int N>
__global__ void add_rows_kernel(float *into, const T *rows, const int64_t *sorted, const int64_t *order, int64_t count,
                                int64_t width, int64_t limit) {
  const int64_t place = blockIdx.x, target = sorted[place];
  if (place > 0 && sorted[place - 1] == target) return;
  check_index(target, limit);
  for (int64_t i = threadIdx.x * N; i < width; i += blockDim.x * N) {
    float sum[N];
    load<N>(into + target * width + i, sum);
    for (int64_t p = place; p < count && sorted[p] == target; ++p) {
      float v[N];
      load<N>(rows + order[p] * width + i, v);
      for (int j = 0; j < N; ++j) sum[j] += v[j];
    }
    store<N>(into + target * width + i, sum);
  }
}

}  // namespace

namespace {

/// Calls `body` with the gradient's elements, float32 or bfloat16.
template <typename Body>
void with_gradient(Element element, const void *gradient, Body &&body) {
  element == Element::bfloat16 ? body(static_cast<const BFloat16 *>(gradient))
                               : body(static_cast<const float *>(gradient));
}

}  // namespace

void adamw(float *master, Element gradient_element, const void *gradient, float *first, float *second, void *copy,
           Element copy_element, AdamWStep step, int64_t count, cudaStream_t stream) {
  auto run = [&](auto *slope, auto *out) {
    using Gradient = std::remove_const_t<std::remove_pointer_t<decltype(slope)>>;
    using Copy = std::remove_pointer_t<decltype(out)>;
    bool is_whole = are_whole_vectors(address(master), address(slope), address(first), address(second), address(out));
    int64_t whole = is_whole ? count / kStep * kStep : 0;
    if (whole > 0) XTUNER_LAUNCH(blocks_for(whole / kStep, 256), 256u, stream, adamw_kernel<Gradient, Copy, kStep>)
    (master, slope, first, second, out, step, int64_t(0), whole);
    if (whole < count) XTUNER_LAUNCH(blocks_for(count - whole, 256), 256u, stream, adamw_kernel<Gradient, Copy, 1>)
    (master, slope, first, second, out, step, whole, count);
  };
  with_gradient(gradient_element, gradient, [&](auto *slope) {
    copy_element == Element::float16 ? run(slope, static_cast<Half *>(copy))
                                     : run(slope, static_cast<BFloat16 *>(copy));
  });
}

void adamw_rounded(void *weights, Element gradient_element, const void *gradient, void *first, void *second,
                   AdamWStep step, uint32_t seed, SliceIndices indices, int64_t count, cudaStream_t stream) {
  auto p = static_cast<BFloat16 *>(weights), m = static_cast<BFloat16 *>(first), v = static_cast<BFloat16 *>(second);
  with_gradient(gradient_element, gradient, [&](auto *slope) {
    using Gradient = std::remove_const_t<std::remove_pointer_t<decltype(slope)>>;
    bool is_whole = are_whole_vectors(address(p), address(slope), address(m), address(v));
    int64_t whole = is_whole ? count / kStep * kStep : 0;
    if (whole > 0) XTUNER_LAUNCH(blocks_for(whole / kStep, 256), 256u, stream, adamw_rounded_kernel<Gradient, kStep>)
    (p, slope, m, v, step, seed, indices, int64_t(0), whole);
    if (whole < count) XTUNER_LAUNCH(blocks_for(count - whole, 256), 256u, stream, adamw_rounded_kernel<Gradient, 1>)
    (p, slope, m, v, step, seed, indices, whole, count);
  });
}

void squared_sum(Element element, const void *x, double *partial, double *out, int64_t count, cudaStream_t stream) {
  with_type(element, [&](auto type) {
    using T = typename decltype(type)::Type;
    auto run = [&](auto kernel) {
      XTUNER_LAUNCH(static_cast<unsigned>(kSumBlocks), 512u, stream, kernel)(static_cast<const T *>(x), partial, count);
    };
    are_whole_vectors(address(x)) ? run(squares_kernel<T, kVector<T>>) : run(squares_kernel<T, 1>);
  });
  XTUNER_LAUNCH(1u, 256u, stream, total_kernel)(partial, out, kSumBlocks);
}

void add_sorted_rows(Element element, float *into, const void *rows, const int64_t *sorted, const int64_t *order,
                     int64_t count, int64_t width, int64_t limit, cudaStream_t stream) {
  if (count * width == 0) return;
  with_type(element, [&](auto type) {
    using T = typename decltype(type)::Type;
    auto run = [&](auto kernel, int64_t n) {
      XTUNER_LAUNCH(static_cast<unsigned>(count), threads_for((width + n - 1) / n, 512), stream, kernel)
      (into, static_cast<const T *>(rows), sorted, order, count, width, limit);
    };
    bool is_whole = are_whole_vectors(address(into), address(rows), width * sizeof(T), width * sizeof(float));
    is_whole ? run(add_rows_kernel<T, kVector<T>>, kVector<T>) : run(add_rows_kernel<T, 1>, 1);
  });
}

}  // namespace xtuner::cuda
