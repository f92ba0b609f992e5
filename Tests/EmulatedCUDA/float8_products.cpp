// Products of groups in place of CUTLASS's: plain loops over the same sizes, addresses and layouts of scales.
#include "../../Sources/XTunerCUDA/kernels/float8_products.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Float8_e4m3fn.h>
#include <cuda_runtime.h>

#include <array>
#include <cstring>

namespace xtuner::cuda {
namespace {

constexpr int64_t kTile = 128, kWorkspace = 257;

/// The numbers of all bytes.
const std::array<float, 256> kNumbers = [] {
  std::array<float, 256> numbers;
  for (int i = 0; i < 256; ++i) numbers[i] = c10::Float8_e4m3fn(uint8_t(i), c10::Float8_e4m3fn::from_bits());
  return numbers;
}();

/// The sum of 128 products times both scales, tile after tile.
float element(const Fp8Problems &p, int64_t e, Fp8Output output, int64_t row, int64_t column) {
  const auto [m, n, k] = p.sizes[e];
  int64_t tiles = (k + kTile - 1) / kTile;
  const uint8_t *a = p.a[e] + row * p.a_strides[e], *b = p.b[e] + column * p.b_strides[e];
  float sum = 0;
  for (int64_t t = 0; t < tiles; ++t) {
    float part = 0;
    const float *numbers = kNumbers.data();
    for (int64_t i = t * kTile; i < k && i < (t + 1) * kTile; ++i) part += numbers[a[i]] * numbers[b[i]];
    float b_scale =
        output == Fp8Output::rows ? p.b_scales[e][column / kTile * tiles + t] : p.b_scales[e][t * n + column];
    sum += part * (p.a_scales[e][t * m + row] * b_scale);
  }
  return sum;
}

bool is_aligned(const void *address, int64_t bytes) {
  return (reinterpret_cast<uintptr_t>(address) | static_cast<uintptr_t>(bytes)) % 16 == 0;
}

}  // namespace

const char *current_device(CurrentDevice &current) {
  current = {9, 0, 7};
  return nullptr;
}

int64_t fp8_workspace(Fp8Output, int64_t, int) { return kWorkspace; }

const char *fp8_multiply(Fp8Output output, const Fp8Problems &p, int processors, void *workspace, cudaStream_t) {
  if (processors < 1) return "no multiprocessors";
  std::memset(workspace, 1, kWorkspace);
  int64_t size = output == Fp8Output::float_weights ? 4 : 2;
  for (int64_t e = 0; e < p.count; ++e) {
    const auto [m, n, k] = p.sizes[e];
    if (m == 0) continue;
    if (k == 0 || !is_aligned(p.a[e], p.a_strides[e]) || !is_aligned(p.b[e], p.b_strides[e]) ||
        !is_aligned(p.out[e], p.out_strides[e] * size))
      emulated::trap("an operand that the tensor memory accelerator does not take");
    for (int64_t row = 0; row < m; ++row)
      for (int64_t column = 0; column < n; ++column) {
        float value = element(p, e, output, row, column);
        int64_t place = row * p.out_strides[e] + column;
        if (size == 4)
          static_cast<float *>(p.out[e])[place] = value;
        else
          static_cast<c10::BFloat16 *>(p.out[e])[place] = value;
      }
  }
  return nullptr;
}

}  // namespace xtuner::cuda
