// Tiles of float8_e4m3fn on their way from and to memory. A block of 8 x 32 threads takes 128 elements of 32 rows at a
// time: a thread 16 neighbours, whose values are 16 bytes.
#pragma once

#include "../../CTorch/operators/float8/rule.h"
#include "elements.cuh"
#include "reduce.cuh"

namespace xtuner::cuda {

constexpr int kTile = static_cast<int>(kFp8Tile), kChunk = 16, kChunks = kTile / kChunk, kPassRows = 32,
              kPasses = kTile / kPassRows, kTileWarps = kChunks * kPassRows / 32;

/// 16 neighbours from x[place], of which `count` exist, the others are zeros. With kWhole all or none do, at a multiple of
/// 16 bytes.
template <bool kWhole, typename T>
__device__ void load_chunk(const T *x, int64_t place, int64_t count, T (&out)[kChunk]) {
  if constexpr (kWhole) {
    constexpr int kCount = kChunk * sizeof(T) / 16;
    uint4 raw[kCount] = {};
    if (count > 0)
      for (int i = 0; i < kCount; ++i) raw[i] = reinterpret_cast<const uint4 *>(x + place)[i];
    memcpy(out, raw, sizeof(raw));
  } else {
    for (int i = 0; i < kChunk; ++i) out[i] = i < count ? x[place + i] : narrowed<T>(0.0f);
  }
}

/// A matrix as it lies in memory.
template <typename T>
struct PlainRows {
  using Element = T;
  const T *x;
  int64_t width;
  /// `count` of 16 neighbours, zeros beyond.
  template <bool kWhole>
  __device__ void load(int64_t row, int64_t column, int64_t count, T (&out)[kChunk]) const {
    load_chunk<kWhole>(x, row * width + column, count, out);
  }
};

/// silu(gate) * up of rows [gate, up], rounded as if it had been written.
template <typename T>
struct GatedRows {
  using Element = T;
  const T *gate_up;
  int64_t width;
  template <bool kWhole>
  __device__ void load(int64_t row, int64_t column, int64_t count, T (&out)[kChunk]) const {
    T up[kChunk];
    load_chunk<kWhole>(gate_up, row * 2 * width + column, count, out);
    load_chunk<kWhole>(gate_up, row * 2 * width + width + column, count, up);
#pragma unroll
    for (int i = 0; i < kChunk; ++i) out[i] = narrowed<T>(gated(widened(out[i]), widened(up[i])));
  }
};

template <bool kWhole>
__device__ void store_bytes(uint8_t *p, const uint32_t (&words)[4], int64_t count) {
  if constexpr (kWhole) {
    if (count > 0) store_vector(p, words[0], words[1], words[2], words[3]);
  } else {
    for (int i = 0; i < kChunk; ++i)
      if (i < count) p[i] = static_cast<uint8_t>(words[i / 4] >> (i % 4 * 8));
  }
}

/// |x| as bits: integers in the order of the numbers, NaN above infinity, so that a maximum keeps it.
template <typename T>
__device__ uint32_t magnitude(T x) {
  return bits(widened(x)) & 0x7fffffffu;
}

__device__ inline uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

/// The largest magnitude of the row's tile that eight neighbouring lanes have 16 elements each of.
template <typename T>
__device__ uint32_t largest_of_row(const T (&chunk)[kChunk]) {
  uint32_t largest = 0;
  for (int i = 0; i < kChunk; ++i) largest = larger(largest, magnitude(chunk[i]));
  for (int offset = kChunks / 2; offset > 0; offset /= 2)
    largest = larger(largest, __shfl_xor_sync(kAllLanes, largest, offset));
  return largest;
}

/// The scale of a tile whose largest magnitude has these bits.
__device__ inline float tile_scale(uint32_t largest) {
  if (largest == 0) return 1;
  const float scale = __uint_as_float(largest) / kFp8Largest;
  return scale < kFp8SmallestScale ? kFp8SmallestScale : scale;
}

/// Rounds to nearest, ties to even; NaN for NaN and what is out of range.
__device__ inline uint32_t e4m3(float v) {
  const uint32_t all = bits(v), size = all & 0x7fffffffu;
  if (size >= 1087u << 20) return 0x7f;
  // Below 2^-6: adding 2^14 leaves the subnormal's digits in the last bits.
  const uint32_t digits = size < 121u << 23 ? bits(__uint_as_float(size) + 16384.0f) - 0x46800000u
                                            : (size - (120u << 23) + 0x7ffffu + (size >> 20 & 1)) >> 20;
  return digits | (all >> 24 & 0x80u);
}

/// Two numbers, the first one in the low byte. Magnitudes are at most those that round to 448.
__device__ inline uint32_t e4m3_pair(float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  uint16_t pair;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return e4m3(low) | e4m3(high) << 8;
#endif
}

/// The number of a byte.
__device__ inline float of_e4m3(uint32_t byte) {
  const uint32_t size = byte & 0x7fu;
  // The exponents differ by 120; subnormal numbers become normal by the product.
  const float v = size == 0x7f ? __uint_as_float(0x7fffffffu) : __uint_as_float(size << 20) * 0x1p120f;
  return __uint_as_float(bits(v) | (byte & 0x80u) << 24);
}

/// The values of 16 neighbours; `inverse(i)` is one over the scale of the i-th.
template <typename T, typename Inverse>
__device__ void quantize_chunk(const T (&x)[kChunk], uint32_t (&words)[4], Inverse &&inverse) {
#pragma unroll
  for (int i = 0; i < kChunk; i += 4)
    words[i / 4] = e4m3_pair(__fmul_rn(widened(x[i]), inverse(i)), __fmul_rn(widened(x[i + 1]), inverse(i + 1))) |
                   e4m3_pair(__fmul_rn(widened(x[i + 2]), inverse(i + 2)), __fmul_rn(widened(x[i + 3]), inverse(i + 3)))
                       << 16;
}

/// 128 x 128 bytes in shared memory, written in rows and read in columns. Word w of row r lies at w ^ (r / 16 * 4), so
/// that a warp finds its words in different banks both ways.
struct TransposedTile {
  alignas(16) uint32_t words[kTile][kTile / 4];

  __device__ void put(int row, int chunk, const uint32_t (&bytes)[4]) {
    reinterpret_cast<uint4 *>(words[row])[chunk ^ (row / 16)] = make_uint4(bytes[0], bytes[1], bytes[2], bytes[3]);
  }
  /// Calls `body(column, bytes)` for four columns of each thread: rows 16 threadIdx.x ..< 16 threadIdx.x + 16.
  template <typename Body>
  __device__ void take(Body &&body) const {
    const int rows = threadIdx.x, word = threadIdx.y;
    uint32_t columns[4][4] = {};
#pragma unroll
    for (int r = 0; r < 16; ++r) {
      const uint32_t four = words[16 * rows + r][word ^ (4 * rows)];
#pragma unroll
      for (int c = 0; c < 4; ++c) columns[c][r / 4] |= (four >> (8 * c) & 0xffu) << (r % 4 * 8);
    }
#pragma unroll
    for (int c = 0; c < 4; ++c) body(4 * word + c, columns[c]);
  }
};

}  // namespace xtuner::cuda
