// Waits of the host for the test device, inside the parts of a program that forbid them.
#include <atomic>
#include <map>
#include <mutex>

#include "memory.h"
#include "streams.h"
#include "test_device.h"

/// As in ctorch_device.h, whose module C++ targets of this package do not see.
extern "C" void ct_device_set_wait_switch(int8_t type, void (*forbid)(bool));

namespace test_device {
namespace {

std::atomic<bool> is_forbidden{false};
std::atomic<bool> is_noted{false};
std::mutex lock;
std::map<std::string, int> noted;

[[maybe_unused]] const bool has_switch = [] {
  ct_device_set_wait_switch(static_cast<int8_t>(c10::kPrivateUse1), [](bool forbid) { is_forbidden = forbid; });
  return true;
}();

}  // namespace

void host_waits(const std::string &operation) {
  if (!is_forbidden) return;
  TORCH_CHECK(is_noted, operation, " makes the host wait for the test device, which is forbidden here");
  std::lock_guard<std::mutex> turn(lock);
  ++noted[operation];
}

}  // namespace test_device

void test_device_note_waits(bool notes) { test_device::is_noted = notes; }

const char *test_device_take_waits(void) {
  static std::string text;
  std::lock_guard<std::mutex> turn(test_device::lock);
  text.clear();
  for (const auto &[name, count] : test_device::noted) text += name + " x" + std::to_string(count) + "\n";
  test_device::noted.clear();
  return text.c_str();
}
