// Quantisation of a part of matrices to float8_e4m3fn: the elements from `start` on, flat. See fp8_parts.h of the CPU's
// operators. A block of threads takes what the part has of one block of 128 x 128.
#include "elements.cuh"
#include "kernels.h"

namespace xtuner::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kTile = 128;

/// What this block of threads has to look at: rows and columns of its block of the matrices.
struct Place {
  int64_t first;  // the block's first element, counted in the part; may be negative
  int64_t height, width;
  /// Whether the part has any of it.
  bool is_there;
};

__device__ inline int64_t shorter(int64_t a, int64_t b) { return a < b ? a : b; }
__device__ inline uint32_t largest_of(uint32_t a, uint32_t b) { return a > b ? a : b; }

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
  for (int64_t i = threadIdx.x; i < place.height * place.width; i += kThreads) {
    const int64_t element = place.first + i / place.width * part.width + i % place.width;
    if (element >= 0 && element < part.count) body(element);
  }
}

template <typename T>
__global__ void part_magnitudes_kernel(const T *x, uint32_t *largest, FlatPart part) {
  __shared__ uint32_t found[kThreads];
  const Place place = place_of(part);
  uint32_t own = 0;
  // Bits of numbers without a sign are in their order, NaN above infinity.
  if (place.is_there)
    each_element(part, place, [&](int64_t i) { own = largest_of(own, bits(widened(x[i])) & 0x7fffffffu); });
  found[threadIdx.x] = own;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) found[threadIdx.x] = largest_of(found[threadIdx.x], found[threadIdx.x + half]);
    __syncthreads();
  }
  if (threadIdx.x == 0) largest[blockIdx.x] = found[0];
}

/// Rounds to nearest, ties to even; NaN for NaN and what is out of range. As the CPU's kernel.
__device__ inline uint8_t to_e4m3(float x) {
  const uint32_t all = bits(x), magnitude = all & 0x7fffffffu;
  uint32_t digits;
  if (magnitude >= (1087u << 20))
    digits = 0x7f;
  else if (magnitude < (121u << 23))  // below 2^-6: adding 2^14 leaves the subnormal's digits in the last bits
    digits = bits(__uint_as_float(magnitude) + 16384.0f) - 0x46800000u;
  else
    digits = (magnitude - (120u << 23) + 0x7ffffu + ((magnitude >> 20) & 1)) >> 20;
  return static_cast<uint8_t>(digits | ((all >> 24) & 0x80u));
}

template <typename T>
__global__ void quantize_part_kernel(const T *x, uint8_t *values, const float *scales, FlatPart part) {
  const Place place = place_of(part);
  if (!place.is_there) return;
  const float inverse = 1.0f / scales[blockIdx.x];
  each_element(part, place, [&](int64_t i) { values[i] = to_e4m3(widened(x[i]) * inverse); });
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
