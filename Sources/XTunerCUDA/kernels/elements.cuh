// Elements of tensors on the device: float arithmetic on stored types, and accesses of 16 bytes.
//
// Kernels are templates over the stored type and the number of elements that a thread takes at once: as many as
// 16 bytes hold, or one where addresses or widths do not allow that.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

#include "launch.h"

namespace xtuner::cuda {

using BFloat16 = __nv_bfloat16;
using Half = __half;

__device__ inline float widened(float x) { return x; }
__device__ inline float widened(BFloat16 x) { return __bfloat162float(x); }
__device__ inline float widened(Half x) { return __half2float(x); }

template <typename T>
__device__ T narrowed(float x);
template <>
__device__ inline float narrowed<float>(float x) {
  return x;
}
template <>
__device__ inline BFloat16 narrowed<BFloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ inline Half narrowed<Half>(float x) {
  return __float2half_rn(x);
}

/// The value after rounding to `T`, widened again.
template <typename T>
__device__ float rounded(float x) {
  return widened(narrowed<T>(x));
}

/// silu(gate) * up.
__device__ inline float gated(float gate, float up) { return gate / (expf(-gate) + 1.0f) * up; }

/// Elements of `T` in 16 bytes.
template <typename T>
constexpr int kVector = 16 / sizeof(T);

/// N neighbours as floats. From several on the address is a multiple of 16 bytes.
template <int N, typename T>
__device__ void load(const T *p, float (&out)[N]) {
  if constexpr (N * sizeof(T) % 16 == 0) {
    constexpr int kCount = N * sizeof(T) / 16;
    uint4 raw[kCount];
    for (int i = 0; i < kCount; ++i) raw[i] = reinterpret_cast<const uint4 *>(p)[i];
    T elements[N];
    memcpy(elements, raw, sizeof(raw));
    for (int i = 0; i < N; ++i) out[i] = widened(elements[i]);
  } else {
    for (int i = 0; i < N; ++i) out[i] = widened(p[i]);
  }
}

__device__ inline uint32_t bits(float x) { return __float_as_uint(x); }
__device__ inline uint32_t bits(BFloat16 x) { return __bfloat16_as_ushort(x); }
__device__ inline uint32_t bits(Half x) { return __half_as_ushort(x); }

/// One store of 16 bytes to device memory. The compiler splits some of the plain ones into four.
__device__ inline void store_vector(void *p, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
#ifdef XTUNER_EMULATED
  *static_cast<uint4 *>(p) = make_uint4(a, b, c, d);
#else
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};"
               :
               : "l"(__cvta_generic_to_global(p)), "r"(a), "r"(b), "r"(c), "r"(d)
               : "memory");
#endif
}

/// Rounds N neighbours.
template <int N, typename T>
__device__ void store(T *p, const float (&values)[N]) {
  if constexpr (N * sizeof(T) % 16 == 0) {
    constexpr int kCount = N * sizeof(T) / 16, kInWord = 4 / sizeof(T);
    uint32_t words[4 * kCount];
    for (int i = 0; i < 4 * kCount; ++i) {
      words[i] = bits(narrowed<T>(values[i * kInWord]));
      if constexpr (kInWord == 2) words[i] |= bits(narrowed<T>(values[i * 2 + 1])) << 16;
    }
    for (int i = 0; i < kCount; ++i)
      store_vector(p + i * kVector<T>, words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]);
  } else {
    for (int i = 0; i < N; ++i) p[i] = narrowed<T>(values[i]);
  }
}

/// Stops the kernel where an index that came from the caller would read or write anywhere.
__device__ inline void check_index(int64_t index, int64_t limit) {
  if (static_cast<uint64_t>(index) >= static_cast<uint64_t>(limit)) XTUNER_TRAP("an index is outside its range");
}

template <typename T>
struct TypeOf {
  using Type = T;
};

/// Calls `body(TypeOf<T>{})` for the stored type.
template <typename Body>
void with_type(Element element, Body &&body) {
  switch (element) {
    case Element::bfloat16:
      return body(TypeOf<BFloat16>{});
    case Element::float16:
      return body(TypeOf<Half>{});
    case Element::float32:
      return body(TypeOf<float>{});
  }
}

/// Whether all of these are multiples of 16 bytes: addresses, or numbers of bytes.
template <typename... Values>
bool are_whole_vectors(Values... values) {
  return ((static_cast<uint64_t>(values) % 16 == 0) && ...);
}
inline uint64_t address(const void *p) { return reinterpret_cast<uint64_t>(p); }

inline unsigned blocks_for(int64_t count, int64_t per_block) {
  return static_cast<unsigned>((count + per_block - 1) / per_block);
}

/// Threads of a block for `count` items of work: whole warps, at most `limit`.
inline unsigned threads_for(int64_t count, int64_t limit) {
  int64_t whole = (count + 31) / 32 * 32;
  return static_cast<unsigned>(whole < 32 ? 32 : whole > limit ? limit : whole);
}

/// Threads of a block over columns and rows: narrow rows share a block.
inline dim3 row_tile(int64_t items) {
  unsigned columns = 1;
  while (columns < 256 && columns < items) columns *= 2;
  return dim3(columns, 256 / columns);
}

}  // namespace xtuner::cuda
