// Gradient formulas of our operators: what each keeps for backward, and how the gradients of its inputs are computed.
//
// libtorch's own way to write them is a template whose header and instances take fifteen seconds to compile. It is used
// once, in formula.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace torch::autograd {
struct AutogradContext;
}

namespace xtuner {

using Tensors = std::vector<at::Tensor>;

/// One call of an operator in the graph.
class Record {
 public:
  // In forward, each at most once.

  /// Keeps inputs, outputs or others until backward.
  void keep(Tensors tensors) const;
  /// These outputs have no gradients.
  void without_gradients(const Tensors &outputs) const;
  /// Gradients of outputs that nothing reads come as undefined tensors. Otherwise they are zeros.
  void without_zeros() const;

  // In backward.

  /// What was kept, in the same order.
  Tensors kept() const;
  /// Whether anything asks for the gradient of an input.
  bool needs(size_t input) const;

 private:
  friend struct FormulaFunction;
  torch::autograd::AutogradContext *context_;
  /// Where each input is among those that are defined; -1 for others.
  const std::vector<int64_t> *places_;

  Record(torch::autograd::AutogradContext *context, const std::vector<int64_t> *places)
      : context_(context), places_(places) {}
};

/// Computes the outputs; nothing in it is recorded.
using Forward = std::function<Tensors(const Record &)>;
/// Computes the gradients of all inputs from those of all outputs. It captures numbers only: the record keeps tensors.
using Backward = std::function<Tensors(const Record &, const Tensors &gradients)>;

/// The outputs of `forward`, with `backward` in the graph where an input has a gradient. Inputs and gradients may be
/// undefined.
Tensors differentiable(const Tensors &inputs, const Forward &forward, Backward backward);

}  // namespace xtuner
