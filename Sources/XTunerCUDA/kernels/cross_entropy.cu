// Cross-entropy of rows of logits, with the gradient in their place. A block takes a row: it reads it once for the
// log-sum-exp, and once more, mostly from the L2 cache, where it writes the gradient.
#include <cfloat>

#include "elements.cuh"
#include "kernels.h"
#include "reduce.cuh"

namespace xtuner::cuda {
namespace {

template <typename T, int N>
__global__ void cross_entropy_kernel(T *logits, const int64_t *targets, const float *weights, float z, float *losses,
                                     float *sums, int64_t width) {
  const int64_t row = blockIdx.x, target = targets[row];
  check_index(target, width);
  logits += row * width;
  const float chosen = widened(logits[target]);
  // Each thread keeps the largest element so far and the sum of exponentials relative to it.
  float largest = -FLT_MAX, sum = 0;
#pragma unroll 2
  for (int64_t i = threadIdx.x * N; i < width; i += blockDim.x * N) {
    float v[N], peak = largest;
    load<N>(logits + i, v);
    for (int j = 0; j < N; ++j) peak = v[j] > peak ? v[j] : peak;
    sum *= expf(largest - peak);
    for (int j = 0; j < N; ++j) sum += expf(v[j] - peak);
    largest = peak;
  }
  const float peak = block_max(largest);
  // In two parts, since the small one would lose digits beside a large one.
  const float rest = logf(block_sum(sum * expf(largest - peak)));
  if (threadIdx.x == 0) {
    losses[row] = (peak - chosen) + rest;
    sums[row] = peak + rest;
  }
  if (weights == nullptr) return;
  // block_sum ended with a barrier: all threads have read the target's logit.
  const float w = weights[row], factor = 1.0f + 2.0f * z * (peak + rest);
  for (int64_t i = threadIdx.x * N; i < width; i += blockDim.x * N) {
    float v[N];
    load<N>(logits + i, v);
    for (int j = 0; j < N; ++j) {
      float p = expf(v[j] - peak - rest);
      v[j] = i + j == target ? (p * factor - 1.0f) * w : p * (factor * w);
    }
    store<N>(logits + i, v);
  }
}

}  // namespace

void cross_entropy(Element element, void *logits, const int64_t *targets, const float *weights, float z_loss,
                   float *losses, float *sums, int64_t rows, int64_t width, cudaStream_t stream) {
  if (rows == 0) return;
  with_type(element, [&](auto type) {
    using T = typename decltype(type)::Type;
    auto run = [&](auto kernel, int64_t n) {
      XTUNER_LAUNCH(static_cast<unsigned>(rows), threads_for((width + n - 1) / n, 1024), stream, kernel)
      (static_cast<T *>(logits), targets, weights, z_loss, losses, sums, width);
    };
    bool is_whole = are_whole_vectors(address(logits), width * sizeof(T));
    is_whole ? run(cross_entropy_kernel<T, kVector<T>>, kVector<T>) : run(cross_entropy_kernel<T, 1>, 1);
  });
}

}  // namespace xtuner::cuda
