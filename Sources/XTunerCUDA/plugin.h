// The functions of libXTunerCUDA.so that the program looks up by name after it has opened it. Its operators need no
// function: they are registered with libtorch's dispatcher when the library is opened.
//
// The program decides before opening whether the library fits, by the line `marker` in the file (see plugin.cpp).
#pragma once

#include <cstdint>

extern "C" {

/// The version of libtorch that the library was compiled for.
const char *xtuner_cuda_built_for();

/// Makes calls of libtorch that wait for the device fail (or no longer): for checks that a step has none.
void xtuner_cuda_forbid_waiting(bool forbid);

/// The name of a device, its memory in bytes and its multiprocessors. False where there is none of this index.
bool xtuner_cuda_device(int32_t index, char *name, int64_t capacity, int64_t *memory, int32_t *processors);

/// Whether a device has the native products of float8: compute capability 9.0.
bool xtuner_cuda_multiplies_float8(int32_t index);

/// Connects this rank, the `index`-th of `size`, to the others of a group over NCCL, on the current device.
///
/// `store` is a `c10::intrusive_ptr<c10d::Store> *`; `out` gets a `c10::intrusive_ptr<c10d::Backend> *` of the caller.
/// An operation that takes longer than `timeout_ms` is aborted, with the group. Returns whether it went well; else
/// `message` has the cause, cut at `capacity` bytes.
bool xtuner_cuda_group_create(void *store, int32_t index, int32_t size, int64_t timeout_ms, const char *name,
                              void **out, char *message, int64_t capacity);
}
