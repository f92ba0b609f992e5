// Products of float8_e4m3fn operands: on compute capability 9.0 those of the tensor cores, and everywhere those of float32
// numbers.
#include <ATen/ops/zeros.h>

#include "../../../CTorch/operators/float8/arguments.h"
#include "../../../CTorch/operators/float8/emulated.h"
#include "../../../CTorch/operators/float8/operators.h"
#include "../../kernels/float8_products.h"
#include "../arguments.h"

namespace xtuner::cuda_operators {
namespace {

using OptionalTensor = std::optional<Tensor>;

const uint8_t *bytes_of(const Tensor &values) { return static_cast<const uint8_t *>(values.const_data_ptr()); }

/// Multiprocessors of the current device, which has to multiply float8 as the kernels do.
int processors_for(const char *what) {
  cuda::CurrentDevice device{};
  auto error = cuda::current_device(device);
  TORCH_CHECK(error == nullptr, what, ": CUDA does not say what the device is: ", error);
  TORCH_CHECK(device.major == 9 && device.minor == 0, what,
              ": native products need a GPU of compute capability 9.0, this one has ", device.major, ".", device.minor,
              "; emulated products work there too");
  return device.processors;
}

/// The tensor memory accelerator reads rows at multiples of 16 bytes.
void check_operand(const Tensor &values, const Tensor &scales, at::IntArrayRef scale_sizes, const char *what) {
  TORCH_CHECK(
      values.scalar_type() == at::kFloat8_e4m3fn && scales.scalar_type() == at::kFloat && scales.sizes() == scale_sizes,
      what, ": ", values.scalar_type(), values.sizes(), " with scales ", scales.scalar_type(), scales.sizes(),
      ", needs float8_e4m3fn and float32 ", scale_sizes);
  TORCH_CHECK(values.size(-1) % 16 == 0 && values.size(-2) % 16 == 0 &&
                  reinterpret_cast<uintptr_t>(values.const_data_ptr()) % 16 == 0,
              what, ": native products need sizes and addresses that are multiples of 16, got ", values.sizes(), " at ",
              values.const_data_ptr());
}

/// Weights with dense rows along the sum. The backward pass comes with a transposed view of others.
Tensor with_dense_rows(const Tensor &weight, cudaStream_t stream) {
  if (weight.is_contiguous()) return weight;
  auto from = weight.mT().contiguous();
  TORCH_CHECK(from.size(-1) % 16 == 0 && from.size(-2) % 16 == 0 &&
                  reinterpret_cast<uintptr_t>(from.const_data_ptr()) % 16 == 0,
              "fp8_transpose: needs sizes and addresses that are multiples of 16, got ", from.sizes(), " at ",
              from.const_data_ptr());
  auto out = at::empty(weight.sizes(), weight.options());
  cuda::fp8_transpose(bytes_of(from), static_cast<uint8_t *>(out.mutable_data_ptr()),
                      from.dim() == 3 ? from.size(0) : 1, from.size(-2), from.size(-1), stream);
  return out;
}

/// Makes the groups' problems by `prepare`, and computes them.
template <typename Prepare>
void multiply(cuda::Fp8Output output, int64_t groups, const Tensor &like, const char *what, cudaStream_t stream,
              Prepare &&prepare) {
  int processors = processors_for(what);
  auto memory = [&](int64_t bytes) { return at::empty({bytes}, like.options().dtype(at::kByte)); };
  auto arrays = memory(cuda::fp8_problem_bytes(groups));
  auto workspace = memory(cuda::fp8_workspace(output, groups, processors));
  auto problems = cuda::fp8_problems_in(arrays.mutable_data_ptr(), groups);
  prepare(problems);
  auto error = cuda::fp8_multiply(output, problems, processors, workspace.mutable_data_ptr(), stream);
  TORCH_CHECK(error == nullptr, what, ": CUTLASS says: ", error);
}

Tensor native_product(const Tensor &x, const Tensor &x_scales, const Tensor &weight, const Tensor &weight_scales,
                      const OptionalTensor &offsets, const char *what) {
  TORCH_CHECK(x.dim() == 2 && weight.dim() == (offsets ? 3 : 2) && x.size(1) == weight.size(-1) &&
                  (!offsets || offsets->numel() == weight.size(0)),
              what, ": x ", x.sizes(), " with weight ", weight.sizes());
  if (offsets) check_fp8_offsets(*offsets, what);
  check_devices(what, x, x_scales, weight, weight_scales, offsets);
  check_row_count(x.size(0), what);
  int64_t rows = x.size(0), n = weight.size(-2), k = weight.size(-1), tiles = fp8_tiles(k);
  auto y = at::empty({rows, n}, x.options().dtype(at::kBFloat16));
  if (rows == 0) return y;
  OnDevice stream(x);
  auto from = x.contiguous(), matrices = with_dense_rows(weight, stream);
  auto scale_sizes = weight.sizes().vec();
  scale_sizes[scale_sizes.size() - 2] = fp8_tiles(n);
  scale_sizes[scale_sizes.size() - 1] = tiles;
  check_operand(matrices, weight_scales, scale_sizes, what);
  TORCH_CHECK(x.scalar_type() == at::kFloat8_e4m3fn && x_scales.sizes() == at::IntArrayRef({rows, tiles}), what, ": x ",
              x.scalar_type(), x.sizes(), " with scales ", x_scales.sizes());
  auto by_tile = x_scales.t().contiguous(), of_blocks = weight_scales.contiguous(), by_group = floats(x, {tiles, rows});
  int64_t groups = offsets ? offsets->numel() : 1;
  multiply(cuda::Fp8Output::rows, groups, x, what, stream, [&](const cuda::Fp8Problems &problems) {
    cuda::Fp8RowProducts products{};
    products.x = bytes_of(from);
    products.weight = bytes_of(matrices);
    products.x_scales = by_tile.const_data_ptr<float>();
    products.weight_scales = of_blocks.const_data_ptr<float>();
    products.offsets = offsets ? offsets->const_data_ptr<int64_t>() : nullptr;
    products.group_scales = by_group.mutable_data_ptr<float>();
    products.out = y.mutable_data_ptr();
    products.groups = groups;
    products.rows = rows;
    products.n = n;
    products.k = k;
    cuda::fp8_row_problems(products, problems, stream);
  });
  return y;
}

Tensor native_weight_gradient(const Tensor &grad, const Tensor &grad_scales, const Tensor &x, const Tensor &x_scales,
                              const OptionalTensor &offsets, at::ScalarType dtype) {
  constexpr auto what = "fp8_weight_gradient";
  TORCH_CHECK(grad.dim() == 2 && x.dim() == 2 && grad.size(1) == x.size(1) && x.size(1) % kFp8Tile == 0, what,
              ": gradient ", grad.sizes(), " with x ", x.sizes(), ", whose columns are whole tiles");
  TORCH_CHECK(dtype == at::kBFloat16 || dtype == at::kFloat, what, ": makes bfloat16 and float32, not ", dtype);
  if (offsets) check_fp8_offsets(*offsets, what);
  check_devices(what, grad, grad_scales, x, x_scales, offsets);
  int64_t n = grad.size(0), k = x.size(0), padded = x.size(1), groups = offsets ? offsets->numel() : 1;
  std::vector<int64_t> sizes = {n, k};
  if (offsets) sizes.insert(sizes.begin(), groups);
  auto options = x.options().dtype(dtype);
  if (padded == 0) return at::zeros(sizes, options);
  auto from = grad.contiguous(), rows = x.contiguous();
  check_operand(from, grad_scales, {n, padded / kFp8Tile}, what);
  check_operand(rows, x_scales, {k, padded / kFp8Tile}, what);
  OnDevice stream(x);
  auto of_grad = grad_scales.t().contiguous(), of_x = x_scales.t().contiguous(), out = at::empty(sizes, options);
  auto output = dtype == at::kFloat ? cuda::Fp8Output::float_weights : cuda::Fp8Output::weights;
  multiply(output, groups, x, what, stream, [&](const cuda::Fp8Problems &problems) {
    cuda::Fp8WeightProducts products{};
    products.grad = bytes_of(from);
    products.x = bytes_of(rows);
    products.grad_scales = of_grad.const_data_ptr<float>();
    products.x_scales = of_x.const_data_ptr<float>();
    products.offsets = offsets ? offsets->const_data_ptr<int64_t>() : nullptr;
    products.out = out.mutable_data_ptr();
    products.groups = groups;
    products.padded = padded;
    products.n = n;
    products.k = k;
    products.out_size = out.element_size();
    cuda::fp8_weight_problems(products, problems, stream);
  });
  if (offsets)
    cuda::clear_empty_groups(out.mutable_data_ptr(), offsets->const_data_ptr<int64_t>(), groups,
                             n * k * out.element_size(), stream);
  return out;
}

Tensor product(const Tensor &x, const Tensor &x_scales, const Tensor &weight, const Tensor &weight_scales,
               const OptionalTensor &bias, bool native) {
  if (!native) return emulated::product(x, x_scales, weight, weight_scales, bias);
  auto y = native_product(x, x_scales, weight, weight_scales, std::nullopt, "fp8_product");
  return bias ? y.add_(*bias) : y;
}

Tensor grouped_product(const Tensor &x, const Tensor &x_scales, const Tensor &weight, const Tensor &weight_scales,
                       const Tensor &offsets, bool native) {
  return native ? native_product(x, x_scales, weight, weight_scales, offsets, "fp8_grouped_product")
                : emulated::grouped_product(x, x_scales, weight, weight_scales, offsets);
}

Tensor weight_gradient(const Tensor &grad, const Tensor &grad_scales, const Tensor &x, const Tensor &x_scales,
                       const OptionalTensor &offsets, at::ScalarType dtype, bool native) {
  return native ? native_weight_gradient(grad, grad_scales, x, x_scales, offsets, dtype)
                : emulated::weight_gradient(grad, grad_scales, x, x_scales, offsets, dtype);
}

}  // namespace
}  // namespace xtuner::cuda_operators

TORCH_LIBRARY_IMPL(xtuner, XTUNER_DEVICE_KEY, m) {
  using namespace xtuner::cuda_operators;
  m.impl("fp8_product", product);
  m.impl("fp8_grouped_product", grouped_product);
  m.impl("fp8_weight_gradient", weight_gradient);
}
