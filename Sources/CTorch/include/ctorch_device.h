// Devices, through c10's interfaces that every back end implements: nothing here knows a vendor.
#ifndef CTORCH_DEVICE_H
#define CTORCH_DEVICE_H
#include "ctorch.h"
#ifdef __cplusplus
extern "C" {
#endif
#pragma clang assume_nonnull begin

/// Whether a back end for this c10::DeviceType is loaded into the process.
bool ct_device_has_backend(int8_t type);
/// Devices of a kind that can be used; 0 where no back end is loaded.
int32_t ct_device_count(int8_t type);
/// Makes `device` the current one of its kind on this thread.
CTStatus ct_device_set_current(CTDevice device);
/// Waits for everything that was issued to `device`.
CTStatus ct_device_synchronize(CTDevice device);
/// Bytes of tensors that are alive on `device`, and the most that were since the last reset. Of the CPU what
/// ct_memory_start_counting counts, of others what their allocator says.
CTStatus ct_device_memory(CTDevice device, int64_t *live, int64_t *peak);
CTStatus ct_device_reset_peak_memory(CTDevice device);

#pragma clang assume_nonnull end
#ifdef __cplusplus
}
#endif
#endif
