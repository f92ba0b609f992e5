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

/// Makes this rank's part of a group on the thread's current device. Both plug-ins have one by the name
/// `xtuner_group_create`: libXTunerCUDA.so for NCCL, libXTunerAscend.so for HCCL.
///
/// `store` is a `c10::intrusive_ptr<c10d::Store> *`; `out` gets a `c10::intrusive_ptr<c10d::Backend> *` of the caller.
/// Returns whether it went well; else `message` has the cause, cut at `capacity` bytes.
typedef bool (*CTGroupMaker)(void *store, int32_t index, int32_t size, int64_t timeout_ms, const char *name,
                             void *_Nullable *_Nonnull out, char *message, int64_t capacity);
/// A plug-in's function, which is opened for it.
CTStatus ct_plugin_group_maker(const char *plugin, CTGroupMaker _Nullable *_Nonnull out);
/// As ct_group_create, by a plug-in. Operations run on the device, in the order of its streams: ct_work_wait makes the
/// current stream wait, not this thread.
CTStatus ct_group_create_by(CTGroupMaker maker, ct_store *store, const char *prefix, int32_t index, int32_t size,
                            int64_t timeout_ms, const char *name, ct_group *_Nullable *_Nonnull out);
/// The orderly end of a group whose operations have all ended; frees nothing.
CTStatus ct_group_shutdown(ct_group *group);
/// Ends operations under way with an error; the group is of no further use.
CTStatus ct_group_abort(ct_group *group);

typedef struct ct_outcome ct_outcome;  // whether an operation has ended; keeps none of its tensors alive where it can
CTStatus ct_work_outcome(ct_work *work, ct_outcome *_Nullable *_Nonnull out);
/// Whether the operation has ended, without waiting. Its error is this one's.
CTStatus ct_outcome_check(const ct_outcome *outcome, bool *ended);
void ct_outcome_free(ct_outcome *outcome);

/// Writes what a plug-in's flight recorder has of the last operations to a file; `written` is false where the plug-in has
/// none.
CTStatus ct_plugin_write_flight_record(const char *plugin, const char *path, bool *written);

#pragma clang assume_nonnull end
#ifdef __cplusplus
}
#endif
#endif
