// Libraries of devices that are opened while the program runs, and what the NVIDIA driver says.
#ifndef CTORCH_PLUGINS_H
#define CTORCH_PLUGINS_H
#include "ctorch_distributed.h"
#ifdef __cplusplus
extern "C" {
#endif
#pragma clang assume_nonnull begin

/// The folder of the libtorch in use; valid for the whole process.
CTStatus ct_torch_folder(const char *_Nullable *_Nonnull out);
/// Opens a library for the rest of the process, its symbols for all. The message is the linker's.
CTStatus ct_open_library(const char *path);

/// One NVIDIA device; memory in bytes.
typedef struct CTCudaDevice {
  char name[256];
  int32_t major, minor, processors;
  int64_t memory;
} CTCudaDevice;
/// The version of CUDA that the driver supports, such as 13000 for 13.0, and the number of devices. `library` is the
/// driver's, libcuda.so.1; it stays open. Fails where there is no driver, or it does not start. No context is made.
CTStatus ct_cuda_driver(const char *library, int32_t *version, int32_t *device_count);
CTStatus ct_cuda_device(const char *library, int32_t index, CTCudaDevice *out);

/// What the CUDA plug-in chose for attention by measurement so far, a line for each class of shapes, cut at `capacity`
/// bytes; empty where it is not open.
void ct_cuda_attention_choices(char *text, int64_t capacity);

/// As ct_group_create, over NCCL: for tensors on the current CUDA device. The CUDA plug-in must be open. An operation
/// that takes longer than `timeout_ms` is aborted, with the group.
CTStatus ct_group_create_nccl(ct_store *store, const char *prefix, int32_t index, int32_t size, int64_t timeout_ms,
                              const char *name, ct_group *_Nullable *_Nonnull out);
/// As ct_group_create, by HCCL on this thread's NPU; `plugin` is the path of libXTunerAscend.so.
CTStatus ct_group_create_hccl(const char *plugin, ct_store *store, const char *prefix, int32_t index, int32_t size,
                              int64_t timeout_ms, ct_group *_Nullable *_Nonnull out);
/// Ends operations under way with an error; the group is of no further use.
CTStatus ct_group_abort(ct_group *group);

#pragma clang assume_nonnull end
#ifdef __cplusplus
}
#endif
#endif
