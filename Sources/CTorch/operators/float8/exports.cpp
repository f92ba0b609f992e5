// The C functions of the float8 operators.
#include "../../bridge.h"
#include "parts.h"

namespace {

void take(const xtuner::Fp8Pair &pair, ct_tensor **out_values, ct_tensor **out_scales) {
  *out_values = new ct_tensor{std::get<0>(pair)};
  *out_scales = new ct_tensor{std::get<1>(pair)};
}

using Pair = xtuner::Fp8Pair;

std::optional<Pair> to_optional_pair(ct_tensor *values, ct_tensor *scales) {
  TORCH_CHECK((values == nullptr) == (scales == nullptr), "float8 values and their scales come together");
  return values ? std::optional<Pair>(Pair(values->value, scales->value)) : std::nullopt;
}

}  // namespace

CTStatus ct_fp8_quantize_rows(ct_tensor *x, bool reference, ct_tensor **out_values, ct_tensor **out_scales) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::fp8_quantize_rows : xtuner::fp8_quantize_rows;
    take(function(x->value), out_values, out_scales);
  });
}

CTStatus ct_fp8_quantize_blocks(ct_tensor *x, bool reference, ct_tensor **out_values, ct_tensor **out_scales) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::fp8_quantize_blocks : xtuner::fp8_quantize_blocks;
    take(function(x->value), out_values, out_scales);
  });
}

CTStatus ct_fp8_quantize_columns(ct_tensor *x, ct_tensor *offsets, bool reference, ct_tensor **out_values,
                                 ct_tensor **out_scales) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::fp8_quantize_columns : xtuner::fp8_quantize_columns;
    take(function(x->value, to_optional_tensor(offsets)), out_values, out_scales);
  });
}

CTStatus ct_fp8_quantize_both(ct_tensor *x, ct_tensor *offsets, bool reference, ct_tensor **out_rows,
                              ct_tensor **out_row_scales, ct_tensor **out_columns, ct_tensor **out_column_scales) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::fp8_quantize_both : xtuner::fp8_quantize_both;
    auto [rows, columns] = function(x->value, to_optional_tensor(offsets));
    take(rows, out_rows, out_row_scales);
    take(columns, out_columns, out_column_scales);
  });
}

CTStatus ct_fp8_swiglu_rows(ct_tensor *gate_up, bool reference, ct_tensor **out_values, ct_tensor **out_scales) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::fp8_swiglu_rows : xtuner::fp8_swiglu_rows;
    take(function(gate_up->value), out_values, out_scales);
  });
}

CTStatus ct_fp8_swiglu_columns(ct_tensor *gate_up, ct_tensor *offsets, bool reference, ct_tensor **out_values,
                               ct_tensor **out_scales) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::fp8_swiglu_columns : xtuner::fp8_swiglu_columns;
    take(function(gate_up->value, to_optional_tensor(offsets)), out_values, out_scales);
  });
}

CTStatus ct_fp8_rms_norm(ct_tensor *x, ct_tensor *residual, ct_tensor *weight, double epsilon, bool reference,
                         ct_tensor **out_sum, ct_tensor **out, ct_tensor **out_values, ct_tensor **out_scales) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::fp8_rms_norm : xtuner::fp8_rms_norm;
    auto made = function(x->value, to_optional_tensor(residual), weight->value, epsilon);
    *out_sum = new ct_tensor{made.sum};
    *out = new ct_tensor{made.y};
    take(made.rows, out_values, out_scales);
  });
}

CTStatus ct_fp8_dequantize(ct_tensor *values, ct_tensor *scales, int64_t tile_rows, int32_t dtype, bool reference,
                           ct_tensor **out) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::fp8_dequantize : xtuner::fp8_dequantize;
    *out = new ct_tensor{function(values->value, scales->value, tile_rows, to_scalar_type(dtype))};
  });
}

CTStatus ct_fp8_product(ct_tensor *x, ct_tensor *x_scales, ct_tensor *weight, ct_tensor *weight_scales, ct_tensor *bias,
                        ct_tensor *offsets, bool native, bool reference, ct_tensor **out) {
  return guarded([&] {
    const auto &xv = x->value, &xs = x_scales->value, &wv = weight->value, &ws = weight_scales->value;
    TORCH_CHECK(!offsets || !bias, "fp8_product: groups have no bias");
    auto b = to_optional_tensor(bias);
    if (offsets)
      *out = new ct_tensor{reference ? xtuner::reference::fp8_grouped_product(xv, xs, wv, ws, offsets->value)
                                     : xtuner::fp8_grouped_product(xv, xs, wv, ws, offsets->value, native)};
    else
      *out = new ct_tensor{reference ? xtuner::reference::fp8_product(xv, xs, wv, ws, b)
                                     : xtuner::fp8_product(xv, xs, wv, ws, b, native)};
  });
}

CTStatus ct_fp8_weight_gradient(ct_tensor *grad, ct_tensor *grad_scales, ct_tensor *x, ct_tensor *x_scales,
                                ct_tensor *offsets, int32_t dtype, bool native, bool reference, ct_tensor **out) {
  return guarded([&] {
    const auto &gv = grad->value, &gs = grad_scales->value, &xv = x->value, &xs = x_scales->value;
    auto ends = to_optional_tensor(offsets);
    auto type = to_scalar_type(dtype);
    *out = new ct_tensor{reference ? xtuner::reference::fp8_weight_gradient(gv, gs, xv, xs, ends, type)
                                   : xtuner::fp8_weight_gradient(gv, gs, xv, xs, ends, type, native)};
  });
}

CTStatus ct_fp8_linear(ct_tensor *x, ct_tensor *weight, ct_tensor *bias, ct_tensor *values, ct_tensor *scales,
                       ct_tensor *x_values, ct_tensor *x_scales, bool native, ct_tensor **out) {
  return guarded([&] {
    *out = new ct_tensor{xtuner::fp8_linear(x->value, weight->value, to_optional_tensor(bias),
                                            to_optional_pair(values, scales), to_optional_pair(x_values, x_scales),
                                            native)};
  });
}

CTStatus ct_fp8_swiglu_linear(ct_tensor *gate_up, ct_tensor *weight, ct_tensor *bias, ct_tensor *offsets,
                              ct_tensor *values, ct_tensor *scales, bool native, ct_tensor **out) {
  return guarded([&] {
    *out =
        new ct_tensor{xtuner::fp8_swiglu_linear(gate_up->value, weight->value, to_optional_tensor(bias),
                                                to_optional_tensor(offsets), to_optional_pair(values, scales), native)};
  });
}

CTStatus ct_fp8_grouped_linear(ct_tensor *x, ct_tensor *weight, ct_tensor *offsets, ct_tensor *values,
                               ct_tensor *scales, bool native, ct_tensor **out) {
  return guarded([&] {
    *out = new ct_tensor{
        xtuner::fp8_grouped_linear(x->value, weight->value, offsets->value, to_optional_pair(values, scales), native)};
  });
}

CTStatus ct_fp8_part_magnitudes(ct_tensor *x, int64_t start, int64_t groups, int64_t rows, int64_t width,
                                bool reference, ct_tensor **out) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::fp8_part_magnitudes : xtuner::fp8_part_magnitudes;
    *out = new ct_tensor{function(x->value, start, groups, rows, width)};
  });
}

CTStatus ct_fp8_scales(ct_tensor *magnitudes, ct_tensor **out) {
  return guarded([&] { *out = new ct_tensor{xtuner::fp8_scales(magnitudes->value)}; });
}

CTStatus ct_fp8_quantize_part(ct_tensor *values, ct_tensor *x, ct_tensor *scales, int64_t start, int64_t rows,
                              int64_t width, bool reference) {
  return guarded([&] {
    if (reference) {
      xtuner::fp8_check_part("fp8_quantize_part", values->value, x->value, scales->value, start, rows, width);
      values->value.copy_(xtuner::reference::fp8_quantize_part(x->value, scales->value, start, rows, width));
    } else {
      xtuner::fp8_quantize_part(values->value, x->value, scales->value, start, rows, width);
    }
  });
}
