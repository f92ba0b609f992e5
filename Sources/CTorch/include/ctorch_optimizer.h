// The optimizer's step on parts of parameters.
#ifndef CTORCH_OPTIMIZER_H
#define CTORCH_OPTIMIZER_H
#include "ctorch.h"
#ifdef __cplusplus
extern "C" {
#endif
#pragma clang assume_nonnull begin

/// ct_adamw_rounded of a part of a slice, whose rows of `row` elements have `gap` others of the whole parameter between
/// them: for the random bits element i has the index start + l + l / row * gap with l = first_place + i.
CTStatus ct_adamw_rounded_rows(ct_tensor *weights, ct_tensor *gradient, ct_tensor *first, ct_tensor *second,
                               double learning_rate, double beta1, double beta2, double epsilon, double weight_decay,
                               int64_t step, double gradient_scale, int64_t seed, int64_t start, int64_t first_place,
                               int64_t row, int64_t gap);

#pragma clang assume_nonnull end
#ifdef __cplusplus
}
#endif
#endif
