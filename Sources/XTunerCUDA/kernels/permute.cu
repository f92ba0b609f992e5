// Rows between the order of tokens and the order of experts. Each output is written once, by one thread: results repeat
// bit for bit.
#include "elements.cuh"
#include "kernels.h"
#include "reduce.cuh"

namespace xtuner::cuda {
namespace {

template <typename Unit>
__global__ void gather_kernel(const Unit *x, const int64_t *indices, Unit *y, int64_t rows, int64_t limit,
                              int64_t units) {
  const int64_t row = blockIdx.x * static_cast<int64_t>(blockDim.y) + threadIdx.y;
  if (row >= rows) return;
  const int64_t from = indices[row];
  check_index(from, limit);
  for (int64_t i = threadIdx.x; i < units; i += blockDim.x) y[row * units + i] = x[from * units + i];
}

template <typename T, int N, bool kWeighted>
__global__ void sum_kernel(const T *rows, const float *weights, const int64_t *slots, T *y, int64_t tokens,
                           int64_t slot_count, int64_t row_count, int64_t width) {
  const int64_t token = blockIdx.x * static_cast<int64_t>(blockDim.y) + threadIdx.y;
  if (token >= tokens) return;
  for (int64_t i = threadIdx.x * N; i < width; i += blockDim.x * N) {
    float sum[N] = {};
#pragma unroll 4
    for (int64_t k = 0; k < slot_count; ++k) {
      const int64_t row = slots[token * slot_count + k];
      check_index(row, row_count);
      float v[N];
      load<N>(rows + row * width + i, v);
      const float w = kWeighted ? weights[token * slot_count + k] : 1.0f;
      for (int j = 0; j < N; ++j) sum[j] += kWeighted ? v[j] * w : v[j];
    }
    store<N>(y + token * width + i, sum);
  }
}

/// A warp takes a slot; the slots of a token are neighbours, so that its gradient comes from the cache.
template <typename T, int N>
__global__ void sum_backward_kernel(const T *grad, const T *rows, const float *weights, const int64_t *slots, T *drows,
                                    float *dweights, int64_t tokens, int64_t slot_count, int64_t row_count,
                                    int64_t width) {
  const int64_t slot = (blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x) / 32;
  if (slot >= tokens * slot_count) return;
  const int lane = threadIdx.x % 32;
  const int64_t token = slot / slot_count, row = slots[slot];
  check_index(row, row_count);
  const float w = weights[slot];
  float sum = 0;
#pragma unroll 2
  for (int64_t i = lane * N; i < width; i += 32 * N) {
    float g[N], v[N];
    load<N>(grad + token * width + i, g);
    load<N>(rows + row * width + i, v);
    for (int j = 0; j < N; ++j) {
      sum += g[j] * v[j];
      g[j] *= w;
    }
    store<N>(drows + row * width + i, g);
  }
  sum = warp_sum(sum);
  if (lane == 0) dweights[slot] = sum;
}

template <typename Unit>
void gather(const void *x, const int64_t *indices, void *y, int64_t rows, int64_t limit, int64_t bytes,
            cudaStream_t stream) {
  int64_t units = bytes / sizeof(Unit);
  dim3 tile = row_tile(units);
  XTUNER_LAUNCH(blocks_for(rows, tile.y), tile, stream, gather_kernel<Unit>)
  (static_cast<const Unit *>(x), indices, static_cast<Unit *>(y), rows, limit, units);
}

}  // namespace

void gather_rows(const void *x, const int64_t *indices, void *y, int64_t rows, int64_t limit, int64_t bytes,
                 cudaStream_t stream) {
  if (rows * bytes == 0) return;
  uint64_t all = address(x) | address(y) | static_cast<uint64_t>(bytes);
  if (all % 16 == 0) return gather<uint4>(x, indices, y, rows, limit, bytes, stream);
  if (all % 4 == 0) return gather<uint32_t>(x, indices, y, rows, limit, bytes, stream);
  if (all % 2 == 0) return gather<uint16_t>(x, indices, y, rows, limit, bytes, stream);
  gather<uint8_t>(x, indices, y, rows, limit, bytes, stream);
}

void sum_slots(Element element, const void *rows, const float *weights, const int64_t *slots, void *y, int64_t tokens,
               int64_t slot_count, int64_t row_count, int64_t width, cudaStream_t stream) {
  if (tokens * width == 0) return;
  with_type(element, [&](auto type) {
    using T = typename decltype(type)::Type;
    auto run = [&](auto kernel, int64_t n) {
      dim3 tile = row_tile((width + n - 1) / n);
      XTUNER_LAUNCH(blocks_for(tokens, tile.y), tile, stream, kernel)
      (static_cast<const T *>(rows), weights, slots, static_cast<T *>(y), tokens, slot_count, row_count, width);
    };
    constexpr int N = kVector<T>;
    bool is_whole = are_whole_vectors(address(rows), address(y), width * sizeof(T));
    if (weights != nullptr)
      is_whole ? run(sum_kernel<T, N, true>, N) : run(sum_kernel<T, 1, true>, 1);
    else
      is_whole ? run(sum_kernel<T, N, false>, N) : run(sum_kernel<T, 1, false>, 1);
  });
}

void sum_slots_backward(Element element, const void *grad, const void *rows, const float *weights, const int64_t *slots,
                        void *drows, float *dweights, int64_t tokens, int64_t slot_count, int64_t row_count,
                        int64_t width, cudaStream_t stream) {
  if (tokens * slot_count == 0) return;
  with_type(element, [&](auto type) {
    using T = typename decltype(type)::Type;
    auto run = [&](auto kernel) {
      XTUNER_LAUNCH(blocks_for(tokens * slot_count * 32, 256), 256u, stream, kernel)
      (static_cast<const T *>(grad), static_cast<const T *>(rows), weights, slots, static_cast<T *>(drows), dweights,
       tokens, slot_count, row_count, width);
    };
    bool is_whole = are_whole_vectors(address(grad), address(rows), address(drows), width * sizeof(T));
    is_whole ? run(sum_backward_kernel<T, kVector<T>>) : run(sum_backward_kernel<T, 1>);
  });
}

}  // namespace xtuner::cuda
