// Products of groups of float8_e4m3fn operands on compute capability 9.0, by CUTLASS: the tensor cores multiply the
// values, and after every 128 products the sum is multiplied by both scales and added in float32.
//
// Which sizes and addresses a group has is read on the device (float8_problems.cu makes them), so that nothing waits for the
// numbers of rows.
#include <cutlass/cutlass.h>
#include <cutlass/gemm/device/gemm_universal_adapter.h>

#include <bit>
#include <cutlass/epilogue/collective/collective_builder.hpp>
#include <cutlass/gemm/collective/collective_builder.hpp>
#include <cutlass/gemm/kernel/gemm_universal.hpp>

#include "float8_products.h"

namespace xtuner::cuda {
namespace {

using cute::_1, cute::_2, cute::_128, cute::Int, cute::Shape;

/// D [M, N] of type Output = A [M, K] times B [N, K] transposed, all rows dense. A has a scale for each row and 128
/// columns, B one for each `kScaleRows` rows and 128 columns. Layouts of scales: A's are [K / 128][M], B's as kScalesOfB says.
template <typename Output, int kScaleRows, cute::GMMA::Major kScalesOfB>
struct Products {
  using Value = cutlass::float_e4m3_t;
  using RowMajor = cutlass::layout::RowMajor;
  using ColumnMajor = cutlass::layout::ColumnMajor;
  using Tile = Shape<_128, _128, _128>;
  /// Two neighbours along N share the rows of A.
  using Cluster = Shape<_1, _2, _1>;
  using Scales = cutlass::detail::Sm90BlockwiseScaleConfig<1, kScaleRows, 128, cute::GMMA::Major::MN, kScalesOfB>;
  using ScalesA = decltype(Scales::deduce_layoutSFA());
  using ScalesB = decltype(Scales::deduce_layoutSFB());
  static constexpr int kAligned = 16, kAlignedOutput = 16 / sizeof(Output);

  using Epilogue = typename cutlass::epilogue::collective::CollectiveBuilder<
      cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, Tile, Cluster,
      cutlass::epilogue::collective::EpilogueTileAuto, float, float, void, RowMajor *, kAlignedOutput, Output,
      RowMajor *, kAlignedOutput, cutlass::epilogue::PtrArrayTmaWarpSpecializedCooperative>::CollectiveOp;
  using Mainloop = typename cutlass::gemm::collective::CollectiveBuilder<
      cutlass::arch::Sm90, cutlass::arch::OpClassTensorOp, Value, cute::tuple<RowMajor *, ScalesA *>, kAligned, Value,
      cute::tuple<ColumnMajor *, ScalesB *>, kAligned, float, Tile, Cluster,
      cutlass::gemm::collective::StageCountAutoCarveout<static_cast<int>(sizeof(typename Epilogue::SharedStorage))>,
      cutlass::gemm::KernelPtrArrayTmaWarpSpecializedCooperativeFP8Blockwise>::CollectiveOp;
  using Problem = cutlass::gemm::GroupProblemShape<Shape<int, int, int>>;
  using Kernel = cutlass::gemm::kernel::GemmUniversal<Problem, Mainloop, Epilogue>;
  using Device = cutlass::gemm::device::GemmUniversalAdapter<Kernel>;

  // What float8_problems.cu writes is what CUTLASS reads.
  using Sizes = typename Problem::UnderlyingProblemShape;
  static_assert(std::bit_cast<Fp8Sizes>(Sizes{1, 2, 3}).m == 1 && std::bit_cast<Fp8Sizes>(Sizes{1, 2, 3}).n == 2 &&
                std::bit_cast<Fp8Sizes>(Sizes{1, 2, 3}).k == 3);
  static_assert(std::bit_cast<int64_t>(typename Kernel::InternalStrideA{7, {}, {}}) == 7 &&
                std::bit_cast<int64_t>(typename Kernel::InternalStrideB{7, {}, {}}) == 7 &&
                std::bit_cast<int64_t>(typename Kernel::InternalStrideD{7, {}, {}}) == 7);

  static typename Device::Arguments arguments(const Fp8Problems &p, int processors) {
    typename Device::Arguments a{};
    a.mode = cutlass::gemm::GemmUniversalMode::kGrouped;
    a.problem_shape = {static_cast<int>(p.count), reinterpret_cast<Sizes *>(p.sizes), nullptr};
    a.mainloop = {reinterpret_cast<const Value **>(p.a),
                  reinterpret_cast<typename Kernel::InternalStrideA *>(p.a_strides),
                  reinterpret_cast<const Value **>(p.b),
                  reinterpret_cast<typename Kernel::InternalStrideB *>(p.b_strides),
                  p.a_scales,
                  nullptr,  // the kernel makes the layouts of scales from the sizes
                  p.b_scales,
                  nullptr};
    a.epilogue = {{},
                  nullptr,
                  nullptr,
                  reinterpret_cast<Output **>(p.out),
                  reinterpret_cast<typename Kernel::InternalStrideD *>(p.out_strides)};
    a.epilogue.thread.alpha = 1;
    a.epilogue.thread.beta = 0;
    a.hw_info.sm_count = processors;
    return a;
  }

  static int64_t workspace(int64_t groups, int processors) {
    Fp8Problems none{};
    none.count = groups;
    return static_cast<int64_t>(Device::get_workspace_size(arguments(none, processors)));
  }

  static const char *run(const Fp8Problems &problems, int processors, void *workspace, cudaStream_t stream) {
    Device device;
    auto a = arguments(problems, processors);
    auto status = device.can_implement(a);
    if (status == cutlass::Status::kSuccess) status = device.initialize(a, workspace, stream);
    if (status == cutlass::Status::kSuccess) status = device.run(stream);
    return status == cutlass::Status::kSuccess ? nullptr : cutlassGetStatusString(status);
  }
};

using Rows = Products<cutlass::bfloat16_t, 128, cute::GMMA::Major::K>;
using Weights = Products<cutlass::bfloat16_t, 1, cute::GMMA::Major::MN>;
using FloatWeights = Products<float, 1, cute::GMMA::Major::MN>;

// Places of scales, as the kernel finds them, at sizes that are no multiples of a tile: the compiler checks that they are
// where our tensors have them. The row or column is counted in elements.
constexpr auto kSome = cute::make_shape(259, 400, 656);
constexpr auto kOfRows = Rows::Scales::tile_atom_to_shape_SFA(kSome);
static_assert(kOfRows(0, 0, 0) == 0 && kOfRows(258, 127, 0) == 258 && kOfRows(7, 128, 0) == 259 + 7 &&
              kOfRows(258, 655, 0) == 5 * 259 + 258);
constexpr auto kOfBlocks = Rows::Scales::tile_atom_to_shape_SFB(kSome);
static_assert(kOfBlocks(127, 127, 0) == 0 && kOfBlocks(0, 128, 0) == 1 && kOfBlocks(128, 0, 0) == 6 &&
              kOfBlocks(399, 655, 0) == 3 * 6 + 5);
constexpr auto kOfColumns = Weights::Scales::tile_atom_to_shape_SFB(kSome);
static_assert(kOfColumns(399, 127, 0) == 399 && kOfColumns(1, 128, 0) == 401 && kOfColumns(0, 655, 0) == 5 * 400);

template <typename Body>
auto with_products(Fp8Output output, Body &&body) {
  switch (output) {
    case Fp8Output::rows:
      return body(Rows{});
    case Fp8Output::weights:
      return body(Weights{});
    default:
      return body(FloatWeights{});
  }
}

}  // namespace

const char *current_device(CurrentDevice &current) {
  int device = 0;
  auto status = cudaGetDevice(&device);
  auto read = [&](int &value, cudaDeviceAttr attribute) {
    if (status == cudaSuccess) status = cudaDeviceGetAttribute(&value, attribute, device);
  };
  read(current.major, cudaDevAttrComputeCapabilityMajor);
  read(current.minor, cudaDevAttrComputeCapabilityMinor);
  read(current.processors, cudaDevAttrMultiProcessorCount);
  return status == cudaSuccess ? nullptr : cudaGetErrorString(status);
}

int64_t fp8_workspace(Fp8Output output, int64_t groups, int processors) {
  return with_products(output, [&](auto products) { return products.workspace(groups, processors); });
}

const char *fp8_multiply(Fp8Output output, const Fp8Problems &problems, int processors, void *workspace,
                         cudaStream_t stream) {
  return with_products(output, [&](auto products) { return products.run(problems, processors, workspace, stream); });
}

}  // namespace xtuner::cuda
