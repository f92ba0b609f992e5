// The C functions of the operators that have no gradients.
#include "../bridge.h"
#include "ctorch_optimizer.h"
#include "dispatch.h"
#include "operators.h"

using xtuner::call;

CTStatus ct_adamw(ct_tensor *master, ct_tensor *gradient, ct_tensor *first, ct_tensor *second, ct_tensor *copy,
                  double learning_rate, double beta1, double beta2, double epsilon, double weight_decay, int64_t step,
                  double gradient_scale) {
  return guarded([&] {
    call<void(const at::Tensor &, const at::Tensor &, const at::Tensor &, const at::Tensor &,
              const std::optional<at::Tensor> &, double, double, double, double, double, int64_t, double)>(
        "xtuner::adamw_", master->value, gradient->value, first->value, second->value, to_optional_tensor(copy),
        learning_rate, beta1, beta2, epsilon, weight_decay, step, gradient_scale);
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
    call<void(const at::Tensor &, const at::Tensor &, const at::Tensor &, const at::Tensor &, double, double, double,
              double, double, int64_t, double, int64_t, int64_t, int64_t, int64_t, int64_t)>(
        "xtuner::adamw_rounded_", weights->value, gradient->value, first->value, second->value, learning_rate, beta1,
        beta2, epsilon, weight_decay, step, gradient_scale, seed, start, first_place, row, gap);
  });
}

CTStatus ct_squared_sum(ct_tensor *x, ct_tensor **out) {
  return guarded([&] { *out = new ct_tensor{call<at::Tensor(const at::Tensor &)>("xtuner::squared_sum", x->value)}; });
}

CTStatus ct_add_rows(ct_tensor *into, ct_tensor *rows, ct_tensor *indices) {
  return guarded([&] {
    call<void(const at::Tensor &, const at::Tensor &, const at::Tensor &)>("xtuner::add_rows_", into->value,
                                                                           rows->value, indices->value);
  });
}

CTStatus ct_product(ct_tensor *a, ct_tensor *b, ct_tensor **out) {
  return guarded([&] {
    *out =
        new ct_tensor{call<at::Tensor(const at::Tensor &, const at::Tensor &)>("xtuner::product", a->value, b->value)};
  });
}

CTStatus ct_add_product(ct_tensor *into, ct_tensor *a, ct_tensor *b) {
  return guarded([&] {
    call<void(at::Tensor &, const at::Tensor &, const at::Tensor &)>("xtuner::add_product_", into->value, a->value,
                                                                     b->value);
  });
}

CTStatus ct_cross_entropy(ct_tensor *logits, ct_tensor *targets, ct_tensor *weights, double z_loss, bool reference,
                          ct_tensor **out_losses, ct_tensor **out_log_sum_exp) {
  return guarded([&] {
    using at::Tensor;
    using Pair = std::tuple<Tensor, Tensor>;
    Pair result;
    if (reference)
      result = xtuner::reference::cross_entropy(logits->value, targets->value, to_optional_tensor(weights), z_loss);
    else if (weights)
      result = call<Pair(const Tensor &, const Tensor &, const Tensor &, double)>(
          "xtuner::cross_entropy_", logits->value, targets->value, weights->value, z_loss);
    else
      result = call<Pair(const Tensor &, const Tensor &)>("xtuner::cross_entropy", logits->value, targets->value);
    *out_losses = new ct_tensor{std::get<0>(result)};
    *out_log_sum_exp = new ct_tensor{std::get<1>(result)};
  });
}
