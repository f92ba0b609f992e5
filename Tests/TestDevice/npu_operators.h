// What torch_npu's operators compute, on the CPU, for those that ours are mapped to. They follow the documentation
// and the meta functions of torch_npu 2.11.0.post3 and refuse what it excludes.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/function_schema.h>
#include <ATen/core/ivalue.h>

namespace test_device {

/// The arguments of a call, by name; tensors are on the host.
class Arguments {
 public:
  Arguments(const c10::FunctionSchema &schema, const std::vector<c10::IValue> &values)
      : schema_(schema), values_(values) {}
  const c10::IValue &value(const char *name) const { return values_.at(schema_.argumentIndexWithName(name).value()); }
  at::Tensor tensor(const char *name) const { return value(name).toTensor(); }
  std::optional<at::Tensor> optional(const char *name) const { return value(name).toOptional<at::Tensor>(); }

 private:
  const c10::FunctionSchema &schema_;
  const std::vector<c10::IValue> &values_;
};

using Results = std::vector<c10::IValue>;
using Operator = Results (*)(const Arguments &);

Results fusion_attention(const Arguments &a);
Results fusion_attention_grad(const Arguments &a);
Results grouped_matmul(const Arguments &a);
Results moe_token_permute_grad_v2(const Arguments &a);
Results moe_token_unpermute(const Arguments &a);
Results moe_token_unpermute_grad(const Arguments &a);

}  // namespace test_device
