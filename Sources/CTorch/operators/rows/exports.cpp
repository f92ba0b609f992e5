// The C functions of activation and of orders of rows. `reference` chooses the composite implementation.
#include "../../bridge.h"
#include "operators.h"

CTStatus ct_swiglu(ct_tensor *gate_up, bool reference, ct_tensor **out) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::swiglu : xtuner::swiglu;
    *out = new ct_tensor{function(gate_up->value)};
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
