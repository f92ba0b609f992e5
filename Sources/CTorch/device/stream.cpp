// Streams and events of any back end, by c10's interface of device guards.
#include <c10/core/Event.h>

#include "../bridge.h"
#include "ctorch_device.h"
#include "device.h"

struct ct_event {
  c10::Event value;
};

namespace {

bool is_cpu(CTDevice device) { return to_device(device).is_cpu(); }

c10::Stream to_stream(CTStream stream) {
  auto device = to_device(stream.device);
  return c10::Stream::unpack3(stream.id, device.index(), device.type());
}

CTStream from_stream(const c10::Stream &stream) {
  return {stream.id(), {static_cast<int8_t>(stream.device_type()), stream.device_index()}};
}

c10::impl::VirtualGuardImpl backend(CTStream stream) {
  return c10::impl::VirtualGuardImpl(to_device(stream.device).type());
}

}  // namespace

CTStatus ct_stream_new(CTDevice device, CTStream *out) {
  return guarded([&] {
    *out = {0, device};
    auto target = to_current_device(device);
    if (!target.is_cpu()) *out = from_stream(c10::impl::VirtualGuardImpl(target.type()).getNewStream(target));
  });
}

CTStatus ct_stream_current(CTDevice device, CTStream *out) {
  return guarded([&] {
    *out = {0, device};
    auto target = to_current_device(device);
    if (!target.is_cpu()) *out = from_stream(c10::impl::VirtualGuardImpl(target.type()).getStream(target));
  });
}

CTStatus ct_stream_make_current(CTStream stream) {
  return guarded([&] {
    if (!is_cpu(stream.device)) backend(stream).exchangeStream(to_stream(stream));
  });
}

CTStatus ct_event_record(CTStream stream, ct_event **out) {
  return guarded([&] {
    *out = nullptr;
    if (is_cpu(stream.device)) return;
    auto event = std::make_unique<ct_event>(ct_event{c10::Event(to_device(stream.device).type())});
    event->value.record(to_stream(stream));
    *out = event.release();
  });
}

CTStatus ct_stream_wait(CTStream stream, ct_event *event) {
  return guarded([&] { event->value.block(to_stream(stream)); });
}

void ct_event_free(ct_event *event) { delete event; }

CTStatus ct_tensor_record_stream(ct_tensor *tensor, CTStream stream) {
  return guarded([&] {
    if (is_cpu(stream.device) || tensor->value.device().is_cpu()) return;
    backend(stream).recordDataPtrOnStream(tensor->value.storage().data_ptr(), to_stream(stream));
  });
}
