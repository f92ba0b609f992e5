// Quantisation to float8_e4m3fn and products of quantised operands.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "../../Sources/CTorch/operators/dispatch.h"
#include "../../Sources/CTorch/operators/float8/operators.h"
#include "support.h"

namespace sanitized {
namespace {

using Pair = xtuner::Fp8Pair;
using OptionalTensor = std::optional<Tensor>;

int64_t rows() { return one_of({0, 1, 2, 17, 127, 128, 129, 131, 257}); }
int64_t sixteens() { return one_of({16, 48, 128, 144, 272}); }
int64_t columns() { return one_of({1, 8, 15, 16, 17, 24, 63, 64, 65, 127, 128, 129, 193, 257}); }

/// The bits, but for the sign of NaN, which is any.
Tensor bytes_of(const Tensor &values) {
  auto bytes = values.cpu().contiguous().view(at::kByte);
  return at::where(bytes == 0xff, 0x7f, bytes);
}
Tensor bits_of(const Tensor &numbers) {
  auto all = numbers.cpu().contiguous();
  all = at::where(all.isnan(), at::full({}, NAN, all.options()), all);
  return all.scalar_type() == at::kFloat ? all.view(at::kInt) : all.view(at::kShort);
}

void expect_same(const std::string &what, const Pair &mine, const Pair &theirs) {
  const auto &[values, scales] = mine;
  expect(at::equal(bytes_of(values), bytes_of(std::get<0>(theirs))), what + " values");
  expect(at::equal(bits_of(scales), bits_of(std::get<1>(theirs))), what + " scales");
  expect(scales.numel() < 2 || scales.stride(0) == 1 || scales.is_contiguous(), what + " layout of scales");
}

/// Numbers of all sizes: subnormal ones, zeros of both signs, ties; sometimes an infinity or a NaN somewhere.
Tensor awkward(Tensor x) {
  if (x.numel() == 0) return x;
  auto exponents = at::randint(-140, 120, {x.size(-1)}, at::kFloat);
  auto kind = between(0, 5);
  if (kind == 0) x.mul_(exponents.exp2());
  if (kind == 1) x.mul_(0x1p-134);
  if (kind == 2) x.copy_(at::randint(-480, 481, x.sizes(), at::kFloat));
  if (kind == 3) x.mul_(at::randint(-1, 2, x.sizes(), at::kFloat));
  for (float special : {INFINITY, -INFINITY, NAN})
    if (between(0, 9) == 0)
      x.select(0, between(0, x.size(0) - 1)).select(-1, between(0, x.size(-1) - 1)).fill_(special);
  return x;
}

Tensor dequantized(const Tensor &values, const Tensor &scales, int64_t height, at::ScalarType type) {
  return xtuner::call<Tensor(const Tensor &, const Tensor &, int64_t, at::ScalarType)>("xtuner::fp8_dequantize", values,
                                                                                       scales, height, type);
}

void check_quantization(at::ScalarType type) {
  auto x = awkward(random_view(rows(), columns(), type));
  auto name = text("fp8 ", x.sizes(), " strides ", x.strides());
  using Signature = Pair(const Tensor &);
  auto in_rows = xtuner::call<Signature>("xtuner::fp8_quantize_rows", there(x));
  expect_same("rows of " + name, in_rows, xtuner::reference::fp8_quantize_rows(x));
  auto in_blocks = xtuner::call<Signature>("xtuner::fp8_quantize_blocks", there(x));
  expect_same("blocks of " + name, in_blocks, xtuner::reference::fp8_quantize_blocks(x));
  for (int64_t height : {int64_t(1), xtuner::kFp8Tile}) {
    const auto &[values, scales] = height == 1 ? in_rows : in_blocks;
    for (auto wanted : {at::kFloat, at::kBFloat16}) {
      auto mine = dequantized(values, scales, height, wanted);
      auto theirs = xtuner::reference::fp8_dequantize(values.cpu(), scales.cpu(), height, wanted);
      expect(at::equal(bits_of(mine), bits_of(theirs)), text("fp8_dequantize to ", wanted, " of ", name));
    }
  }
  // Matrices of several groups; a view of a gathered buffer starts anywhere.
  int64_t groups = one_of({1, 2, 5}), width = columns();
  auto memory = random({groups * rows() * width + 1}, type);
  int64_t skipped = between(0, 1), height = (memory.numel() - 1) / (groups * width);
  auto matrices = memory.narrow(0, skipped, groups * height * width).view({groups, height, width});
  auto mine = xtuner::call<Signature>("xtuner::fp8_quantize_blocks", there(matrices));
  auto theirs = xtuner::reference::fp8_quantize_blocks(matrices);
  auto whole = text("fp8 ", matrices.sizes(), " from element ", skipped);
  expect_same("blocks of " + whole, mine, theirs);
  expect(at::equal(bits_of(dequantized(std::get<0>(mine), std::get<1>(mine), xtuner::kFp8Tile, type)),
                   bits_of(xtuner::reference::fp8_dequantize(std::get<0>(theirs), std::get<1>(theirs), xtuner::kFp8Tile,
                                                             type))),
         "fp8_dequantize of " + whole);
}

/// Operators that quantise what they make: the bits of the two operators that they stand for.
void check_fused(at::ScalarType type) {
  auto gate_up = awkward(random({rows(), 2 * columns()}, type));
  auto name = text("fp8 of swiglu ", gate_up.sizes(), " ", type);
  using Quantize = Pair(const Tensor &);
  using Columns = Pair(const Tensor &, const OptionalTensor &);
  auto y = xtuner::call<Tensor(const Tensor &)>("xtuner::swiglu", there(gate_up));
  expect_same("rows of " + name, xtuner::call<Quantize>("xtuner::fp8_swiglu_rows", there(gate_up)),
              xtuner::reference::fp8_quantize_rows(y.cpu()));
  std::vector<int64_t> ends = {between(0, gate_up.size(0)), gate_up.size(0), gate_up.size(0)};
  std::sort(ends.begin(), ends.end());
  for (const auto &offsets : {OptionalTensor(), OptionalTensor(at::tensor(ends, at::kLong))}) {
    auto offsets_there = offsets ? OptionalTensor(there(*offsets)) : std::nullopt;
    expect_same(text("columns of ", name, offsets ? " in groups" : ""),
                xtuner::call<Columns>("xtuner::fp8_swiglu_columns", there(gate_up), offsets_there),
                xtuner::reference::fp8_quantize_columns(y.cpu(), offsets));
  }
  auto x = random({rows(), columns()}, type), residual = random(x.sizes(), type), weight = random({x.size(1)}, type);
  using Norm = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>(const Tensor &, const OptionalTensor &,
                                                                  const Tensor &, double);
  auto [no_sum, alone, scale, values, scales] =
      xtuner::call<Norm>("xtuner::fp8_rms_norm", there(x), OptionalTensor(), there(weight), 1e-6);
  auto [plain, plain_scale] =
      xtuner::call<Pair(const Tensor &, const Tensor &, double)>("xtuner::rms_norm", there(x), there(weight), 1e-6);
  auto of_norm = text("fp8 of a norm of ", x.sizes(), " ", type);
  expect(at::equal(alone.cpu(), plain.cpu()), of_norm);
  expect(at::equal(scale.cpu(), plain_scale.cpu()), of_norm + ", scale");
  expect_same(of_norm, {values, scales}, xtuner::reference::fp8_quantize_rows(alone.cpu()));
  expect(!no_sum.defined(), of_norm + " has no sum");
  auto [sum, added, add_scale, add_values, add_scales] =
      xtuner::call<Norm>("xtuner::fp8_rms_norm", there(x), OptionalTensor(there(residual)), there(weight), 1e-6);
  auto [plain_sum, plain_added, plain_add_scale] =
      xtuner::call<std::tuple<Tensor, Tensor, Tensor>(const Tensor &, const Tensor &, const Tensor &, double)>(
          "xtuner::add_rms_norm", there(x), there(residual), there(weight), 1e-6);
  expect(at::equal(sum.cpu(), plain_sum.cpu()), of_norm + " with an addition, sum");
  expect(at::equal(added.cpu(), plain_added.cpu()), of_norm + " with an addition");
  expect(at::equal(add_scale.cpu(), plain_add_scale.cpu()), of_norm + " with an addition, scale");
  expect_same(of_norm + " with an addition", {add_values, add_scales},
              xtuner::reference::fp8_quantize_rows(added.cpu()));
}

using Product = Tensor(const Tensor &, const Tensor &, const Tensor &, const Tensor &, const OptionalTensor &, bool);
using Products = Tensor(const Tensor &, const Tensor &, const Tensor &, const Tensor &, const Tensor &, bool);
using Gradients = Tensor(const Tensor &, const Tensor &, const Tensor &, const Tensor &, const OptionalTensor &,
                         at::ScalarType, bool);

/// `ends` are the groups' ends, none for one group. Native products need inputs and outputs in multiples of 16.
void check_products(const std::vector<int64_t> &ends, int64_t count, int64_t inputs, int64_t outputs, bool native) {
  auto offsets = ends.empty() ? OptionalTensor() : at::tensor(ends, at::kLong);
  auto offsets_there = ends.empty() ? offsets : there(*offsets);
  auto x = random({count, inputs}, at::kBFloat16), grad = random({count, outputs}, at::kBFloat16);
  if (!native) awkward(x);
  if (native && count > 0 && coin()) x[between(0, count - 1)][between(0, inputs - 1)] = NAN;
  auto name = text(native ? "native fp8 " : "fp8 ", count, " rows, groups ending at ", at::IntArrayRef(ends), " x ",
                   inputs, " x ", outputs);
  auto columns_of = [&](const Tensor &t) {
    auto mine = xtuner::call<Pair(const Tensor &, const OptionalTensor &)>("xtuner::fp8_quantize_columns", there(t),
                                                                           offsets_there);
    auto theirs = xtuner::reference::fp8_quantize_columns(t, offsets);
    expect_same(name + " columns", mine, theirs);
    auto [rv, rs, cv, cs] =
        xtuner::call<std::tuple<Tensor, Tensor, Tensor, Tensor>(const Tensor &, const OptionalTensor &)>(
            "xtuner::fp8_quantize_both", there(t), offsets_there);
    expect_same(name + " rows of both", {rv, rs}, xtuner::reference::fp8_quantize_rows(t));
    expect_same(name + " columns of both", {cv, cs}, theirs);
    return theirs;
  };
  auto [xv, xs] = columns_of(x);
  auto [gv, gs] = columns_of(grad);
  for (auto type : {at::kBFloat16, at::kFloat})
    expect_close(name + " weight gradient",
                 xtuner::call<Gradients>("xtuner::fp8_weight_gradient", there(gv), there(gs), there(xv), there(xs),
                                         offsets_there, type, native),
                 xtuner::reference::fp8_weight_gradient(gv, gs, xv, xs, offsets, type), at::kBFloat16);
  auto [rv, rs] = xtuner::reference::fp8_quantize_rows(x);
  if (offsets) {
    // As in the backward pass too: a transposed view.
    auto weight = random({int64_t(ends.size()), outputs, inputs}, at::kBFloat16);
    auto [wv, ws] = xtuner::reference::fp8_quantize_blocks(weight);
    auto [tv, ts] = xtuner::reference::fp8_quantize_blocks(weight.mT().contiguous());
    auto theirs = xtuner::reference::fp8_grouped_product(rv, rs, wv, ws, *offsets);
    auto product = [&](const Tensor &values, const Tensor &scales) {
      return xtuner::call<Products>("xtuner::fp8_grouped_product", there(rv), there(rs), values, scales, *offsets_there,
                                    native);
    };
    expect_close(name + " products", product(there(wv), there(ws)), theirs);
    expect_close(name + " products of a transposed weight", product(there(tv).mT(), there(ts).mT()), theirs);
  } else {
    auto [wv, ws] = xtuner::reference::fp8_quantize_blocks(random({outputs, inputs}, at::kBFloat16));
    auto bias = coin() ? OptionalTensor(random({outputs}, at::kBFloat16)) : OptionalTensor();
    expect_close(name + " product",
                 xtuner::call<Product>("xtuner::fp8_product", there(rv), there(rs), there(wv), there(ws),
                                       bias ? there(*bias) : bias, native),
                 xtuner::reference::fp8_product(rv, rs, wv, ws, bias));
  }
}

/// A device without products of float8 says so.
void expect_native_is_refused() {
  auto [xv, xs] = xtuner::reference::fp8_quantize_rows(random({3, 16}, at::kBFloat16));
  auto [wv, ws] = xtuner::reference::fp8_quantize_blocks(random({16, 16}, at::kBFloat16));
  std::string message;
  try {
    xtuner::call<Product>("xtuner::fp8_product", there(xv), there(xs), there(wv), there(ws), OptionalTensor(), true);
  } catch (const c10::Error &error) {
    message = error.what_without_backtrace();
  }
  expect(message.find("emulated products") != std::string::npos, "native fp8_product is not refused: " + message);
}

void check_groups() {
  int64_t experts = one_of({1, 2, 3, 7, 33, 67}), all = between(0, experts - 1), kind = between(0, 2);
  std::vector<int64_t> ends;
  for (int64_t e = 0; e < experts; ++e) {
    int64_t count = kind == 0 ? (e == all ? rows() : 0) : kind == 1 ? (coin() ? 0 : between(1, 5)) : rows() % 140;
    ends.push_back((e == 0 ? 0 : ends.back()) + count);
  }
  check_products(ends, ends.back(), columns(), columns(), false);
  check_products({}, rows(), columns(), columns(), false);
  if (!has_native_float8()) return expect_native_is_refused();
  check_products(ends, ends.back(), sixteens(), sixteens(), true);
  check_products({}, rows(), sixteens(), sixteens(), true);
}

}  // namespace

void check_float8() {
  for (int round = 0; round < 40; ++round) {
    check_quantization(at::kBFloat16);
    check_quantization(at::kFloat);
    check_fused(at::kBFloat16);
    check_fused(at::kFloat);
    check_groups();
  }
}

}  // namespace sanitized
