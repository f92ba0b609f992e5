// Root-mean-square normalisation of rows, alone or after an addition. One block a row; a row is read twice, the second
// time from the cache.
#include "float8.cuh"
#include "kernels.h"
#include "reduce.cuh"

namespace xtuner::cuda {
namespace {

/// 1 / rms of a row for all threads of the block. With kAdds `sum` is written, x + residual, and is what is measured.
template <typename T, int N, bool kAdds>
__device__ float row_scale(const T *x, const T *residual, T *sum, int64_t width, float epsilon) {
  float squares = 0;
  for (int64_t i = threadIdx.x * N; i < width; i += blockDim.x * N) {
    float v[N];
    load<N>(x + i, v);
    if constexpr (kAdds) {
      float r[N];
      load<N>(residual + i, r);
      for (int j = 0; j < N; ++j) v[j] = rounded<T>(v[j] + r[j]);
      store<N>(sum + i, v);
    }
    for (int j = 0; j < N; ++j) squares += v[j] * v[j];
  }
  return 1.0f / sqrtf(block_sum(squares) / static_cast<float>(width) + epsilon);
}

/// The product is in the storage type, as in the published models.
template <typename T>
__device__ float normalized(float v, float scale, float weight) {
  return weight * rounded<T>(v * scale);
}

template <typename T, int N, bool kAdds>
__global__ void norm_kernel(const T *x, const T *residual, const T *weight, T *sum, T *y, float *scales, int64_t width,
                            float epsilon) {
  int64_t row = blockIdx.x;
  x += row * width, y += row * width;
  if constexpr (kAdds) residual += row * width, sum += row * width;
  const float scale = row_scale<T, N, kAdds>(x, residual, sum, width, epsilon);
  if (threadIdx.x == 0) scales[row] = scale;
  const T *from = kAdds ? sum : x;
  for (int64_t i = threadIdx.x * N; i < width; i += blockDim.x * N) {
    float v[N], w[N];
    load<N>(from + i, v);
    load<N>(weight + i, w);
    for (int j = 0; j < N; ++j) v[j] = normalized<T>(v[j], scale, w[j]);
    store<N>(y + i, v);
  }
}

/// As norm_kernel, with the same bits, and the row's tiles as float8: eight neighbouring lanes have one, 16 elements each.
/// They read what other threads may have added.
template <typename T, int N, bool kWhole, bool kAdds>
__global__ void norm_fp8_kernel(const T *x, const T *residual, const T *weight, T *sum, T *y, float *scales,
                                uint8_t *values, float *tile_scales, int64_t width, float epsilon) {
  int64_t row = blockIdx.x;
  x += row * width, y += row * width, values += row * width;
  if constexpr (kAdds) residual += row * width, sum += row * width;
  const float scale = row_scale<T, N, kAdds>(x, residual, sum, width, epsilon);
  if (threadIdx.x == 0) scales[row] = scale;
  const T *from = kAdds ? sum : x;
  for (int64_t first = 0; first < width; first += blockDim.x * kChunk) {
    const int64_t column = first + threadIdx.x * kChunk, count = width - column;
    T chunk[kChunk], w[kChunk];
    load_chunk<kWhole>(from, column, count, chunk);
    load_chunk<kWhole>(weight, column, count, w);
    float v[kChunk];
    for (int i = 0; i < kChunk; ++i) {
      v[i] = normalized<T>(widened(chunk[i]), scale, widened(w[i]));
      chunk[i] = narrowed<T>(v[i]);
    }
    if constexpr (kWhole) {
      if (count > 0) store<kChunk>(y + column, v);
    } else {
      for (int i = 0; i < kChunk; ++i)
        if (i < count) y[column + i] = chunk[i];
    }
    const float tile = tile_scale(largest_of_row(chunk)), inverse = 1.0f / tile;
    if (threadIdx.x % kChunks == 0 && count > 0) tile_scales[column / kTile * gridDim.x + row] = tile;
    uint32_t words[4];
    quantize_chunk(chunk, words, [&](int) { return inverse; });
    store_bytes<kWhole>(values + column, words, count);
  }
}

/// Each thread keeps the weight's gradient of its columns in registers, over all rows of the block.
template <typename T, int N, int kPacks>
__global__ void __launch_bounds__(512)
    norm_backward_kernel(const T *grad, const T *x, const T *weight, const float *scales, const T *direct, T *dx,
                         float *partial, int64_t rows, int64_t width) {
  const int64_t first = threadIdx.x * N, step = blockDim.x * N;
  float dweight[kPacks][N] = {};
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const int64_t at = row * width;
    const float scale = scales[row];
    float sum = 0;
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      int64_t i = first + p * step;
      if (i >= width) break;
      float g[N], v[N], w[N];
      load<N>(grad + at + i, g);
      load<N>(x + at + i, v);
      load<N>(weight + i, w);
      for (int j = 0; j < N; ++j) {
        float product = g[j] * v[j];
        sum += product * w[j];
        dweight[p][j] += product * scale;
      }
    }
    float share = block_sum(sum) * scale * scale / static_cast<float>(width);
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      int64_t i = first + p * step;
      if (i >= width) break;
      float g[N], v[N], w[N];
      load<N>(grad + at + i, g);
      load<N>(x + at + i, v);
      load<N>(weight + i, w);
      for (int j = 0; j < N; ++j) g[j] = (g[j] * w[j] - v[j] * share) * scale;
      if (direct != nullptr) {
        load<N>(direct + at + i, v);
        for (int j = 0; j < N; ++j) g[j] += v[j];
      }
      store<N>(dx + at + i, g);
    }
  }
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    int64_t i = first + p * step;
    if (i < width) store<N>(partial + blockIdx.x * width + i, dweight[p]);
  }
}

/// 32 columns a block; eight warps sum every eighth row, and then their sums are added in order.
template <typename T>
__global__ void columns_kernel(const float *partial, T *out, int64_t rows, int64_t width) {
  __shared__ float sums[8][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t column = blockIdx.x * int64_t(32) + lane;
  float sum = 0;
  if (column < width) {
#pragma unroll 8
    for (int64_t r = warp; r < rows; r += 8) sum += partial[r * width + column];
  }
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || column >= width) return;
  for (int w = 1; w < 8; ++w) sum += sums[w][lane];
  out[column] = narrowed<T>(sum);
}

constexpr int64_t kThreads = 512, kMostPacks = 8;

}  // namespace

void rms_norm(Element element, const void *x, const void *residual, const void *weight, void *sum, void *y,
              float *scales, int64_t rows, int64_t width, float epsilon, cudaStream_t stream) {
  if (rows == 0 || width == 0) return;
  with_type(element, [&](auto type) {
    using T = typename decltype(type)::Type;
    auto run = [&](auto kernel, int64_t n) {
      XTUNER_LAUNCH(static_cast<unsigned>(rows), threads_for((width + n - 1) / n, kThreads), stream, kernel)
      (static_cast<const T *>(x), static_cast<const T *>(residual), static_cast<const T *>(weight),
       static_cast<T *>(sum), static_cast<T *>(y), scales, width, epsilon);
    };
    bool is_whole =
        are_whole_vectors(address(x), address(residual), address(weight), address(sum), address(y), width * sizeof(T));
    if (residual != nullptr)
      is_whole ? run(norm_kernel<T, kVector<T>, true>, kVector<T>) : run(norm_kernel<T, 1, true>, 1);
    else
      is_whole ? run(norm_kernel<T, kVector<T>, false>, kVector<T>) : run(norm_kernel<T, 1, false>, 1);
  });
}

void rms_norm_fp8(Element element, const void *x, const void *residual, const void *weight, void *sum, void *y,
                  float *scales, uint8_t *values, float *tile_scales, int64_t rows, int64_t width, float epsilon,
                  cudaStream_t stream) {
  if (rows == 0 || width == 0) return;
  auto launch = [&](auto type) {
    using T = typename decltype(type)::Type;
    auto run = [&](auto kernel, int64_t n) {
      XTUNER_LAUNCH(static_cast<unsigned>(rows), threads_for((width + n - 1) / n, kThreads), stream, kernel)
      (static_cast<const T *>(x), static_cast<const T *>(residual), static_cast<const T *>(weight),
       static_cast<T *>(sum), static_cast<T *>(y), scales, values, tile_scales, width, epsilon);
    };
    constexpr int N = kVector<T>;
    // Sums are those of rms_norm where only the tiles' accesses have to be narrow.
    bool has_vectors =
        are_whole_vectors(address(x), address(residual), address(weight), address(sum), address(y), width * sizeof(T));
    bool is_whole = has_vectors && are_whole_vectors(address(values), width);
    auto choose = [&](auto whole, auto vectors, auto plain) {
      is_whole ? run(whole, N) : has_vectors ? run(vectors, N) : run(plain, 1);
    };
    if (residual != nullptr)
      choose(norm_fp8_kernel<T, N, true, true>, norm_fp8_kernel<T, N, false, true>, norm_fp8_kernel<T, 1, false, true>);
    else
      choose(norm_fp8_kernel<T, N, true, false>, norm_fp8_kernel<T, N, false, false>,
             norm_fp8_kernel<T, 1, false, false>);
  };
  element == Element::bfloat16 ? launch(TypeOf<BFloat16>{}) : launch(TypeOf<float>{});
}

int64_t widest_norm(bool has_whole_vectors, int64_t element_size) {
  return kThreads * kMostPacks * (has_whole_vectors ? 16 / element_size : 1);
}

void rms_norm_backward(Element element, const void *grad, const void *x, const void *weight, const float *scales,
                       const void *direct, void *dx, void *dweight, float *partial, int64_t rows, int64_t width,
                       cudaStream_t stream) {
  if (width == 0) return;
  int64_t blocks = rows < kSumBlocks ? rows : kSumBlocks;
  with_type(element, [&](auto type) {
    using T = typename decltype(type)::Type;
    auto run = [&](auto kernel, int64_t n) {
      XTUNER_LAUNCH(static_cast<unsigned>(blocks), threads_for((width + n - 1) / n, kThreads), stream, kernel)
      (static_cast<const T *>(grad), static_cast<const T *>(x), static_cast<const T *>(weight), scales,
       static_cast<const T *>(direct), static_cast<T *>(dx), partial, rows, width);
    };
    auto choose = [&](auto one, auto four, auto eight, int64_t n) {
      int64_t packs = (width + n * kThreads - 1) / (n * kThreads);
      packs <= 1 ? run(one, n) : packs <= 4 ? run(four, n) : run(eight, n);
    };
    bool is_whole =
        are_whole_vectors(address(grad), address(x), address(weight), address(direct), address(dx), width * sizeof(T));
    constexpr int N = kVector<T>;
    if (blocks == 0) {
    } else if (is_whole) {
      choose(norm_backward_kernel<T, N, 1>, norm_backward_kernel<T, N, 4>, norm_backward_kernel<T, N, 8>, N);
    } else {
      choose(norm_backward_kernel<T, 1, 1>, norm_backward_kernel<T, 1, 4>, norm_backward_kernel<T, 1, 8>, 1);
    }
  });
  sum_columns(element, partial, dweight, blocks, width, stream);
}

void sum_columns(Element element, const float *partial, void *out, int64_t rows, int64_t width, cudaStream_t stream) {
  if (width == 0) return;
  with_type(element, [&](auto type) {
    using T = typename decltype(type)::Type;
    XTUNER_LAUNCH(blocks_for(width, 32), 256u, stream, columns_kernel<T>)(partial, static_cast<T *>(out), rows, width);
  });
}

}  // namespace xtuner::cuda
