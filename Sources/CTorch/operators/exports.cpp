// The C functions of the operators. `reference` chooses the composite implementation.
#include "../bridge.h"
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

CTStatus ct_swiglu(ct_tensor *gate_up, bool reference, ct_tensor **out) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::swiglu : xtuner::swiglu;
    *out = new ct_tensor{function(gate_up->value)};
  });
}

CTStatus ct_varlen_attention(ct_tensor *query, ct_tensor *key, ct_tensor *value, ct_tensor *bounds, double scale,
                             int64_t window, ct_tensor *sinks, bool reference, ct_tensor **out) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::varlen_attention : xtuner::varlen_attention;
    *out = new ct_tensor{
        function(query->value, key->value, value->value, bounds->value, scale, window, to_optional_tensor(sinks))};
  });
}

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

CTStatus ct_permute_rows(ct_tensor *x, ct_tensor *token_of_row, ct_tensor *row_of_slot, bool reference,
                         ct_tensor **out) {
  return guarded([&] {
    *out = new ct_tensor{reference ? xtuner::reference::permute_rows(x->value, token_of_row->value)
                                   : xtuner::permute_rows(x->value, token_of_row->value, row_of_slot->value)};
  });
}

CTStatus ct_unpermute_rows(ct_tensor *rows, ct_tensor *weights, ct_tensor *row_of_slot, bool reference,
                           ct_tensor **out) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::unpermute_rows : xtuner::unpermute_rows;
    *out = new ct_tensor{function(rows->value, weights->value, row_of_slot->value)};
  });
}
