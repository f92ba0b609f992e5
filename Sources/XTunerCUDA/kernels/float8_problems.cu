// What products of float8 groups need beside the product itself: sizes and addresses of every group, made on the device
// from the groups' ends, scales in the order that the product reads, and transposed values.
#include <type_traits>

#include "float8.cuh"
#include "float8_products.h"
#include "kernels.h"

namespace xtuner::cuda {
namespace {

constexpr int kThreads = 256;

struct GroupRows {
  int64_t begin, end;
};

__device__ GroupRows rows_of_group(const int64_t *offsets, int64_t e, int64_t groups, int64_t rows) {
  if (offsets == nullptr) return {0, rows};
  const int64_t begin = e > 0 ? offsets[e - 1] : 0, end = offsets[e];
  if (end < begin || (e == groups - 1 && end != rows)) XTUNER_TRAP("offsets do not rise to the number of rows");
  return {begin, end};
}

/// The group that has a row, by bisection: the first one that ends beyond it.
__device__ int64_t group_of(const int64_t *offsets, int64_t groups, int64_t row) {
  int64_t low = 0, high = groups - 1;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (offsets[middle] > row)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

/// A thread a row for its scales, and a thread a group for the group's problem.
__global__ void row_problems_kernel(Fp8RowProducts p, Fp8Problems problems) {
  const int64_t i = blockIdx.x * int64_t(kThreads) + threadIdx.x, tiles = (p.k + kTile - 1) / kTile,
                bands = (p.n + kTile - 1) / kTile;
  if (i < p.groups) {
    const GroupRows group = rows_of_group(p.offsets, i, p.groups, p.rows);
    problems.sizes[i] = {static_cast<int>(group.end - group.begin), static_cast<int>(p.n), static_cast<int>(p.k)};
    problems.a[i] = p.x + group.begin * p.k;
    problems.b[i] = p.weight + i * p.n * p.k;
    problems.a_scales[i] = p.group_scales + group.begin * tiles;
    problems.b_scales[i] = p.weight_scales + i * bands * tiles;
    problems.out[i] = static_cast<BFloat16 *>(p.out) + group.begin * p.n;
    problems.a_strides[i] = problems.b_strides[i] = p.k;
    problems.out_strides[i] = p.n;
  }
  if (i < p.rows) {
    const int64_t e = p.offsets == nullptr ? 0 : group_of(p.offsets, p.groups, i);
    const GroupRows group = rows_of_group(p.offsets, e, p.groups, p.rows);
    float *to = p.group_scales + group.begin * tiles + (i - group.begin);
#pragma unroll 4
    for (int64_t t = 0; t < tiles; ++t) to[t * (group.end - group.begin)] = p.x_scales[t * p.rows + i];
  }
}

/// A thread a group. Groups before it take whole tiles.
__global__ void weight_problems_kernel(Fp8WeightProducts p, Fp8Problems problems) {
  const int64_t i = blockIdx.x * int64_t(kThreads) + threadIdx.x;
  if (i >= p.groups) return;
  int64_t tile = 0, count = p.padded;
  if (p.offsets != nullptr) {
    for (int64_t e = 0; e < i; ++e) tile += (p.offsets[e] - (e > 0 ? p.offsets[e - 1] : 0) + kTile - 1) / kTile;
    count = p.offsets[i] - (i > 0 ? p.offsets[i - 1] : 0);
  }
  const int64_t tiles = (count + kTile - 1) / kTile;
  if (count < 0 || (tile + tiles) * kTile > p.padded) XTUNER_TRAP("offsets do not fit the quantised columns");
  // A group without rows has no product; its gradient is cleared elsewhere.
  problems.sizes[i] = {count > 0 ? static_cast<int>(p.n) : 0, static_cast<int>(p.k), static_cast<int>(tiles * kTile)};
  problems.a[i] = p.grad + tile * kTile;
  problems.b[i] = p.x + tile * kTile;
  problems.a_scales[i] = p.grad_scales + tile * p.n;
  problems.b_scales[i] = p.x_scales + tile * p.k;
  problems.out[i] = static_cast<uint8_t *>(p.out) + i * p.n * p.k * p.out_size;
  problems.a_strides[i] = problems.b_strides[i] = p.padded;
  problems.out_strides[i] = p.k;
}

/// blockIdx: tile of columns, band of rows, matrix.
__global__ void transpose_kernel(const uint8_t *values, uint8_t *out, int64_t rows, int64_t width) {
  __shared__ TransposedTile tile;
  const int64_t place = blockIdx.z * rows * width, left = blockIdx.x * int64_t(kTile),
                first = blockIdx.y * int64_t(kTile), column = left + threadIdx.x * kChunk;
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    const int row = pass * kPassRows + static_cast<int>(threadIdx.y);
    uint4 raw = {};
    if (first + row < rows && column < width)
      raw = *reinterpret_cast<const uint4 *>(values + place + (first + row) * width + column);
    const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
    tile.put(row, threadIdx.x, words);
  }
  __syncthreads();
  tile.take([&](int c, const uint32_t(&words)[4]) {
    const int64_t row = first + threadIdx.x * kChunk;
    store_bytes<true>(out + place + (left + c) * rows + row, words, left + c < width ? rows - row : 0);
  });
}

}  // namespace

int64_t fp8_problem_bytes(int64_t groups) {
  return groups * static_cast<int64_t>(sizeof(Fp8Sizes) + 8 * sizeof(int64_t)) + 16;
}

Fp8Problems fp8_problems_in(void *memory, int64_t groups) {
  // The arrays of 8 bytes first, so that all are aligned.
  auto next = static_cast<uint8_t *>(memory);
  auto take = [&](auto *&array) {
    array = reinterpret_cast<std::remove_reference_t<decltype(array)>>(next);
    next += groups * static_cast<int64_t>(sizeof(*array));
  };
  Fp8Problems problems{};
  problems.count = groups;
  take(problems.a);
  take(problems.b);
  take(problems.a_scales);
  take(problems.b_scales);
  take(problems.out);
  take(problems.a_strides);
  take(problems.b_strides);
  take(problems.out_strides);
  take(problems.sizes);
  return problems;
}

void fp8_row_problems(const Fp8RowProducts &products, const Fp8Problems &problems, cudaStream_t stream) {
  const int64_t count = products.rows > products.groups ? products.rows : products.groups;
  XTUNER_LAUNCH(blocks_for(count, kThreads), unsigned(kThreads), stream, row_problems_kernel)(products, problems);
}

void fp8_weight_problems(const Fp8WeightProducts &products, const Fp8Problems &problems, cudaStream_t stream) {
  XTUNER_LAUNCH(blocks_for(products.groups, kThreads), unsigned(kThreads), stream, weight_problems_kernel)
  (products, problems);
}

void fp8_transpose(const uint8_t *values, uint8_t *out, int64_t count, int64_t rows, int64_t width,
                   cudaStream_t stream) {
  if (count * rows * width == 0) return;
  dim3 grid(blocks_for(width, kTile), blocks_for(rows, kTile), static_cast<unsigned>(count));
  XTUNER_LAUNCH(grid, dim3(kChunks, kPassRows), stream, transpose_kernel)(values, out, rows, width);
}

}  // namespace xtuner::cuda
