// CUDA's language for the host's compiler: what the kernels of Sources/XTunerCUDA use of it, and nothing else. See
// emulator.h for how they run.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "emulator.h"

#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(...)

using cudaStream_t = void *;

struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }
inline uint32_t __float_as_uint(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  return bits;
}
inline float __uint_as_float(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof(x));
  return x;
}
inline float __fmul_rn(float a, float b) { return a * b; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }

inline void __syncthreads() { emulated::wait_for_block(); }
inline void __syncwarp() { emulated::wait_for_warp(); }

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int offset) {
  return emulated::exchanged(mask, value, emulated::lane() ^ offset);
}
template <typename T>
T __shfl_sync(unsigned mask, T value, int lane) {
  return emulated::exchanged(mask, value, lane);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, int offset) {
  int lane = emulated::lane();
  return emulated::exchanged(mask, value, lane < offset ? lane : lane - offset);
}
inline unsigned __match_any_sync(unsigned mask, int value) {
  unsigned same = 0;
  for (int lane = 0; lane < 32; ++lane) same |= unsigned(emulated::exchanged(mask, value, lane) == value) << lane;
  return same;
}
