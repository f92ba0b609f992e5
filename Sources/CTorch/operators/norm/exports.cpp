// The C functions of normalisation and rotation. `reference` chooses the composite implementation.
#include "../../bridge.h"
#include "operators.h"

CTStatus ct_rms_norm(ct_tensor *x, ct_tensor *weight, double epsilon, bool reference, ct_tensor **out) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::rms_norm : xtuner::rms_norm;
    *out = new ct_tensor{function(x->value, weight->value, epsilon)};
  });
}

CTStatus ct_add_rms_norm(ct_tensor *x, ct_tensor *residual, ct_tensor *weight, double epsilon, bool reference,
                         ct_tensor **out_sum, ct_tensor **out) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::add_rms_norm : xtuner::add_rms_norm;
    auto [sum, y] = function(x->value, residual->value, weight->value, epsilon);
    *out_sum = new ct_tensor{sum};
    *out = new ct_tensor{y};
  });
}

CTStatus ct_norm_rotary(ct_tensor *x, ct_tensor *weight, double epsilon, ct_tensor *cosine, ct_tensor *sine,
                        bool interleaved, bool reference, ct_tensor **out) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::norm_rotary : xtuner::norm_rotary;
    *out = new ct_tensor{function(x->value, weight->value, epsilon, cosine->value, sine->value, interleaved)};
  });
}

CTStatus ct_rotary(ct_tensor *x, ct_tensor *cosine, ct_tensor *sine, bool interleaved, bool reference,
                   ct_tensor **out) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::rotary : xtuner::rotary;
    *out = new ct_tensor{function(x->value, cosine->value, sine->value, interleaved)};
  });
}
