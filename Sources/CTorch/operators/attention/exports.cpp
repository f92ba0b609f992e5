// The C function of attention. `reference` chooses the composite implementation.
#include "../../bridge.h"
#include "operators.h"

CTStatus ct_varlen_attention(ct_tensor *query, ct_tensor *key, ct_tensor *value, ct_tensor *bounds, double scale,
                             int64_t window, ct_tensor *sinks, bool reference, ct_tensor **out) {
  return guarded([&] {
    auto function = reference ? xtuner::reference::varlen_attention : xtuner::varlen_attention;
    *out = new ct_tensor{
        function(query->value, key->value, value->value, bounds->value, scale, window, to_optional_tensor(sinks))};
  });
}
