// Quantisation to float8_e4m3fn by the rule of operators/float8/rule.h of CTorch, and back: each one launch, each element is read once.
#include <type_traits>

#include "float8.cuh"
#include "kernels.h"

namespace xtuner::cuda {
namespace {

template <typename Source, bool kWhole>
__global__ void rows_kernel(Source x, uint8_t *values, float *scales, int64_t rows, int64_t width) {
  const int64_t tile = blockIdx.x, column = tile * kTile + threadIdx.x * kChunk;
  for (int64_t first = blockIdx.y * int64_t(kPassRows); first < rows; first += gridDim.y * int64_t(kPassRows)) {
    const int64_t row = first + threadIdx.y, count = row < rows ? width - column : 0;
    typename Source::Element chunk[kChunk];
    x.template load<kWhole>(row, column, count, chunk);
    const float scale = tile_scale(largest_of_row(chunk)), inverse = 1.0f / scale;
    if (threadIdx.x == 0 && row < rows) scales[tile * rows + row] = scale;
    uint32_t words[4];
    quantize_chunk(chunk, words, [&](int) { return inverse; });
    store_bytes<kWhole>(values + row * width + column, words, count);
  }
}

/// blockIdx: tile of columns, band of rows, matrix.
template <typename T, bool kWhole>
__global__ void blocks_kernel(const T *x, uint8_t *values, float *scales, int64_t rows, int64_t width) {
  __shared__ uint32_t of_warps[kTileWarps];
  const int64_t column = blockIdx.x * int64_t(kTile) + threadIdx.x * kChunk, first = blockIdx.y * int64_t(kTile);
  const int thread = threadIdx.y * kChunks + threadIdx.x;
  const int64_t place = blockIdx.z * rows * width;
  T chunks[kPasses][kChunk];
  uint32_t largest = 0;
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    const int64_t row = first + pass * kPassRows + threadIdx.y;
    load_chunk<kWhole>(x, place + row * width + column, row < rows ? width - column : 0, chunks[pass]);
    for (int i = 0; i < kChunk; ++i) largest = larger(largest, magnitude(chunks[pass][i]));
  }
  for (int offset = 16; offset > 0; offset /= 2) largest = larger(largest, __shfl_xor_sync(kAllLanes, largest, offset));
  if (thread % 32 == 0) of_warps[thread / 32] = largest;
  __syncthreads();
  for (int warp = 0; warp < kTileWarps; ++warp) largest = larger(largest, of_warps[warp]);
  const float scale = tile_scale(largest), inverse = 1.0f / scale;
  if (thread == 0) scales[(blockIdx.z * int64_t(gridDim.y) + blockIdx.y) * gridDim.x + blockIdx.x] = scale;
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    const int64_t row = first + pass * kPassRows + threadIdx.y;
    uint32_t words[4];
    quantize_chunk(chunks[pass], words, [&](int) { return inverse; });
    store_bytes<kWhole>(values + place + row * width + column, words, row < rows ? width - column : 0);
  }
}

/// At most 128 rows of one group.
struct TileRows {
  int64_t begin;
  int count;
};

/// The rows that the `tile`-th tile of all groups has; none beyond the last one. A warp goes through the groups.
__device__ TileRows rows_of_tile(const int64_t *offsets, int64_t groups, int64_t rows, int tile) {
  __shared__ TileRows found;
  const int lane = threadIdx.y * kChunks + threadIdx.x;
  if (offsets == nullptr) {
    const int64_t begin = tile * int64_t(kTile), left = rows - begin;
    return {begin, static_cast<int>(left < kTile ? left : kTile)};
  }
  if (lane < 32) {
    if (lane == 0) found = {0, 0};
    __syncwarp();
    int before = 0;
    for (int64_t first = 0; first < groups; first += 32) {
      const int64_t e = first + lane, begin = e > 0 && e < groups ? offsets[e - 1] : 0,
                    end = e < groups ? offsets[e] : begin;
      if (end < begin || (e == groups - 1 && end != rows)) XTUNER_TRAP("offsets do not rise to the number of rows");
      const int tiles = static_cast<int>((end - begin + kTile - 1) / kTile);
      int sum = tiles;
      for (int offset = 1; offset < 32; offset *= 2) {
        const int other = __shfl_up_sync(kAllLanes, sum, offset);
        if (lane >= offset) sum += other;
      }
      const int start = before + sum - tiles;
      if (start <= tile && tile < start + tiles) {
        const int64_t row = begin + (tile - start) * int64_t(kTile), left = end - row;
        found = {row, static_cast<int>(left < kTile ? left : kTile)};
      }
      before += __shfl_sync(kAllLanes, sum, 31);
    }
  }
  __syncthreads();
  return found;
}

/// blockIdx: tile of columns, tile of rows. Tiles without rows get zeros. With kRows the same elements are quantised in
/// rows too.
template <typename Source, bool kWhole, bool kRows>
__global__ void columns_kernel(Source x, const int64_t *offsets, uint8_t *values, float *scales, uint8_t *row_values,
                               float *row_scales, int64_t rows, int64_t width, int64_t padded, int64_t groups) {
  __shared__ TransposedTile tile;
  __shared__ uint32_t of_warps[kTileWarps][kTile];
  __shared__ float inverses[kTile];
  const TileRows part = rows_of_tile(offsets, groups, rows, static_cast<int>(blockIdx.y));
  const int64_t left = blockIdx.x * int64_t(kTile), column = left + threadIdx.x * kChunk;
  const int thread = threadIdx.y * kChunks + threadIdx.x, own = threadIdx.x * kChunk;
  typename Source::Element chunks[kPasses][kChunk];
  uint32_t largest[kChunk] = {};
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    const int row = pass * kPassRows + static_cast<int>(threadIdx.y);
    const int64_t count = row < part.count ? width - column : 0;
    x.template load<kWhole>(part.begin + row, column, count, chunks[pass]);
    if constexpr (kRows) {
      const float scale = tile_scale(largest_of_row(chunks[pass])), inverse = 1.0f / scale;
      if (threadIdx.x == 0 && row < part.count) row_scales[blockIdx.x * rows + part.begin + row] = scale;
      uint32_t words[4];
      quantize_chunk(chunks[pass], words, [&](int) { return inverse; });
      store_bytes<kWhole>(row_values + (part.begin + row) * width + column, words, count);
    }
#pragma unroll
    for (int i = 0; i < kChunk; ++i) largest[i] = larger(largest[i], magnitude(chunks[pass][i]));
  }
#pragma unroll
  for (int i = 0; i < kChunk; ++i) {
    for (int offset = kChunks; offset < 32; offset *= 2)
      largest[i] = larger(largest[i], __shfl_xor_sync(kAllLanes, largest[i], offset));
    if (thread % 32 < kChunks) of_warps[thread / 32][own + i] = largest[i];
  }
  __syncthreads();
  if (thread < kTile) {
    uint32_t most = 0;
    for (int warp = 0; warp < kTileWarps; ++warp) most = larger(most, of_warps[warp][thread]);
    const float scale = tile_scale(most);
    inverses[thread] = 1.0f / scale;
    if (left + thread < width) scales[blockIdx.y * width + left + thread] = scale;
  }
  __syncthreads();
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    uint32_t words[4];
    quantize_chunk(chunks[pass], words, [&](int i) { return inverses[own + i]; });
    tile.put(pass * kPassRows + static_cast<int>(threadIdx.y), threadIdx.x, words);
  }
  __syncthreads();
  tile.take([&](int c, const uint32_t(&words)[4]) {
    uint8_t *to = values + (left + c) * padded + blockIdx.y * int64_t(kTile) + threadIdx.x * kChunk;
    store_bytes<true>(to, words, left + c < width ? kChunk : 0);
  });
}

template <typename T, bool kWhole>
__global__ void dequantize_kernel(const uint8_t *values, const float *scales, T *out, int64_t rows, int64_t width,
                                  ScaleSteps steps) {
  const int64_t column = blockIdx.x * int64_t(kTile) + threadIdx.x * kChunk, place = blockIdx.z * rows * width;
  const float *of_tile = scales + blockIdx.z * steps.matrix + blockIdx.x * steps.tile;
  for (int64_t row = blockIdx.y * int64_t(kPassRows) + threadIdx.y; row < rows; row += gridDim.y * int64_t(kPassRows)) {
    if (column >= width) return;
    const float scale = of_tile[row / steps.height * steps.band];
    const uint8_t *from = values + place + row * width + column;
    T *to = out + place + row * width + column;
    float numbers[kChunk];
    if constexpr (kWhole) {
      const uint4 raw = *reinterpret_cast<const uint4 *>(from);
      const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
      for (int i = 0; i < kChunk; ++i) numbers[i] = __fmul_rn(of_e4m3(words[i / 4] >> (i % 4 * 8) & 0xffu), scale);
      store<kChunk>(to, numbers);
    } else {
      for (int i = 0; i < kChunk && column + i < width; ++i) to[i] = narrowed<T>(__fmul_rn(of_e4m3(from[i]), scale));
    }
  }
}

/// Calls `body(TypeOf<T>, is_whole)` with the second one as a type.
template <typename Body>
void with_fp8_type(Element element, bool is_whole, Body &&body) {
  auto with = [&](auto type) { is_whole ? body(type, std::true_type{}) : body(type, std::false_type{}); };
  element == Element::bfloat16 ? with(TypeOf<BFloat16>{}) : with(TypeOf<float>{});
}

/// Calls `body` with the matrix to be quantised, as a type of its own.
template <typename T, typename Body>
void with_source(Fp8Source source, const void *x, int64_t width, Body &&body) {
  auto elements = static_cast<const T *>(x);
  source == Fp8Source::swiglu ? body(GatedRows<T>{elements, width}) : body(PlainRows<T>{elements, width});
}

const dim3 kTileThreads(kChunks, kPassRows);
/// Blocks along y at most; kernels over rows go on from there.
unsigned row_blocks(int64_t rows) {
  const int64_t blocks = (rows + kPassRows - 1) / kPassRows;
  return static_cast<unsigned>(blocks < kMostBlocksY ? blocks : kMostBlocksY);
}

}  // namespace

void fp8_quantize_rows(Element element, Fp8Source source, const void *x, uint8_t *values, float *scales, int64_t rows,
                       int64_t width, cudaStream_t stream) {
  if (rows * width == 0) return;
  with_fp8_type(element, are_whole_vectors(address(x), address(values), width), [&](auto type, auto is_whole) {
    using T = typename decltype(type)::Type;
    constexpr bool kWhole = decltype(is_whole)::value;
    dim3 grid(blocks_for(width, kTile), row_blocks(rows));
    with_source<T>(source, x, width, [&](auto matrix) {
      XTUNER_LAUNCH(grid, kTileThreads, stream, rows_kernel<decltype(matrix), kWhole>)
      (matrix, values, scales, rows, width);
    });
  });
}

void fp8_quantize_blocks(Element element, const void *x, uint8_t *values, float *scales, Matrices shape,
                         cudaStream_t stream) {
  if (shape.count * shape.rows * shape.width == 0) return;
  with_fp8_type(element, are_whole_vectors(address(x), address(values), shape.width), [&](auto type, auto is_whole) {
    using T = typename decltype(type)::Type;
    constexpr bool kWhole = decltype(is_whole)::value;
    dim3 grid(blocks_for(shape.width, kTile), blocks_for(shape.rows, kTile), static_cast<unsigned>(shape.count));
    XTUNER_LAUNCH(grid, kTileThreads, stream, blocks_kernel<T, kWhole>)
    (static_cast<const T *>(x), values, scales, shape.rows, shape.width);
  });
}

void fp8_quantize_columns(Element element, Fp8Source source, const void *x, const int64_t *offsets, uint8_t *values,
                          float *scales, Fp8Rows in_rows, int64_t rows, int64_t width, int64_t padded, int64_t groups,
                          cudaStream_t stream) {
  if (width * padded == 0) return;
  bool is_whole = are_whole_vectors(address(x), address(in_rows.values), width);
  with_fp8_type(element, is_whole, [&](auto type, auto is_whole) {
    using T = typename decltype(type)::Type;
    constexpr bool kWhole = decltype(is_whole)::value;
    dim3 grid(blocks_for(width, kTile), blocks_for(padded, kTile));
    with_source<T>(source, x, width, [&](auto matrix) {
      auto run = [&](auto kernel) {
        XTUNER_LAUNCH(grid, kTileThreads, stream, kernel)
        (matrix, offsets, values, scales, in_rows.values, in_rows.scales, rows, width, padded, groups);
      };
      using Matrix = decltype(matrix);
      in_rows.values ? run(columns_kernel<Matrix, kWhole, true>) : run(columns_kernel<Matrix, kWhole, false>);
    });
  });
}

void fp8_dequantize(Element element, const uint8_t *values, const float *scales, void *out, Matrices shape,
                    ScaleSteps steps, cudaStream_t stream) {
  if (shape.count * shape.rows * shape.width == 0) return;
  with_fp8_type(element, are_whole_vectors(address(values), address(out), shape.width), [&](auto type, auto is_whole) {
    using T = typename decltype(type)::Type;
    constexpr bool kWhole = decltype(is_whole)::value;
    dim3 grid(blocks_for(shape.width, kTile), row_blocks(shape.rows), static_cast<unsigned>(shape.count));
    XTUNER_LAUNCH(grid, kTileThreads, stream, dequantize_kernel<T, kWhole>)
    (values, scales, static_cast<T *>(out), shape.rows, shape.width, steps);
  });
}

}  // namespace xtuner::cuda
