// The functions of libXTunerCUDA.so that the program looks up by name after it has opened it. Its operators need no
// function: they are registered with libtorch's dispatcher when the library is opened.
//
// The program decides before opening whether the library fits, by the line `marker` in the file (see plugin.cpp).
#pragma once

#include <cstdint>

extern "C" {

/// The version of libtorch that the library was compiled for.
const char *xtuner_cuda_built_for();

/// Connects this rank, the `index`-th of `size`, to the others of a group over NCCL, on the current device.
///
/// `store` is a `c10::intrusive_ptr<c10d::Store> *`; `out` gets a `c10::intrusive_ptr<c10d::Backend> *` of the caller.
/// An operation that takes longer than `timeout_ms` is aborted, with the group. Returns whether it went well; else
/// `message` has the cause, cut at `capacity` bytes.
bool xtuner_cuda_group_create(void *store, int32_t index, int32_t size, int64_t timeout_ms, const char *name,
                              void **out, char *message, int64_t capacity);
}
