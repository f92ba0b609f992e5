#include "npu_operators.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>
#include <torch/csrc/jit/frontend/function_schema_parser.h>
#include <torch/library.h>

#include <atomic>
#include <map>
#include <mutex>

#include "../../Sources/CTorch/ascend/schemas.h"
#include "test_device.h"

namespace test_device {
namespace {

using at::Tensor;

Results rms_norm(const Arguments &a) {
  auto x = a.tensor("input"), gamma = a.tensor("gamma");
  TORCH_CHECK(x.scalar_type() == gamma.scalar_type(), "npu_rms_norm: input and gamma of one dtype");
  auto wide = x.to(at::kFloat);
  auto rstd = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + a.value("epsilon").toDouble());
  return {(wide * rstd * gamma.to(at::kFloat)).to(x.scalar_type()), rstd};
}

Results rms_norm_backward(const Arguments &a) {
  auto x = a.tensor("input"), rstd = a.tensor("rstd");
  auto normalized = x.to(at::kFloat) * rstd;
  auto dy = a.tensor("dy").to(at::kFloat), scaled = dy * a.tensor("gamma").to(at::kFloat);
  auto dx = rstd * (scaled - normalized * (scaled * normalized).mean(-1, /*keepdim=*/true));
  auto dgamma = (dy * normalized).reshape({-1, x.size(-1)}).sum(0);
  return {dx.to(x.scalar_type()), dgamma};
}

Results add_rms_norm(const Arguments &a) {
  auto sum = a.tensor("x1") + a.tensor("x2"), gamma = a.tensor("gamma");
  TORCH_CHECK(sum.scalar_type() == gamma.scalar_type(), "npu_add_rms_norm: inputs and gamma of one dtype");
  auto wide = sum.to(at::kFloat);
  auto rstd = at::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + a.value("epsilon").toDouble());
  return {(wide * rstd * gamma.to(at::kFloat)).to(sum.scalar_type()), rstd, sum};
}

Results rotary_mul(const Arguments &a) {
  auto x = a.tensor("input"), r1 = a.tensor("r1"), r2 = a.tensor("r2");
  // Layout BSND with r1 and r2 as 1S1D, heads of an even size below 896.
  TORCH_CHECK(x.dim() == 4 && r1.sizes() == at::IntArrayRef({1, x.size(1), 1, x.size(3)}) && r2.sizes() == r1.sizes(),
              "npu_rotary_mul: ", x.sizes(), " with ", r1.sizes());
  TORCH_CHECK(x.scalar_type() == r1.scalar_type() && x.size(3) % 2 == 0 && x.size(3) < 896, "npu_rotary_mul");
  Tensor turned;
  if (a.value("rotary_mode").toStringView() == "half") {
    auto parts = x.chunk(2, -1);
    turned = at::cat({-parts[1], parts[0]}, -1);
  } else {
    turned = at::stack({-x.slice(-1, 1, std::nullopt, 2), x.slice(-1, 0, std::nullopt, 2)}, -1).flatten(-2);
  }
  return {r1 * x + r2 * turned};
}

Results swiglu(const Arguments &a) {
  auto x = a.tensor("input");
  auto halves = x.to(at::kFloat).chunk(2, a.value("dim").toInt());
  return {(at::silu(halves[0]) * halves[1]).to(x.scalar_type())};
}

Results swiglu_backward(const Arguments &a) {
  auto x = a.tensor("input"), grad = a.tensor("grad_output").to(at::kFloat);
  int64_t dim = a.value("dim").toInt();
  auto halves = x.to(at::kFloat).chunk(2, dim);
  auto sigmoid = at::sigmoid(halves[0]);
  auto dgate = grad * halves[1] * sigmoid * (1 + halves[0] * (1 - sigmoid));
  return {at::cat({dgate, grad * halves[0] * sigmoid}, dim).to(x.scalar_type())};
}

const std::map<std::string, Operator> operators = {
    {"npu_rms_norm", rms_norm},
    {"npu_rms_norm_backward", rms_norm_backward},
    {"npu_add_rms_norm", add_rms_norm},
    {"npu_rotary_mul", rotary_mul},
    {"npu_swiglu", swiglu},
    {"npu_swiglu_backward", swiglu_backward},
    {"npu_fusion_attention", fusion_attention},
    {"npu_fusion_attention_grad", fusion_attention_grad},
    {"npu_grouped_matmul", grouped_matmul},
    {"npu_moe_token_permute_grad_v2", moe_token_permute_grad_v2},
    {"npu_moe_token_unpermute", moe_token_unpermute},
    {"npu_moe_token_unpermute_grad", moe_token_unpermute_grad},
};

std::atomic<int64_t> call_count{0};

c10::IValue moved(const c10::IValue &value, at::Device device) {
  if (value.isTensor()) return value.toTensor().defined() ? value.toTensor().to(device) : value;
  if (!value.isTensorList()) return value;
  std::vector<Tensor> tensors;
  for (const Tensor &tensor : value.toTensorVector()) tensors.push_back(tensor.to(device));
  return tensors;
}

/// Runs an operator on the CPU; every tensor must be on the device.
class OnHost final : public c10::OperatorKernel {
 public:
  void operator()(const c10::OperatorHandle &op, c10::DispatchKeySet, torch::jit::Stack *stack) {
    ++call_count;
    std::optional<at::Device> device;
    std::vector<c10::IValue> values;
    auto check = [&](const Tensor &tensor) {
      TORCH_CHECK(!tensor.defined() || tensor.is_privateuseone(), op.schema().name(), ": a tensor is on ",
                  tensor.device());
      if (tensor.defined()) device = tensor.device();
    };
    for (const auto &value : *stack) {
      if (value.isTensor()) check(value.toTensor());
      if (value.isTensorList())
        for (const Tensor &tensor : value.toTensorVector()) check(tensor);
      values.push_back(moved(value, at::kCPU));
    }
    auto name = op.schema().name();
    auto results = operators.at(name.substr(name.find("::") + 2))(Arguments(op.schema(), values));
    stack->clear();
    for (const auto &result : results) stack->push_back(moved(result, device.value()));
  }
};

}  // namespace
}  // namespace test_device

const char *test_device_unmapped_operators(void) {
  static std::string names;
  names.clear();
  auto &dispatcher = c10::Dispatcher::singleton();
  for (const auto &name : dispatcher.getAllOpNames()) {
    auto op = dispatcher.findSchema(name);
    bool is_ours = name.name.rfind("xtuner::", 0) == 0;
    if (is_ours && op && !op->hasKernelForDispatchKey(c10::DispatchKey::PrivateUse1))
      names += (names.empty() ? "" : " ") + name.name.substr(8);
  }
  return names.c_str();
}

int64_t test_device_npu_count(void) { return test_device::call_count.load(); }

void test_device_define_operators(TestOperators wanted) {
  static std::mutex lock;
  static std::unique_ptr<torch::Library> library;
  std::lock_guard<std::mutex> turn(lock);
  library.reset();
  if (wanted == TestOperatorsNone) return;
  library = std::make_unique<torch::Library>(torch::Library::FRAGMENT, "npu", std::nullopt, __FILE__, __LINE__);
  for (const char *recorded : recorded_schemas) {
    std::string text = recorded;
    if (wanted == TestOperatorsOther) {
      if (text.find("npu_swiglu(") != std::string::npos) continue;
      auto place = text.find("npu_rms_norm(") == std::string::npos ? std::string::npos : text.find("1e-06");
      if (place != std::string::npos) text.replace(place, 5, "1e-05");
    }
    auto schema = torch::jit::parseSchema(text);
    auto name = schema.name();
    library->def(std::move(schema));
    library->impl(name.c_str(),
                  torch::dispatch(c10::DispatchKey::PrivateUse1,
                                  torch::CppFunction::makeFromBoxedFunctor(std::make_unique<test_device::OnHost>())));
  }
}
