// Quantisation to float8_e4m3fn of what another kernel has just made, while it is in the cache. See
// each_instruction_set.h.
#include "../norm/kernels.h"
#include "../rows/kernels.h"
#include "kernels.h"

/// Rows that are made before they are quantised.
constexpr int64_t kMadeRows = 16;

/// Rows begin ..< end of a matrix of `rows`: `make(first, last)` returns them, and they are quantised in rows.
template <typename Element, typename Make>
XTUNER_INLINE void quantize_made_rows(uint8_t *values, float *scales, int64_t rows, int64_t width, int64_t begin,
                                      int64_t end, Make &&make) {
  for (int64_t first = begin; first < end; first += kMadeRows) {
    int64_t last = std::min(end, first + kMadeRows);
    const Element *made = make(first, last);
    quantize_bands(made, values + first * width, scales + first, last - first, width, 1, 1, rows, 0, last - first);
  }
}

/// Rows begin ..< end of silu(gate) * up. `buffer` has room for kMadeRows rows.
template <typename Element>
void quantize_swiglu_rows(const Element *gate_up, Element *buffer, uint8_t *values, float *scales, int64_t rows,
                          int64_t width, int64_t begin, int64_t end) {
  quantize_made_rows<Element>(values, scales, rows, width, begin, end, [&](int64_t first, int64_t last) {
    swiglu_range(gate_up + first * 2 * width, buffer, width, 0, last - first);
    return buffer;
  });
}

/// At most 128 rows of silu(gate) * up as a tile of each column, like quantize_columns. `buffer` has room for the rows.
template <typename Element>
void quantize_swiglu_columns(const Element *gate_up, Element *buffer, uint8_t *values, float *scales, int64_t rows,
                             int64_t width, int64_t stride) {
  swiglu_range(gate_up, buffer, width, 0, rows);
  quantize_columns(buffer, values, scales, rows, width, stride);
}

/// Rows begin ..< end of y = weight * x / rms(x), where x is first added to `residual` as `sum` unless that is null.
template <typename Element>
void quantize_norm_rows(const Element *x, const Element *residual, const Element *weight, Element *sum, Element *y,
                        float *norm_scales, uint8_t *values, float *scales, int64_t rows, int64_t width, double epsilon,
                        int64_t begin, int64_t end) {
  quantize_made_rows<Element>(values, scales, rows, width, begin, end, [&](int64_t first, int64_t last) {
    if (residual)
      add_rms_norm_range(x, residual, weight, sum, y, norm_scales, width, epsilon, first, last);
    else
      rms_norm_range(x, weight, y, norm_scales, width, epsilon, first, last);
    return static_cast<const Element *>(y + first * width);
  });
}
