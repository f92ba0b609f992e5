// Norms and rotation.
#include <ATen/ATen.h>

#include "../../Sources/CTorch/operators/norm/operators.h"
#include "support.h"

namespace sanitized {
namespace {

namespace reference = xtuner::reference;

constexpr double kEpsilon = 1e-5;

int64_t row_count() { return one_of({0, 1, 2, 3, 7, 63, 64, 65, 127, 129, 193}); }
int64_t width() { return one_of({1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 61, 64, 127, 257}); }

Tensors pair(std::tuple<Tensor, Tensor> &&values) { return {std::get<0>(values), std::get<1>(values)}; }

/// A weight that is dense or every other element.
Tensor weight(int64_t count, at::ScalarType type) {
  return coin() ? random({count}, type) : random({2 * count}, type).slice(0, 0, std::nullopt, 2);
}

void check_norms(int64_t rows, int64_t columns, at::ScalarType type) {
  auto x = random_view(rows, columns, type), w = weight(columns, type);
  expect_equal_results(
      text("rms_norm ", rows, " x ", columns), {x, w},
      [](const Tensors &t) { return Tensors{xtuner::rms_norm(t[0], t[1], kEpsilon)}; },
      [](const Tensors &t) { return Tensors{reference::rms_norm(t[0], t[1], kEpsilon)}; });
  // What reads the sum, the norm or both.
  for (const auto &is_used : {std::vector<bool>{true, true}, {true, false}, {false, true}})
    expect_equal_results(
        text("add_rms_norm ", rows, " x ", columns, " used ", is_used[0], is_used[1]),
        {x, random_view(rows, columns, type), w},
        [](const Tensors &t) { return pair(xtuner::add_rms_norm(t[0], t[1], t[2], kEpsilon)); },
        [](const Tensors &t) { return pair(reference::add_rms_norm(t[0], t[1], t[2], kEpsilon)); }, is_used);
}

void check_rotations(at::ScalarType type) {
  int64_t tokens = row_count(), heads = between(1, 5),
          half = one_of({1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 129, 256});
  // Heads of a joint projection, or a tensor of their own.
  auto x = coin() ? random({tokens, heads + 3, 2 * half}, type).narrow(1, 2, heads)
                  : random({tokens, heads, 2 * half}, type);
  auto angles = random({tokens, half}, at::kFloat);
  auto cosine = angles.cos(), sine = angles.sin();
  bool interleaved = coin();
  auto name = text(tokens, " x ", heads, " x ", 2 * half, interleaved ? " interleaved" : "");
  expect_equal_results(
      "rotary " + name, {x},
      [&](const Tensors &t) { return Tensors{xtuner::rotary(t[0], there(cosine), there(sine), interleaved)}; },
      [&](const Tensors &t) { return Tensors{reference::rotary(t[0], cosine, sine, interleaved)}; });
  expect_equal_results(
      "norm_rotary " + name, {x, weight(2 * half, type)},
      [&](const Tensors &t) {
        return Tensors{xtuner::norm_rotary(t[0], t[1], kEpsilon, there(cosine), there(sine), interleaved)};
      },
      [&](const Tensors &t) {
        return Tensors{reference::norm_rotary(t[0], t[1], kEpsilon, cosine, sine, interleaved)};
      });
}

}  // namespace

void check_norm() {
  for (int round = 0; round < 25; ++round)
    for (auto type : kTypes) {
      check_norms(row_count(), width(), type);
      check_rotations(type);
    }
  // More rows than a device has blocks; columns that a device's thread takes several times.
  for (auto type : kTypes) {
    check_norms(541, one_of({16, 17}), type);
    check_norms(one_of({1, 3}), one_of({521, 1031, 4104, 8200}), type);
  }
}

}  // namespace sanitized
