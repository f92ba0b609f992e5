// The C function of the cross-entropy. `reference` chooses the composite implementation.
#include "../../bridge.h"
#include "operators.h"

CTStatus ct_cross_entropy(ct_tensor *logits, ct_tensor *targets, ct_tensor *weights, double z_loss, bool reference,
                          ct_tensor **out_losses, ct_tensor **out_log_sum_exp) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::cross_entropy : xtuner::cross_entropy;
    auto [losses, sums] = function(logits->value, targets->value, to_optional_tensor(weights), z_loss);
    *out_losses = new ct_tensor{losses};
    *out_log_sum_exp = new ct_tensor{sums};
  });
}
