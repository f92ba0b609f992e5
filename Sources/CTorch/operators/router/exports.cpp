// The C functions of a router's operators. `reference` chooses the composite implementation.
#include "../../bridge.h"
#include "operators.h"

CTStatus ct_router_scores(ct_tensor *logits, bool reference, ct_tensor **out_scores, ct_tensor **out_log_sum_exp) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::router_scores : xtuner::router_scores;
    auto [scores, sums] = function(logits->value);
    *out_scores = new ct_tensor{scores};
    *out_log_sum_exp = new ct_tensor{sums};
  });
}

CTStatus ct_route_top_k(ct_tensor *scores, int64_t k, bool reference, ct_tensor **out) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::route_top_k : xtuner::route_top_k;
    *out = new ct_tensor{function(scores->value, k)};
  });
}

CTStatus ct_expert_order(ct_tensor *experts, int64_t expert_count, bool reference, ct_tensor **out_token_of_row,
                         ct_tensor **out_row_of_slot, ct_tensor **out_counts, ct_tensor **out_offsets) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::expert_order : xtuner::expert_order;
    auto [token_of_row, row_of_slot, counts, offsets] = function(experts->value, expert_count);
    *out_token_of_row = new ct_tensor{token_of_row};
    *out_row_of_slot = new ct_tensor{row_of_slot};
    *out_counts = new ct_tensor{counts};
    *out_offsets = new ct_tensor{offsets};
  });
}
