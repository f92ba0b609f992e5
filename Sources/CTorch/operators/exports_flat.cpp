// The C functions of the operators that have no gradients.
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include "../bridge.h"

namespace {

/// Calls the device's kernel of `name`, below autograd.
template <typename Signature, typename... Arguments>
auto call(const char *name, const Arguments &...arguments) {
  auto op = c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
  at::AutoDispatchBelowADInplaceOrView below;
  return op.call(arguments...);
}

}  // namespace

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
    *out = new ct_tensor{
        call<at::Tensor(const at::Tensor &, const at::Tensor &)>("xtuner::product", a->value, b->value)};
  });
}

CTStatus ct_add_product(ct_tensor *into, ct_tensor *a, ct_tensor *b) {
  return guarded([&] {
    call<void(at::Tensor &, const at::Tensor &, const at::Tensor &)>("xtuner::add_product_", into->value, a->value,
                                                                     b->value);
  });
}
