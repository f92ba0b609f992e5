// Shapes of libtorch's operators that have none on the meta device without Python.
#include <ATen/WrapDimUtils.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

namespace {

at::Tensor index_select(const at::Tensor &self, int64_t dim, const at::Tensor &index) {
  auto sizes = self.sizes().vec();
  if (self.dim() > 0) sizes[at::maybe_wrap_dim(dim, self.dim())] = index.numel();
  return at::empty(sizes, self.options());
}

}  // namespace

TORCH_LIBRARY_IMPL(aten, Meta, m) { m.impl("index_select", index_select); }
