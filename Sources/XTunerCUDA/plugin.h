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

/// What was chosen for attention by measurement so far in this process, a line for each class of shapes, cut at
/// `capacity` bytes with the zero at the end.
void xtuner_cuda_attention_choices(char *text, int64_t capacity);

/// Takes "flash" or "cudnn" for attention wherever both fit, or the faster again ("measured"): for checks. False for
/// another name.
bool xtuner_cuda_pin_attention(const char *name);

/// Makes a group over NCCL; see CTGroupMaker of CTorch's ctorch_plugins.h.
bool xtuner_group_create(void *store, int32_t index, int32_t size, int64_t timeout_ms, const char *name, void **out,
                         char *message, int64_t capacity);

/// Writes the last operations of all groups over NCCL as JSON. Returns whether it went well; else `message` has the
/// cause.
bool xtuner_write_flight_record(const char *path, char *message, int64_t capacity);
}
