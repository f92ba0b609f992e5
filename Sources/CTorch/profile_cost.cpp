// Arithmetic and memory traffic of operators, for the rates of a profile.
#include <ATen/core/List.h>
#include <c10/core/ScalarTypeToTypeMeta.h>

#include <algorithm>

#include "profile.h"

namespace ctorch {
namespace {

using Inputs = c10::ArrayRef<const c10::IValue>;

template <typename Body>
void each_tensor(const c10::IValue &value, Body &&body) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) body(value.toTensor());
  } else if (value.isTensorList()) {
    for (const at::Tensor &tensor : value.toTensorVector())
      if (tensor.defined()) body(tensor);
  }
}

/// The memory that reading or writing the tensor touches; expanded dimensions have none.
double bytes_of(const at::Tensor &tensor) {
  if (!tensor.has_storage()) return 0;
  auto elements = static_cast<double>(tensor.numel()) * static_cast<double>(tensor.itemsize());
  return std::min(elements, static_cast<double>(tensor.storage().nbytes()));
}

/// Whether the operator writes its first input without reading it.
bool overwrites(const std::string &name) {
  static const char *const names[] = {"aten::copy_", "aten::fill_", "aten::zero_", "aten::normal_", "aten::uniform_"};
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

bool writes_first_input(const std::string &name) { return !name.empty() && name.back() == '_'; }

double size(const Inputs &inputs, size_t index, int64_t dimension) {
  return static_cast<double>(inputs[index].toTensor().size(dimension));
}

/// The pairs of a query and a key that it sees, times heads: samples of `bounds`, causal, within `window`.
double attention_pairs(const at::Tensor &bounds, double heads, double window) {
  if (!bounds.device().is_cpu() || bounds.scalar_type() != at::kLong) return 0;
  auto ends = bounds.accessor<int64_t, 1>();
  double pairs = 0;
  for (int64_t i = 1; i < ends.size(0); ++i) {
    auto length = static_cast<double>(ends[i] - ends[i - 1]);
    auto beyond = window > 0 ? std::max(0.0, length - window) : 0.0;
    pairs += (length * length - beyond * beyond) / 2;
  }
  return pairs * heads;
}

double flops_of(const std::string &name, const Inputs &in) {
  if (name == "aten::mm" || name == "aten::addmm") {
    size_t first = name == "aten::mm" ? 0 : 1;
    return 2 * size(in, first, 0) * size(in, first, 1) * size(in, first + 1, 1);
  }
  if (name == "aten::bmm") return 2 * size(in, 0, 0) * size(in, 0, 1) * size(in, 0, 2) * size(in, 1, 2);
  if (name == "xtuner::product") return 2 * size(in, 0, 0) * size(in, 0, 1) * size(in, 1, 1);
  if (name == "xtuner::add_product_") return 2 * size(in, 1, 0) * size(in, 1, 1) * size(in, 2, 1);
  // x [..., K], weight [N, K]; the backward has the gradient first and is told which products are wanted.
  auto elements = [&](size_t index) { return static_cast<double>(in[index].toTensor().numel()); };
  if (name == "xtuner::linear") return 2 * elements(0) * size(in, 1, 0);
  if (name == "xtuner::linear_backward")
    return 2 * elements(1) * size(in, 2, 0) * (double(in[3].toBool()) + double(in[4].toBool()));
  // x [R, K], weight [E, N, K]; the backward has the gradient first and computes two products.
  if (name == "xtuner::grouped_linear") return 2 * size(in, 0, 0) * size(in, 0, 1) * size(in, 1, 1);
  if (name == "xtuner::grouped_linear_backward") return 4 * size(in, 1, 0) * size(in, 1, 1) * size(in, 2, 1);
  // query [T, H, d], value [T, G, dv]: scores and sums forward; scores again and four products backward.
  if (name == "xtuner::varlen_attention")
    return 2 * attention_pairs(in[3].toTensor(), size(in, 0, 1), static_cast<double>(in[5].toInt())) *
           (size(in, 0, 2) + size(in, 2, 2));
  if (name == "xtuner::varlen_attention_backward")
    return 2 * attention_pairs(in[6].toTensor(), size(in, 1, 1), static_cast<double>(in[8].toInt())) *
           (3 * size(in, 1, 2) + 2 * size(in, 3, 2));
  return 0;
}

const char *short_name(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return "f32";
    case at::kDouble:
      return "f64";
    case at::kBFloat16:
      return "bf16";
    case at::kHalf:
      return "f16";
    case at::kLong:
      return "i64";
    case at::kInt:
      return "i32";
    default:
      return c10::toString(type);
  }
}

}  // namespace

OperatorCost operator_cost(const std::string &name, Inputs inputs) {
  OperatorCost cost;
  for (const auto &input : inputs)
    each_tensor(input, [&](const at::Tensor &tensor) { cost.bytes += bytes_of(tensor); });
  bool is_read_and_written = writes_first_input(name) && !overwrites(name);
  if (is_read_and_written && !inputs.empty())
    each_tensor(inputs[0], [&](const at::Tensor &tensor) { cost.bytes += bytes_of(tensor); });
  // Master weights, counted above, and both moments are read and written.
  if (name == "xtuner::adamw_" || name == "xtuner::adamw_rounded_")
    cost.bytes += bytes_of(inputs[2].toTensor()) + bytes_of(inputs[3].toTensor());
  try {
    cost.flops = flops_of(name, inputs);
  } catch (const std::exception &) {
    cost.flops = 0;  // an operator of this name with other inputs
  }
  return cost;
}

double operator_output_bytes(const std::string &name, const std::vector<c10::IValue> &outputs) {
  double bytes = 0;
  if (writes_first_input(name)) return bytes;
  for (const auto &output : outputs) each_tensor(output, [&](const at::Tensor &tensor) { bytes += bytes_of(tensor); });
  return bytes;
}

std::string operator_shapes(Inputs inputs) {
  std::string text;
  for (const auto &input : inputs) {
    each_tensor(input, [&](const at::Tensor &tensor) {
      if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) return;  // a scalar argument
      if (!text.empty()) text += ' ';
      text += short_name(tensor.scalar_type());
      text += '[';
      for (int64_t i = 0; i < tensor.dim(); ++i) text += (i ? ", " : "") + std::to_string(tensor.size(i));
      text += ']';
    });
  }
  return text;
}

}  // namespace ctorch
