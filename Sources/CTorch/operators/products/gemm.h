// Products of bfloat16 matrices with float32 sums, many in one parallel region.
#pragma once

#include <cstdint>
#include <vector>

#include "../bf16.h"

namespace xtuner::cpu {

/// A bfloat16 matrix in memory: rows of neighbouring elements, `stride` apart. Transposed, its rows are the
/// columns of what is meant.
struct Bf16Matrix {
  const c10::BFloat16 *data;
  int64_t stride;
  bool is_transposed;
};

/// C = A B, or C += A B, with A [m, k], B [k, n] and C [m, n]; one of the two outputs is null.
struct Bf16Product {
  int64_t m, n, k;
  Bf16Matrix a, b;
  c10::BFloat16 *out;
  float *wide_out;
  int64_t out_stride;
  /// Add to `wide_out` instead of writing to it.
  bool adds = false;
};

/// Up to this many rows reading a weight is all that costs, and libtorch's products read it once.
constexpr int64_t kFewRows = 16;

/// Computes all products, where `has_bf16_products()` or `widens_bf16_products()`.
///
/// With the former the result does not depend on the number of threads.
void multiply(const std::vector<Bf16Product> &products);

/// Whether products are computed from widened operands: libtorch's are slow where there is no AVX-512.
bool widens_bf16_products();

/// The same products, each operand widened to float32 a block at a time.
void multiply_widened(const std::vector<Bf16Product> &products);

}  // namespace xtuner::cpu
