// Scores of experts and the choice among them, in float32. A warp takes a token.
#include "elements.cuh"
#include "kernels.h"
#include "reduce.cuh"

namespace xtuner::cuda {
namespace {

constexpr unsigned kThreads = 128;

__device__ inline int64_t row_of_warp() { return (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) / 32; }

__global__ void scores_kernel(const float *logits, float *scores, float *sums, int64_t rows, int64_t width) {
  const int64_t row = row_of_warp();
  if (row >= rows) return;
  const int lane = threadIdx.x % 32;
  logits += row * width, scores += row * width;
  float largest = logits[0];
  for (int64_t i = lane; i < width; i += 32) largest = logits[i] > largest ? logits[i] : largest;
  largest = warp_max(largest);
  float sum = 0;
  for (int64_t i = lane; i < width; i += 32) sum += expf(logits[i] - largest);
  sum = warp_sum(sum);
  for (int64_t i = lane; i < width; i += 32) scores[i] = expf(logits[i] - largest) / sum;
  if (lane == 0) sums[row] = largest + logf(sum);
}

__global__ void scores_backward_kernel(const float *grad, const float *sum_grad, const float *scores, float *dx,
                                       int64_t rows, int64_t width) {
  const int64_t row = row_of_warp();
  if (row >= rows) return;
  const int lane = threadIdx.x % 32;
  const int64_t at = row * width;
  float sum = 0;
  if (grad != nullptr)
    for (int64_t i = lane; i < width; i += 32) sum += grad[at + i] * scores[at + i];
  float offset = (sum_grad != nullptr ? sum_grad[row] : 0) - warp_sum(sum);
  for (int64_t i = lane; i < width; i += 32)
    dx[at + i] = (offset + (grad != nullptr ? grad[at + i] : 0)) * scores[at + i];
}

/// Whether a score is before another one in descending order; NaN is before all numbers, of equal ones the first.
__device__ inline bool is_before(float a, int i, float b, int j) {
  bool is_larger = a > b || (a != a && b == b), is_smaller = b > a || (b != b && a == a);
  return is_larger || (!is_smaller && i < j);
}

/// Each lane keeps every 32nd score in registers; k times the first one left is found and struck out.
template <int kScores>
__global__ void top_k_kernel(const float *scores, int64_t *chosen, int64_t rows, int width, int k) {
  const int64_t row = row_of_warp();
  if (row >= rows) return;
  const int lane = threadIdx.x % 32;
  float own[kScores];
#pragma unroll
  for (int j = 0; j < kScores; ++j) own[j] = lane + 32 * j < width ? scores[row * width + lane + 32 * j] : 0;
  unsigned left = 0;
  for (int j = 0; j < kScores; ++j) left |= lane + 32 * j < width ? 1u << j : 0;
  for (int round = 0; round < k; ++round) {
    int best = 1 << 30;  // none
    float best_score = 0;
#pragma unroll
    for (int j = 0; j < kScores; ++j) {
      int index = lane + 32 * j;
      if ((left >> j & 1) != 0 && (best == 1 << 30 || is_before(own[j], index, best_score, best)))
        best = index, best_score = own[j];
    }
    for (int offset = 16; offset > 0; offset /= 2) {
      int index = __shfl_xor_sync(kAllLanes, best, offset);
      float score = __shfl_xor_sync(kAllLanes, best_score, offset);
      if (index != 1 << 30 && (best == 1 << 30 || is_before(score, index, best_score, best)))
        best = index, best_score = score;
    }
    if (best % 32 == lane) left &= ~(1u << best / 32);
    if (lane == 0) chosen[row * k + round] = best;
  }
}

}  // namespace

void router_scores(const float *logits, float *scores, float *sums, int64_t rows, int64_t width, cudaStream_t stream) {
  if (rows == 0) return;
  XTUNER_LAUNCH(blocks_for(rows * 32, kThreads), kThreads, stream, scores_kernel)(logits, scores, sums, rows, width);
}

void router_scores_backward(const float *grad, const float *sum_grad, const float *scores, float *dx, int64_t rows,
                            int64_t width, cudaStream_t stream) {
  if (rows == 0) return;
  XTUNER_LAUNCH(blocks_for(rows * 32, kThreads), kThreads, stream, scores_backward_kernel)
  (grad, sum_grad, scores, dx, rows, width);
}

void route_top_k(const float *scores, int64_t *chosen, int64_t rows, int64_t width, int64_t k, cudaStream_t stream) {
  if (rows == 0) return;
  auto run = [&](auto kernel) {
    XTUNER_LAUNCH(blocks_for(rows * 32, kThreads), kThreads, stream, kernel)
    (scores, chosen, rows, static_cast<int>(width), static_cast<int>(k));
  };
  width <= 128 ? run(top_k_kernel<4>) : width <= 256 ? run(top_k_kernel<8>) : run(top_k_kernel<32>);
}

}  // namespace xtuner::cuda
