// Quantisation to float8_e4m3fn of what a rank has of matrices that ranks share.
#include "../../../CTorch/operators/float8/parts.h"
#include "../arguments.h"

namespace xtuner::cuda_operators {
namespace {

cuda::FlatPart part_of(const Tensor &x, int64_t start, int64_t groups, int64_t rows, int64_t width, const char *what) {
  check_row_count(groups * fp8_tiles(rows) * fp8_tiles(width), what);
  return {start, x.numel(), groups, rows, width};
}

Tensor part_magnitudes(const Tensor &x, int64_t start, int64_t groups, int64_t rows, int64_t width) {
  fp8_check_part("fp8_part_magnitudes", x, start, groups, rows, width);
  auto part = part_of(x, start, groups, rows, width, "fp8_part_magnitudes");
  OnDevice stream(x);
  auto largest = at::empty({groups, fp8_tiles(rows), fp8_tiles(width)}, x.options().dtype(at::kInt));
  cuda::fp8_part_magnitudes(element_of(x, "fp8_part_magnitudes"), pointer(x), largest.mutable_data_ptr<int32_t>(), part,
                            stream);
  return largest;
}

void quantize_part(Tensor &values, const Tensor &x, const Tensor &scales, int64_t start, int64_t rows, int64_t width) {
  int64_t groups = fp8_check_part("fp8_quantize_part", values, x, scales, start, rows, width);
  check_devices("fp8_quantize_part", x, values, scales);
  auto part = part_of(x, start, groups, rows, width, "fp8_quantize_part");
  OnDevice stream(x);
  cuda::fp8_quantize_part(element_of(x, "fp8_quantize_part"), pointer(x), values.mutable_data_ptr(),
                          scales.const_data_ptr<float>(), part, stream);
}

}  // namespace
}  // namespace xtuner::cuda_operators

TORCH_LIBRARY_IMPL(xtuner, XTUNER_DEVICE_KEY, m) {
  using namespace xtuner::cuda_operators;
  m.impl("fp8_part_magnitudes", part_magnitudes);
  m.impl("fp8_quantize_part_", quantize_part);
}
