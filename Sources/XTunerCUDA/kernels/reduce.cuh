// Sums and maxima over the threads of a warp and of a block, in a fixed order: results repeat bit for bit.
#pragma once

#include <cuda_runtime.h>

namespace xtuner::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;

/// The sum over groups of `lanes` neighbouring lanes, a power of two; every lane of the warp takes part.
template <typename T>
__device__ T group_sum(T value, int lanes) {
  for (int offset = lanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}

template <typename T>
__device__ T warp_sum(T value) {
  return group_sum(value, 32);
}

__device__ inline float warp_max(float value) {
  for (int offset = 16; offset > 0; offset /= 2) {
    float other = __shfl_xor_sync(kAllLanes, value, offset);
    value = other > value ? other : value;
  }
  return value;
}

/// The sum over all threads of a block of whole warps, for each of them.
template <typename T>
__device__ T block_sum(T value) {
  __shared__ T sums[32];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  value = warp_sum(value);
  if (lane == 0) sums[warp] = value;
  __syncthreads();
  value = warp_sum(lane < warps ? sums[lane] : T(0));
  __syncthreads();
  return value;
}

__device__ inline float block_max(float value) {
  __shared__ float largest[32];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  value = warp_max(value);
  if (lane == 0) largest[warp] = value;
  __syncthreads();
  value = warp_max(largest[lane < warps ? lane : 0]);
  __syncthreads();
  return value;
}

}  // namespace xtuner::cuda
