#include "formula.h"

#include <torch/csrc/autograd/custom_function.h>

namespace xtuner {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

/// What a node of the graph keeps beside tensors.
struct Recorded : torch::CustomClassHolder {
  Backward backward;
  std::vector<int64_t> places;
};

constexpr auto kRecorded = "recorded";

}  // namespace

/// Every formula as libtorch's one function, of the inputs that are defined.
struct FormulaFunction : torch::autograd::Function<FormulaFunction> {
  static variable_list forward(AutogradContext *context, at::TensorList, const Forward &forward,
                               const c10::intrusive_ptr<Recorded> &recorded) {
    context->saved_data[kRecorded] = c10::IValue::make_capsule(recorded);
    return forward(Record(context, &recorded->places));
  }

  static variable_list backward(AutogradContext *context, const variable_list &gradients) {
    auto capsule = context->saved_data[kRecorded].toCapsule();
    auto &recorded = static_cast<Recorded &>(*capsule);
    auto all = recorded.backward(Record(context, &recorded.places), gradients);
    TORCH_INTERNAL_ASSERT(all.size() == recorded.places.size());
    variable_list defined;
    for (size_t i = 0; i < all.size(); ++i)
      if (recorded.places[i] >= 0) defined.push_back(std::move(all[i]));
    // Forward's other two arguments.
    defined.resize(defined.size() + 2);
    return defined;
  }
};

void Record::keep(Tensors tensors) const { context_->save_for_backward(std::move(tensors)); }
void Record::without_gradients(const Tensors &outputs) const { context_->mark_non_differentiable(outputs); }
void Record::without_zeros() const { context_->set_materialize_grads(false); }
Tensors Record::kept() const { return context_->get_saved_variables(); }
bool Record::needs(size_t input) const {
  int64_t place = (*places_)[input];
  return place >= 0 && context_->needs_input_grad(static_cast<size_t>(place));
}

Tensors differentiable(const Tensors &inputs, const Forward &forward, Backward backward) {
  auto recorded = c10::make_intrusive<Recorded>();
  recorded->backward = std::move(backward);
  variable_list defined;
  for (const auto &input : inputs) {
    recorded->places.push_back(input.defined() ? static_cast<int64_t>(defined.size()) : -1);
    if (input.defined()) defined.push_back(input);
  }
  return FormulaFunction::apply(at::TensorList(defined), forward, recorded);
}

}  // namespace xtuner
