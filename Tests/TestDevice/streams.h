// The test device's streams: what they may use, and when late work is done.
//
// The default stream of a device works at once. Copies of other streams that the host does not wait for are done as
// late as is allowed: when an event after them is waited for, or something of their stream needs them. So a stream that
// reads too early reads old numbers. And all uses of memory are compared: two streams that use the same memory, one of
// them writing, without an event or a wait of the host between them, are a hazard, whatever the numbers are; so is
// memory that is freed while another stream than its own may still use it.
#pragma once

#include <c10/core/Stream.h>

#include <functional>
#include <string>
#include <vector>

namespace at {
class Tensor;
}

namespace test_device {

c10::Stream current_stream(c10::DeviceIndex device) noexcept;
/// Returns the previous one.
c10::Stream exchange_stream(c10::Stream stream);
c10::Stream new_stream(c10::DeviceIndex device);

/// Something that a stream does with memory.
class Operation {
 public:
  Operation(std::string name, c10::Stream stream);
  void reads(const at::Tensor &tensor) { uses(tensor, false); }
  void writes(const at::Tensor &tensor) { uses(tensor, true); }
  /// Does the work now, after that of its stream.
  void run(const std::function<void()> &work);
  /// Does the work when it has to be done; nothing else keeps its memory.
  void run_late(std::function<void()> work);
  /// The host waits for the operation.
  void wait();

 private:
  void uses(const at::Tensor &tensor, bool writes);

  std::string name_;
  int key_;
  int64_t time_;
  std::vector<const void *> used_;
};

/// Memory at an address of the host, for tensors of a device or pinned.
void add_block(const void *memory, size_t byte_count, c10::DeviceIndex device, bool is_pinned);
void remove_block(const void *memory);
bool is_pinned(const void *memory);
/// Freeing the memory waits for the stream.
void record_stream(const void *memory, c10::Stream stream);

void record_event(void **event, c10::Stream stream);
void block_stream(void *event, c10::Stream stream);
void synchronize_event(void *event);
void synchronize_stream(c10::Stream stream);
void destroy_event(void *event) noexcept;

/// The host waits for the device in an operation: noted or refused where waits are forbidden.
void host_waits(const std::string &operation);

}  // namespace test_device
