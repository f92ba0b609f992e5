// Ascend NPUs: torch_npu's library, and our operators mapped to its own.
#ifndef CTORCH_ASCEND_H
#define CTORCH_ASCEND_H
#include "ctorch.h"
#ifdef __cplusplus
extern "C" {
#endif
#pragma clang assume_nonnull begin

/// The version of torch_npu whose operators are recorded.
const char *ct_ascend_recorded_version(void);
/// Loads libtorch_npu.so, which registers its devices and operators with libtorch. The message is the loader's.
CTStatus ct_ascend_open(const char *path);
/// Whether it has been loaded.
bool ct_ascend_is_open(void);
/// Compares the operators of the namespace npu with the recorded schemas and registers ours for its devices.
/// The message names each operator that differs, with both schemas.
CTStatus ct_ascend_register_operators(void);
/// Takes our operators away again; for tests.
void ct_ascend_unregister_operators(void);

#pragma clang assume_nonnull end
#ifdef __cplusplus
}
#endif
#endif
