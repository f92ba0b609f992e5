// Calls of torch_npu's operators by name and argument names, as their schemas have them.
#pragma once

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>

namespace xtuner::ascend {

/// One call: arguments that are not given have their schema's default. Arguments of dozens stay readable, and no
/// C++ signature is assumed of the library, only what its schema says.
class Call {
 public:
  explicit Call(const char *name) : op_(c10::Dispatcher::singleton().findSchemaOrThrow(name, "")) {
    const auto &arguments = op_.schema().arguments();
    stack_.resize(arguments.size());
    for (size_t i = 0; i < arguments.size(); ++i)
      if (arguments[i].default_value()) stack_[i] = *arguments[i].default_value();
  }

  Call &with(const char *argument, c10::IValue value) {
    auto index = op_.schema().argumentIndexWithName(argument);
    TORCH_CHECK(index, op_.schema(), " has no argument '", argument, "'");
    stack_[*index] = std::move(value);
    return *this;
  }

  /// All results.
  std::vector<c10::IValue> run() {
    at::AutoDispatchBelowADInplaceOrView below;
    op_.callBoxed(&stack_);
    return std::move(stack_);
  }
  /// The first result, a tensor.
  at::Tensor tensor() { return run().at(0).toTensor(); }

 private:
  c10::OperatorHandle op_;
  std::vector<c10::IValue> stack_;
};

}  // namespace xtuner::ascend
