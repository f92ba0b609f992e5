// Composite references of the float8 operators, of ATen's operators and c10's conversions.
#include <ATen/TensorOperators.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/floor_divide.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include "../norm/operators.h"
#include "../rows/operators.h"
#include "operators.h"
#include "parts.h"

namespace xtuner::reference {
namespace {

using at::Tensor;

Tensor scale_of(const Tensor &largest) {
  auto scale = (largest / kFp8Largest).clamp_min(kFp8SmallestScale);
  return at::where(largest == 0, at::ones_like(scale), scale);
}

/// [..., R, K] with zeros up to whole tiles, as [..., bands, height, tiles, 128].
Tensor tiled(const Tensor &x, int64_t height) {
  int64_t rows = x.size(-2), width = x.size(-1), bands = (rows + height - 1) / height, tiles = fp8_tiles(width);
  auto padded = at::constant_pad_nd(x, {0, tiles * kFp8Tile - width, 0, bands * height - rows});
  return padded.unflatten(-1, {tiles, kFp8Tile}).unflatten(-3, {bands, height});
}

/// The inverse of `tiled`.
Tensor untiled(const Tensor &x, int64_t rows, int64_t width) {
  return x.flatten(-2, -1).flatten(-3, -2).narrow(-2, 0, rows).narrow(-1, 0, width);
}

Fp8Pair quantize(const Tensor &x, int64_t height) {
  auto tiles = tiled(x.to(at::kFloat), height);
  auto scales = scale_of(tiles.abs().amax({-3, -1}, /*keepdim=*/true));
  auto values = untiled(tiles * scales.reciprocal(), x.size(-2), x.size(-1)).to(at::kFloat8_e4m3fn).contiguous();
  return {values, scales.squeeze(-1).squeeze(-2)};
}

/// The block of each element of a part.
Tensor blocks_of_elements(const Tensor &x, int64_t start, int64_t rows, int64_t width) {
  auto index = at::arange(start, start + x.numel(), x.options().dtype(at::kLong));
  auto divided = [](const Tensor &t, int64_t by) { return at::floor_divide(t, by); };
  auto row = divided(index, width), column = index - row * width, group = divided(row, rows);
  auto band = group * fp8_tiles(rows) + divided(row - group * rows, kFp8Tile);
  return band * fp8_tiles(width) + divided(column, kFp8Tile);
}

}  // namespace

Fp8Pair fp8_quantize_rows(const Tensor &x) { return quantize(x, 1); }

Fp8Pair fp8_quantize_blocks(const Tensor &x) { return quantize(x, kFp8Tile); }

Fp8Pair fp8_quantize_columns(const Tensor &x, const std::optional<Tensor> &offsets) {
  auto ends = offsets.value_or(at::full({1}, x.size(0), at::kLong));
  auto padded = at::zeros({fp8_padded_rows(x.size(0), ends.numel()), x.size(1)}, x.options());
  for (int64_t e = 0, begin = 0, place = 0; e < ends.numel(); ++e) {
    int64_t end = ends[e].item<int64_t>();
    padded.slice(0, place, place + end - begin).copy_(x.slice(0, begin, end));
    place += fp8_tiles(end - begin) * kFp8Tile;
    begin = end;
  }
  return quantize(padded.t(), 1);
}

std::tuple<Fp8Pair, Fp8Pair> fp8_quantize_both(const Tensor &x, const std::optional<Tensor> &offsets) {
  return {fp8_quantize_rows(x), fp8_quantize_columns(x, offsets)};
}

Fp8Pair fp8_swiglu_rows(const Tensor &gate_up) { return fp8_quantize_rows(swiglu(gate_up)); }

Fp8Pair fp8_swiglu_columns(const Tensor &gate_up, const std::optional<Tensor> &offsets) {
  return fp8_quantize_columns(swiglu(gate_up), offsets);
}

Fp8Norm fp8_rms_norm(const Tensor &x, const std::optional<Tensor> &residual, const Tensor &weight, double epsilon) {
  Fp8Norm made{x, Tensor(), {}};
  if (residual)
    std::tie(made.sum, made.y) = add_rms_norm(x, *residual, weight, epsilon);
  else
    made.y = rms_norm(x, weight, epsilon);
  made.rows = fp8_quantize_rows(made.y.detach());
  return made;
}

Tensor fp8_dequantize(const Tensor &values, const Tensor &scales, int64_t tile_rows, at::ScalarType dtype) {
  auto tiles = tiled(values.to(at::kFloat), tile_rows);
  return untiled(tiles * scales.unsqueeze(-2).unsqueeze(-1), values.size(-2), values.size(-1)).contiguous().to(dtype);
}

Tensor fp8_product(const Tensor &x, const Tensor &x_scales, const Tensor &weight, const Tensor &weight_scales,
                   const std::optional<Tensor> &bias) {
  auto y = at::matmul(fp8_dequantize(x, x_scales, 1, at::kFloat),
                      fp8_dequantize(weight, weight_scales, kFp8Tile, at::kFloat).t());
  return (bias ? y + *bias : y).to(at::kBFloat16);
}

Tensor fp8_grouped_product(const Tensor &x, const Tensor &x_scales, const Tensor &weight, const Tensor &weight_scales,
                           const Tensor &offsets) {
  auto rows = fp8_dequantize(x, x_scales, 1, at::kFloat);
  auto matrices = fp8_dequantize(weight, weight_scales, kFp8Tile, at::kFloat);
  std::vector<Tensor> groups = {at::empty({0, weight.size(1)}, rows.options())};
  for (int64_t e = 0, begin = 0; e < weight.size(0); ++e) {
    int64_t end = offsets[e].item<int64_t>();
    groups.push_back(at::matmul(rows.slice(0, begin, end), matrices[e].t()));
    begin = end;
  }
  return at::cat(groups, 0).to(at::kBFloat16);
}

Tensor fp8_weight_gradient(const Tensor &grad, const Tensor &grad_scales, const Tensor &x, const Tensor &x_scales,
                           const std::optional<Tensor> &offsets, at::ScalarType dtype) {
  auto g = fp8_dequantize(grad, grad_scales, 1, at::kFloat), rows = fp8_dequantize(x, x_scales, 1, at::kFloat);
  if (!offsets) return at::matmul(g, rows.t()).to(dtype);
  std::vector<Tensor> groups;
  for (int64_t e = 0, begin = 0, place = 0; e < offsets->numel(); ++e) {
    int64_t end = (*offsets)[e].item<int64_t>(), next = place + fp8_tiles(end - begin) * kFp8Tile;
    groups.push_back(at::matmul(g.slice(1, place, next), rows.slice(1, place, next).t()));
    begin = end, place = next;
  }
  return at::stack(groups).to(dtype);
}

Tensor fp8_part_magnitudes(const Tensor &x, int64_t start, int64_t groups, int64_t rows, int64_t width) {
  auto bits = x.to(at::kFloat).view(at::kInt).bitwise_and(0x7fffffff);
  auto largest = at::zeros({groups * fp8_tiles(rows) * fp8_tiles(width)}, bits.options());
  largest = largest.scatter_reduce(0, blocks_of_elements(x, start, rows, width), bits, "amax");
  return largest.view({groups, fp8_tiles(rows), fp8_tiles(width)});
}

Tensor fp8_quantize_part(const Tensor &x, const Tensor &scales, int64_t start, int64_t rows, int64_t width) {
  auto own = scales.flatten().index_select(0, blocks_of_elements(x, start, rows, width));
  return (x.to(at::kFloat) * own.reciprocal()).to(at::kFloat8_e4m3fn);
}

}  // namespace xtuner::reference
