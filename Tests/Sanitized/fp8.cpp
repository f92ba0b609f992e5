// Quantisation to float8_e4m3fn and products of quantised operands.
#include "../../Sources/CTorch/operators/fp8.h"

#include <ATen/ATen.h>

#include "../../Sources/CTorch/operators/dispatch.h"
#include "support.h"

namespace sanitized {
namespace {

using Pair = xtuner::Fp8Pair;
using OptionalTensor = std::optional<Tensor>;

int64_t rows() { return one_of({0, 1, 2, 17, 127, 128, 129, 131, 257}); }
int64_t columns() { return one_of({1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 193, 257}); }

void expect_same(const std::string &what, const Pair &mine, const Pair &theirs) {
  auto bytes = [](const Pair &pair) { return std::get<0>(pair).view(at::kByte); };
  expect(at::equal(bytes(mine), bytes(theirs)), what + " values");
  expect_close(what + " scales", std::get<1>(mine), std::get<1>(theirs));
}

void check_quantization(at::ScalarType type) {
  auto x = random_view(rows(), columns(), type);
  auto name = text("fp8 ", x.sizes(), " strides ", x.strides());
  using Signature = Pair(const Tensor &);
  auto in_rows = xtuner::call<Signature>("xtuner::fp8_quantize_rows", x);
  expect_same("rows of " + name, in_rows, xtuner::reference::fp8_quantize_rows(x));
  auto in_blocks = xtuner::call<Signature>("xtuner::fp8_quantize_blocks", x);
  expect_same("blocks of " + name, in_blocks, xtuner::reference::fp8_quantize_blocks(x));
  for (int64_t height : {int64_t(1), xtuner::kFp8Tile}) {
    const auto &[values, scales] = height == 1 ? in_rows : in_blocks;
    expect_close("fp8_dequantize " + name,
                 xtuner::call<Tensor(const Tensor &, const Tensor &, int64_t, at::ScalarType)>(
                     "xtuner::fp8_dequantize", values, scales, height, type),
                 xtuner::reference::fp8_dequantize(values, scales, height, type));
  }
}

void check_groups() {
  int64_t experts = one_of({1, 2, 3, 7}), outputs = columns(), inputs = columns();
  std::vector<int64_t> ends;
  for (int64_t e = 0; e < experts; ++e) ends.push_back((e == 0 ? 0 : ends.back()) + (coin() ? 0 : rows()));
  OptionalTensor offsets = at::tensor(ends, at::kLong);
  auto x = random({ends.back(), inputs}, at::kBFloat16), grad = random({ends.back(), outputs}, at::kBFloat16);
  auto weight = random({experts, outputs, inputs}, at::kBFloat16);
  auto name = text("fp8 groups ending at ", at::IntArrayRef(ends), " x ", inputs, " x ", outputs);
  auto columns_of = [&](const Tensor &t) {
    auto mine = xtuner::call<Pair(const Tensor &, const OptionalTensor &)>("xtuner::fp8_quantize_columns", t, offsets);
    expect_same(name, mine, xtuner::reference::fp8_quantize_columns(t, offsets));
    return mine;
  };
  auto [xv, xs] = columns_of(x);
  auto [gv, gs] = columns_of(grad);
  expect_close(
      name + " weight gradient",
      xtuner::call<Tensor(const Tensor &, const Tensor &, const Tensor &, const Tensor &, const OptionalTensor &,
                          at::ScalarType)>("xtuner::fp8_weight_gradient", gv, gs, xv, xs, offsets, at::kBFloat16),
      xtuner::reference::fp8_weight_gradient(gv, gs, xv, xs, offsets, at::kBFloat16));
  auto [rv, rs] = xtuner::reference::fp8_quantize_rows(x);
  auto [wv, ws] = xtuner::reference::fp8_quantize_blocks(weight);
  expect_close(name + " products",
               xtuner::call<Tensor(const Tensor &, const Tensor &, const Tensor &, const Tensor &, const Tensor &)>(
                   "xtuner::fp8_grouped_product", rv, rs, wv, ws, *offsets),
               xtuner::reference::fp8_grouped_product(rv, rs, wv, ws, *offsets));
}

}  // namespace

void check_fp8() {
  for (int round = 0; round < 40; ++round) {
    check_quantization(at::kBFloat16);
    check_quantization(at::kFloat);
    check_groups();
  }
}

}  // namespace sanitized
