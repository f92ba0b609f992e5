// Calls of operators through libtorch's dispatcher.
#pragma once

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <utility>

namespace xtuner {

/// Calls the kernel that the dispatcher chooses for `name`, below autograd.
template <typename Signature, typename... Arguments>
auto call(const char *name, Arguments &&...arguments) {
  auto op = c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
  at::AutoDispatchBelowADInplaceOrView below;
  return op.call(std::forward<Arguments>(arguments)...);
}

}  // namespace xtuner
