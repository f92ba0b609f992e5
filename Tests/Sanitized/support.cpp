#include "support.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/TensorOptions.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cstdio>
#include <random>

namespace sanitized {
namespace {

std::mt19937_64 numbers;
int64_t failures = 0;
at::Device device = at::kCPU;
bool native_float8 = false;

/// Of a comparison in `type`: as in Tests/TorchTests/OperatorSupport.swift, but twice as much may differ absolutely,
/// since random sizes meet rarer sums.
struct Tolerance {
  double absolute, relative;
  explicit Tolerance(at::ScalarType type) {
    switch (type) {
      case at::kDouble:
        absolute = 2e-5, relative = 1e-5;
        break;
      case at::kBFloat16:
        absolute = 6e-2, relative = 1.6e-2;
        break;
      case at::kHalf:
        absolute = 8e-3, relative = 2e-3;
        break;
      default:
        absolute = 4e-5, relative = 2e-5;
    }
  }
};

struct Outcome {
  Tensors values, gradients;
};

Outcome outcome(const Tensors &inputs, const Function &body, const std::vector<bool> &is_used, uint64_t gradient_seed) {
  Tensors arguments, leaves, outputs, gradients;
  for (const auto &x : inputs) {
    arguments.push_back(x.is_floating_point() ? x.detach().requires_grad_() : x);
    if (x.is_floating_point()) leaves.push_back(arguments.back());
  }
  Outcome result{body(arguments), {}};
  at::manual_seed(gradient_seed);
  for (size_t i = 0; i < result.values.size(); ++i) {
    const auto &y = result.values[i];
    auto gradient = random(y.sizes(), y.scalar_type()).to(y.device());
    if (!y.requires_grad() || (!is_used.empty() && !is_used[i])) continue;
    outputs.push_back(y);
    gradients.push_back(gradient);
  }
  if (outputs.empty()) return result;
  for (auto &gradient : torch::autograd::grad(outputs, leaves, gradients, std::nullopt, false, /*allow_unused=*/true))
    result.gradients.push_back(gradient);
  for (size_t i = 0; i < leaves.size(); ++i)
    if (!result.gradients[i].defined()) result.gradients[i] = at::zeros_like(leaves[i]);
  return result;
}

}  // namespace

void seed(uint64_t value) {
  numbers.seed(value);
  at::manual_seed(value);
}

int64_t between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(numbers); }
int64_t one_of(std::initializer_list<int64_t> values) { return values.begin()[between(0, int64_t(values.size()) - 1)]; }

Tensor random(at::IntArrayRef sizes, at::ScalarType type) { return at::randn(sizes, at::kFloat).to(type); }

Tensor random_view(int64_t rows, int64_t columns, at::ScalarType type) {
  switch (between(0, 4)) {
    case 0:
      return random({rows, columns + 3}, type).narrow(1, 1, columns);
    case 1:
      return random({rows, 2 * columns}, type).slice(1, 0, std::nullopt, 2);
    case 2:
      return random({columns, rows}, type).t();
    case 3:
      return random({rows * columns + 1}, type).narrow(0, 1, rows * columns).view({rows, columns});
    default:
      return random({rows, columns}, type);
  }
}

Tensor random_indices(at::IntArrayRef sizes, int64_t limit) { return at::randint(limit, sizes, at::kLong); }

void expect(bool holds, const std::string &what) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "error: %s\n", what.c_str());
}

void expect_close(const std::string &what, const Tensor &mine, const Tensor &theirs,
                  std::optional<at::ScalarType> rounded_to) {
  if (mine.sizes() != theirs.sizes() || mine.scalar_type() != theirs.scalar_type())
    return expect(false, text(what, ": ", mine.scalar_type(), mine.sizes(), " instead of ", theirs.scalar_type(),
                              theirs.sizes()));
  if (mine.numel() == 0) return;
  Tolerance tolerance(rounded_to.value_or(mine.scalar_type()));
  auto a = mine.detach().to(at::kCPU, at::kDouble), b = theirs.detach().to(at::kCPU, at::kDouble);
  // Gradients of weights sum over rows: their size sets the scale of the error.
  auto size = at::nan_to_num(b.abs(), 0, 0, 0).max().item<double>();
  auto allowed = b.abs() * tolerance.relative + tolerance.absolute * std::max(1.0, size / 4);
  auto is_same = at::logical_or(at::logical_or((a - b).abs() <= allowed, a == b), at::logical_and(a != a, b != b));
  auto wrong = at::logical_not(is_same).flatten().nonzero();
  if (wrong.size(0) == 0) return;
  auto first = wrong[0].item<int64_t>();
  expect(false,
         text(what, " ", mine.scalar_type(), mine.sizes(), ": ", wrong.size(0), " elements differ; element ", first,
              " is ", a.flatten()[first].item<double>(), " instead of ", b.flatten()[first].item<double>()));
}

void expect_equal_results(const std::string &what, const Tensors &inputs, const Function &kernel,
                          const Function &reference, const std::vector<bool> &is_used) {
  auto gradient_seed = uint64_t(between(0, 1 << 30));
  Tensors inputs_there;
  for (const auto &x : inputs) inputs_there.push_back(there(x));
  auto mine = outcome(inputs_there, kernel, is_used, gradient_seed);
  auto theirs = outcome(inputs, reference, is_used, gradient_seed);
  at::manual_seed(gradient_seed + 1);
  // The gradient of a float32 input beside bfloat16 ones has their precision; the first input has it too.
  auto type = inputs[0].scalar_type();
  for (size_t i = 0; i < mine.values.size(); ++i)
    expect_close(text(what, ", value ", i), mine.values[i], theirs.values[i], type);
  if (mine.gradients.size() != theirs.gradients.size()) return expect(false, what + ": no gradients of one of the two");
  for (size_t i = 0; i < mine.gradients.size(); ++i)
    expect_close(text(what, ", gradient ", i), mine.gradients[i], theirs.gradients[i], type);
}

int64_t failure_count() { return failures; }

void use_device(at::Device value) { device = value; }

void use_native_float8(bool value) { native_float8 = value; }
bool has_native_float8() { return native_float8; }

Tensor there(const Tensor &x) {
  if (device.is_cpu()) return x;
  // The whole memory moves, so that views stay views.
  auto count = static_cast<int64_t>(x.storage().nbytes() / x.element_size());
  auto memory = at::empty({0}, x.options()).set_(x.storage(), 0, {count}, {1});
  return memory.to(device).as_strided(x.sizes(), x.strides(), x.storage_offset());
}

std::vector<std::string> missing_operators() {
  auto key = c10::computeDispatchKey(std::nullopt, std::nullopt, device);
  std::vector<std::string> names;
  auto &dispatcher = c10::Dispatcher::singleton();
  for (const auto &name : dispatcher.getAllOpNames()) {
    if (name.name.rfind("xtuner::", 0) != 0) continue;
    auto op = dispatcher.findSchema(name);
    if (op && !op->hasKernelForDispatchKey(key)) names.push_back(name.name);
  }
  return names;
}

}  // namespace sanitized
