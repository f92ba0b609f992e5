// Flat buffers: the optimizer's step, squared sums, gradients of an embedding.
#include "elements.cuh"
#include "kernels.h"
#include "reduce.cuh"

namespace xtuner::cuda {
namespace {

/// Elements of a thread at once; bf16 copies of eight floats are 16 bytes.
constexpr int kStep = 8;

template <typename Copy, int N>
__global__ void adamw_kernel(float *master, const float *gradient, float *first, float *second, Copy *copy,
                             AdamWStep step, int64_t begin, int64_t count) {
  const int64_t i = begin + (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) * N;
  if (i >= count) return;
  float g[N], m[N], v[N], p[N];
  load<N>(gradient + i, g);
  load<N>(first + i, m);
  load<N>(second + i, v);
  load<N>(master + i, p);
  for (int j = 0; j < N; ++j) {
    float slope = g[j] * step.gradient_scale;
    m[j] += (slope - m[j]) * (1.0f - step.beta1);
    v[j] = v[j] * step.beta2 + slope * slope * (1.0f - step.beta2);
    p[j] = p[j] * step.keep - step.rate * m[j] / (sqrtf(v[j]) * step.inverse_root + step.epsilon);
  }
  store<N>(first + i, m);
  store<N>(second + i, v);
  store<N>(master + i, p);
  if (copy != nullptr) store<N>(copy + i, p);
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

void adamw(float *master, const float *gradient, float *first, float *second, void *copy, Element copy_element,
           AdamWStep step, int64_t count, cudaStream_t stream) {
  auto run = [&](auto *out) {
    using Copy = std::remove_pointer_t<decltype(out)>;
    bool is_whole =
        are_whole_vectors(address(master), address(gradient), address(first), address(second), address(out));
    int64_t whole = is_whole ? count / kStep * kStep : 0;
    if (whole > 0) XTUNER_LAUNCH(blocks_for(whole / kStep, 256), 256u, stream, adamw_kernel<Copy, kStep>)
    (master, gradient, first, second, out, step, int64_t(0), whole);
    if (whole < count) XTUNER_LAUNCH(blocks_for(count - whole, 256), 256u, stream, adamw_kernel<Copy, 1>)
    (master, gradient, first, second, out, step, whole, count);
  };
  copy_element == Element::float16 ? run(static_cast<Half *>(copy)) : run(static_cast<BFloat16 *>(copy));
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
