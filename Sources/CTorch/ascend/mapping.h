// Our operators on Ascend NPUs: by torch_npu's fused operators where they compute the same, else by ATen's.
// Shapes are in ctorch.h. Nothing here has been run on an NPU: docs/ascend.md says what was checked.
#pragma once

#include <torch/library.h>

namespace xtuner::ascend {

void register_fused(torch::Library &library);
void register_composites(torch::Library &library);

}  // namespace xtuner::ascend
