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

// ---- Waits of the host

/// Whether operations that make the host wait for devices of this type can be refused.
bool ct_device_can_forbid_waiting(int8_t type);
/// Makes such operations fail from now on, on all threads, or allows them again.
CTStatus ct_device_forbid_waiting(int8_t type, bool forbid);
/// Says how a back end refuses them; for back ends that the program does not know by itself.
void ct_device_set_wait_switch(int8_t type, void (*forbid)(bool));

// ---- Host memory

/// A uint8 tensor of `byte_count` bytes of host memory that `device` copies from and to by itself (pinned memory, from
/// its back end's allocator); ordinary memory where the back end has none, and for the CPU.
CTStatus ct_host_buffer(CTDevice device, int64_t byte_count, ct_tensor *_Nullable *_Nonnull out);

// ---- Streams: all of these do nothing for the CPU

typedef struct CTStream {
  int64_t id;
  CTDevice device;
} CTStream;
typedef struct ct_event ct_event;

/// A stream beside the others of a device; streams are never freed.
CTStatus ct_stream_new(CTDevice device, CTStream *out);
/// The stream that this thread's operations on the device go to.
CTStatus ct_stream_current(CTDevice device, CTStream *out);
/// Makes a stream this thread's current one of its device.
CTStatus ct_stream_make_current(CTStream stream);
/// An event that is over when all that was issued to the stream so far is.
CTStatus ct_event_record(CTStream stream, ct_event *_Nullable *_Nonnull out);
/// What is issued to the stream from now on starts after the event; the host does not wait.
CTStatus ct_stream_wait(CTStream stream, ct_event *event);
void ct_event_free(ct_event *event);
/// The tensor's memory, when it is freed, is not used again before what was issued to the stream until then is over.
CTStatus ct_tensor_record_stream(ct_tensor *tensor, CTStream stream);

// ---- What a device did, by libtorch's own tracer (Kineto; CUPTI on NVIDIA's GPUs), see trace.cpp.

typedef struct ct_device_trace ct_device_trace;
/// Everything of one name: a kernel or copy, on a CPU an operator with those that it calls.
typedef struct CTDeviceActivity {
  const char *name;
  int64_t calls;
  double seconds;
} CTDeviceActivity;
/// Loads what tracing needs, which takes seconds once; a step between this and ct_device_trace_start keeps that out
/// of the trace.
CTStatus ct_device_trace_prepare(CTDevice device);
/// Traces until ct_device_trace_stop on the same thread.
CTStatus ct_device_trace_start(CTDevice device);
/// Waits for the device. Fails where nothing was seen.
CTStatus ct_device_trace_stop(CTDevice device, ct_device_trace *_Nullable *_Nonnull out);
/// Seconds from the first thing that the device did to the end of the last, and those in which it did any.
double ct_device_trace_seconds(const ct_device_trace *trace);
double ct_device_trace_busy_seconds(const ct_device_trace *trace);
size_t ct_device_trace_count(const ct_device_trace *trace);
/// The texts live as long as the trace.
CTDeviceActivity ct_device_trace_activity(const ct_device_trace *trace, size_t index);
void ct_device_trace_free(ct_device_trace *trace);

#pragma clang assume_nonnull end
#ifdef __cplusplus
}
#endif
#endif
