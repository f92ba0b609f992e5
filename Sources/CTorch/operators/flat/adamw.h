// What one step of AdamW multiplies with, on every device.
#pragma once

#include <cmath>
#include <cstdint>

namespace xtuner {

struct AdamWStep {
  float beta1, beta2, epsilon, gradient_scale;
  float keep;          // 1 - learning rate * weight decay
  float rate;          // learning rate / (1 - beta1^step)
  float inverse_root;  // 1 / sqrt(1 - beta2^step)

  /// Computed once, in double precision; `step` counts from 1.
  AdamWStep(double learning_rate, double beta1, double beta2, double epsilon, double weight_decay, int64_t step,
            double gradient_scale)
      : beta1(float(beta1)),
        beta2(float(beta2)),
        epsilon(float(epsilon)),
        gradient_scale(float(gradient_scale)),
        keep(float(1 - learning_rate * weight_decay)),
        rate(float(learning_rate / (1 - std::pow(beta1, double(step))))),
        inverse_root(float(1 / std::sqrt(1 - std::pow(beta2, double(step))))) {}
};

/// Where the elements of a slice lie in the whole parameter: element i has the index start + l + l / row * gap with
/// l = first + i. Rows of `row` elements have `gap` others of the whole between them.
struct SliceIndices {
  int64_t start, first, row, gap;

  bool is_valid() const { return first >= 0 && row >= 1; }

  /// The index of element i less i, which all elements of a row share.
  uint64_t shift(int64_t i) const { return uint64_t(start + first + (first + i) / row * gap); }

  /// Where the row of element i ends.
  int64_t row_end(int64_t i) const { return ((first + i) / row + 1) * row - first; }
};

}  // namespace xtuner
