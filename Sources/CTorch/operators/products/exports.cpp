// The C functions of matrix products. `reference` chooses the composite implementation.
#include "../../bridge.h"
#include "operators.h"

CTStatus ct_linear(ct_tensor *x, ct_tensor *weight, ct_tensor *bias, bool reference, ct_tensor **out) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::linear : xtuner::linear;
    *out = new ct_tensor{function(x->value, weight->value, to_optional_tensor(bias))};
  });
}

CTStatus ct_grouped_linear(ct_tensor *x, ct_tensor *weight, ct_tensor *offsets, bool reference, ct_tensor **out) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::grouped_linear : xtuner::grouped_linear;
    *out = new ct_tensor{function(x->value, weight->value, offsets->value)};
  });
}

CTStatus ct_product(ct_tensor *a, ct_tensor *b, ct_tensor **out) {
  return guarded([&] { *out = new ct_tensor{xtuner::product(a->value, b->value)}; });
}

CTStatus ct_add_product(ct_tensor *into, ct_tensor *a, ct_tensor *b) {
  return guarded([&] { xtuner::add_product(into->value, a->value, b->value); });
}
