// Products of groups of float8_e4m3fn operands, as float8_products_sm90.cu computes them and float8_problems.cu prepares them.
#pragma once

#include "launch.h"

namespace xtuner::cuda {

/// A group's product: D [m, n] = A [m, k] times the transpose of B [n, k]. None where m is 0.
struct Fp8Sizes {
  int32_t m, n, k;
};

/// One entry for each group, on the device. Operands have dense rows at multiples of 16 bytes, strides count elements.
/// The scale of A's row r and columns 128 t ... is a_scales[t * m + r]; those of B are [n / 128][k / 128] for rows of D,
/// and [k / 128][n] for gradients of weights.
struct Fp8Problems {
  int64_t count;
  Fp8Sizes *sizes;
  const uint8_t **a, **b;
  const float **a_scales, **b_scales;
  void **out;
  int64_t *a_strides, *b_strides, *out_strides;
};

/// Bytes of all arrays of `Fp8Problems`, and the arrays in memory of that size, at a multiple of 16 bytes.
int64_t fp8_problem_bytes(int64_t groups);
Fp8Problems fp8_problems_in(void *memory, int64_t groups);

/// Rows of groups times their weights: x [rows, k] by weight [groups, n, k], out [rows, n] bfloat16. `offsets` are the
/// groups' ends, null for one group of all rows. x_scales come as [k / 128][rows]; each group's own are put side by side
/// in `group_scales`, which has as many. Weights' scales are [groups][n / 128][k / 128].
struct Fp8RowProducts {
  const uint8_t *x, *weight;
  const float *x_scales, *weight_scales;
  const int64_t *offsets;
  float *group_scales;
  void *out;
  int64_t groups, rows, n, k;
};
void fp8_row_problems(const Fp8RowProducts &products, const Fp8Problems &problems, cudaStream_t stream);

/// Gradients of weights: grad [n, padded] and x [k, padded], columns of groups from fp8_quantize_columns; out
/// [groups, n, k] of `out_size` bytes an element. Scales are [padded / 128][n] and [padded / 128][k].
struct Fp8WeightProducts {
  const uint8_t *grad, *x;
  const float *grad_scales, *x_scales;
  const int64_t *offsets;
  void *out;
  int64_t groups, padded, n, k, out_size;
};
void fp8_weight_problems(const Fp8WeightProducts &products, const Fp8Problems &problems, cudaStream_t stream);

/// values [count, rows, width] as [count, width, rows]; sizes are multiples of 16, at most kMostBlocksY matrices.
void fp8_transpose(const uint8_t *values, uint8_t *out, int64_t count, int64_t rows, int64_t width,
                   cudaStream_t stream);

/// The device that kernels go to at present.
struct CurrentDevice {
  int major, minor, processors;
};
/// Returns null, or what is wrong.
const char *current_device(CurrentDevice &current);

/// What a product makes, which decides the layout of B's scales.
enum class Fp8Output { rows, weights, float_weights };

/// Bytes that `fp8_multiply` works in.
int64_t fp8_workspace(Fp8Output output, int64_t groups, int processors);

/// All groups' products on a device of compute capability 9.0 with that many multiprocessors.
///
/// Returns null, or what is wrong.
const char *fp8_multiply(Fp8Output output, const Fp8Problems &problems, int processors, void *workspace,
                         cudaStream_t stream);

}  // namespace xtuner::cuda
