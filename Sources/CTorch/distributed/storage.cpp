#include <c10/core/StorageImpl.h>
#include <c10/core/TensorImpl.h>
#include <c10/core/TensorOptions.h>

#include "../bridge.h"
#include "../device/device.h"
#include "ctorch_distributed.h"

namespace {

void release_storage(void *context) { delete static_cast<c10::Storage *>(context); }

c10::StorageImpl *storage_of(const ct_tensor *tensor) { return tensor->value.storage().unsafeGetStorageImpl(); }

}  // namespace

CTStatus ct_tensor_detached_storage(int64_t count, int32_t dtype, CTDevice device, ct_tensor **out) {
  return guarded([&] {
    TORCH_CHECK(count >= 0, "a tensor of ", count, " elements");
    auto type = c10::scalarTypeToTypeMeta(to_scalar_type(dtype));
    auto place = to_current_device(device);
    auto byte_count = static_cast<size_t>(count) * type.itemsize();
    auto storage = c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), byte_count,
                                                         c10::DataPtr(nullptr, place),
                                                         /*allocator=*/nullptr, /*resizable=*/false);
    c10::DispatchKeySet key(c10::computeDispatchKey(to_scalar_type(dtype), c10::kStrided, place));
    auto tensor = at::detail::make_tensor<c10::TensorImpl>(c10::Storage(std::move(storage)), key, type);
    tensor.unsafeGetTensorImpl()->set_sizes_contiguous({count});
    *out = new ct_tensor{std::move(tensor)};
  });
}

CTStatus ct_tensor_attach_memory(ct_tensor *tensor, ct_tensor *other) {
  return guarded([&] {
    auto *storage = storage_of(tensor);
    TORCH_CHECK(other->value.device() == tensor->value.device() && other->value.is_contiguous(),
                "memory is taken from contiguous tensors of the same device");
    TORCH_CHECK(storage != storage_of(other), "a tensor's own memory cannot be attached to it");
    TORCH_CHECK(other->value.nbytes() >= storage->nbytes(), "the storage needs ", storage->nbytes(),
                " bytes, the tensor has ", other->value.nbytes());
    void *memory = storage->nbytes() == 0 ? nullptr : other->value.mutable_data_ptr();
    storage->set_data_ptr_noswap(
        c10::DataPtr(memory, new c10::Storage(other->value.storage()), &release_storage, storage->device()));
  });
}

CTStatus ct_tensor_detach_memory(ct_tensor *tensor) {
  return guarded([&] {
    auto *storage = storage_of(tensor);
    storage->set_data_ptr_noswap(c10::DataPtr(nullptr, storage->device()));
  });
}

bool ct_tensor_has_memory(const ct_tensor *tensor) {
  const auto *storage = storage_of(tensor);
  return storage->nbytes() == 0 || storage->data() != nullptr;
}
