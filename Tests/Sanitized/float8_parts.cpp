// Quantisation of parts of matrices, cut anywhere.
#include <ATen/ATen.h>

#include "../../Sources/CTorch/operators/dispatch.h"
#include "../../Sources/CTorch/operators/float8/parts.h"
#include "support.h"

namespace sanitized {
namespace {

void check_part(at::ScalarType type) {
  int64_t groups = one_of({1, 1, 2, 5}), rows = one_of({1, 16, 127, 128, 129, 257}),
          width = one_of({1, 15, 16, 128, 130, 193});
  int64_t start = between(0, groups * rows * width), end = between(start, groups * rows * width);
  auto x = random({end - start}, type);
  auto name = text("part ", start, " to ", end, " of ", groups, " x ", rows, " x ", width);
  auto largest = xtuner::call<Tensor(const Tensor &, int64_t, int64_t, int64_t, int64_t)>(
      "xtuner::fp8_part_magnitudes", there(x), start, groups, rows, width);
  auto expected = xtuner::reference::fp8_part_magnitudes(x, start, groups, rows, width);
  expect(at::equal(largest.cpu(), expected), "magnitudes of " + name);
  // Other ranks may have larger ones.
  auto scales = xtuner::fp8_scales(expected + (coin() ? 1 << 23 : 0));
  auto values = there(at::empty({x.numel()}, x.options().dtype(at::kFloat8_e4m3fn)));
  xtuner::call<void(Tensor &, const Tensor &, const Tensor &, int64_t, int64_t, int64_t)>(
      "xtuner::fp8_quantize_part_", values, there(x), there(scales), start, rows, width);
  expect(at::equal(values.cpu().view(at::kByte),
                   xtuner::reference::fp8_quantize_part(x, scales, start, rows, width).view(at::kByte)),
         "values of " + name);
}

}  // namespace

void check_float8_parts() {
  for (int round = 0; round < 40; ++round) {
    check_part(at::kBFloat16);
    check_part(at::kFloat);
  }
}

}  // namespace sanitized
