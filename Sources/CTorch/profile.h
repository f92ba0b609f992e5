// What an operator's call costs at least, from its inputs.
#pragma once

#include <ATen/core/ivalue.h>

#include "bridge.h"

namespace ctorch {

struct OperatorCost {
  double flops = 0;  // 2 a multiply-add; 0 where no rule is known
  double bytes = 0;  // each input and output once
  void add(const OperatorCost &other) {
    flops += other.flops;
    bytes += other.bytes;
  }
};

OperatorCost operator_cost(const std::string &name, c10::ArrayRef<const c10::IValue> inputs);
/// Bytes of outputs that are not inputs as well.
double operator_output_bytes(const std::string &name, const std::vector<c10::IValue> &outputs);
/// The shapes and number types of the tensors among `inputs`, such as "bf16[2048, 512] f32[512]".
std::string operator_shapes(c10::ArrayRef<const c10::IValue> inputs);

}  // namespace ctorch
