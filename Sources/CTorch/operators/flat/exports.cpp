// The C functions of operators over flat buffers.
#include "../../bridge.h"
#include "ctorch_optimizer.h"
#include "operators.h"

CTStatus ct_adamw(ct_tensor *master, ct_tensor *gradient, ct_tensor *first, ct_tensor *second, ct_tensor *copy,
                  double learning_rate, double beta1, double beta2, double epsilon, double weight_decay, int64_t step,
                  double gradient_scale) {
  return guarded([&] {
    xtuner::adamw(master->value, gradient->value, first->value, second->value, to_optional_tensor(copy), learning_rate,
                  beta1, beta2, epsilon, weight_decay, step, gradient_scale);
  });
}

CTStatus ct_adamw_rounded(ct_tensor *weights, ct_tensor *gradient, ct_tensor *first, ct_tensor *second,
                          double learning_rate, double beta1, double beta2, double epsilon, double weight_decay,
                          int64_t step, double gradient_scale, int64_t seed, int64_t start) {
  return ct_adamw_rounded_rows(weights, gradient, first, second, learning_rate, beta1, beta2, epsilon, weight_decay,
                               step, gradient_scale, seed, start, 0, 1, 0);
}

CTStatus ct_adamw_rounded_rows(ct_tensor *weights, ct_tensor *gradient, ct_tensor *first, ct_tensor *second,
                               double learning_rate, double beta1, double beta2, double epsilon, double weight_decay,
                               int64_t step, double gradient_scale, int64_t seed, int64_t start, int64_t first_place,
                               int64_t row, int64_t gap) {
  return guarded([&] {
    xtuner::adamw_rounded(weights->value, gradient->value, first->value, second->value, learning_rate, beta1, beta2,
                          epsilon, weight_decay, step, gradient_scale, seed, start, first_place, row, gap);
  });
}

CTStatus ct_squared_sum(ct_tensor *x, ct_tensor **out) {
  return guarded([&] { *out = new ct_tensor{xtuner::squared_sum(x->value)}; });
}

CTStatus ct_add_rows(ct_tensor *into, ct_tensor *rows, ct_tensor *indices) {
  return guarded([&] { xtuner::add_rows(into->value, rows->value, indices->value); });
}
