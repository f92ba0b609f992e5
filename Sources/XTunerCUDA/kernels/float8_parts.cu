// Quantisation of a part of matrices to float8_e4m3fn: the elements from `start` on, flat. See float8/parts.h of the
// CPU's operators. A block of threads takes what the part has of one block of 128 x 128.
#include "float8.cuh"
#include "kernels.h"

namespace xtuner::cuda {
namespace {

constexpr int kThreads = 256;

/// What this block of threads has to look at: rows and columns of its block of the matrices.
struct Place {
  int64_t first;  // the block's first element, counted in the part; may be negative
  int64_t height, width;
  /// Whether the part has any of it.
  bool is_there;
};

__device__ inline int64_t shorter(int64_t a, int64_t b) { return a < b ? a : b; }

__device__ inline Place place_of(const FlatPart &part) {
  const int64_t tiles = (part.width + kTile - 1) / kTile, bands = (part.rows + kTile - 1) / kTile;
  const int64_t tile = blockIdx.x % tiles, band = blockIdx.x / tiles;
  const int64_t row = band % bands * kTile, column = tile * kTile;
  Place place;
  place.first = (band / bands * part.rows + row) * part.width + column - part.start;
  place.height = shorter(kTile, part.rows - row);
  place.width = shorter(kTile, part.width - column);
  const int64_t last = place.first + (place.height - 1) * part.width + place.width - 1;
  place.is_there = last >= 0 && place.first < part.count;
  return place;
}

/// Calls `body` with each element of the part that is in the block.
template <typename Body>
__device__ void each_element(const FlatPart &part, const Place &place, Body body) {
  const int column = threadIdx.x % kTile;
  if (column >= place.width) return;
  for (int row = threadIdx.x / kTile; row < place.height; row += kThreads / kTile) {
    const int64_t element = place.first + row * part.width + column;
    if (element >= 0 && element < part.count) body(element);
  }
}

template <typename T>
__global__ void part_magnitudes_kernel(const T *x, uint32_t *largest, FlatPart part) {
  __shared__ uint32_t found[kThreads];
  const Place place = place_of(part);
  uint32_t own = 0;
  if (place.is_there) each_element(part, place, [&](int64_t i) { own = larger(own, magnitude(x[i])); });
  found[threadIdx.x] = own;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) found[threadIdx.x] = larger(found[threadIdx.x], found[threadIdx.x + half]);
    __syncthreads();
  }
  if (threadIdx.x == 0) largest[blockIdx.x] = found[0];
}

template <typename T>
__global__ void quantize_part_kernel(const T *x, uint8_t *values, const float *scales, FlatPart part) {
  const Place place = place_of(part);
  if (!place.is_there) return;
  const float inverse = 1.0f / scales[blockIdx.x];
  each_element(part, place,
               [&](int64_t i) { values[i] = static_cast<uint8_t>(e4m3(__fmul_rn(widened(x[i]), inverse))); });
}

unsigned block_count(const FlatPart &part) {
  return static_cast<unsigned>(part.groups * ((part.rows + kTile - 1) / kTile) * ((part.width + kTile - 1) / kTile));
}

}  // namespace

void fp8_part_magnitudes(Element element, const void *x, int32_t *largest, FlatPart part, cudaStream_t stream) {
  with_type(element, [&](auto type) {
    using T = typename decltype(type)::Type;
    XTUNER_LAUNCH(block_count(part), dim3(kThreads), stream, part_magnitudes_kernel<T>)
    (static_cast<const T *>(x), reinterpret_cast<uint32_t *>(largest), part);
  });
}

void fp8_quantize_part(Element element, const void *x, void *values, const float *scales, FlatPart part,
                       cudaStream_t stream) {
  with_type(element, [&](auto type) {
    using T = typename decltype(type)::Type;
    XTUNER_LAUNCH(block_count(part), dim3(kThreads), stream, quantize_part_kernel<T>)
    (static_cast<const T *>(x), static_cast<uint8_t *>(values), scales, part);
  });
}

}  // namespace xtuner::cuda
