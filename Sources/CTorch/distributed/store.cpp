#include "store.h"

#include <ATen/EmptyTensor.h>
#include <c10/util/Logging.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "../bridge.h"
#include "ctorch_distributed.h"

namespace ctorch {

bool wait_for_keys(c10d::Store &store, const std::vector<std::string> &keys, std::chrono::milliseconds timeout) {
  auto deadline = std::chrono::steady_clock::now() + timeout;
  for (std::chrono::milliseconds pause{1}; !store.check(keys); pause = std::min(2 * pause, longest_pause)) {
    auto remaining = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (remaining.count() <= 0) return false;
    std::this_thread::sleep_for(std::min(pause, remaining));
  }
  return true;
}

}  // namespace ctorch

namespace {

std::chrono::milliseconds to_duration(int64_t milliseconds) { return std::chrono::milliseconds(milliseconds); }

/// c10d prints every failure with a page of stack and throws it as well; only what is thrown is for people.
/// TORCH_CPP_LOG_LEVEL brings the pages back.
void silence_logging() {
  static const bool is_silent = [] {
    if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = c10::GLOG_FATAL;
    return true;
  }();
  (void)is_silent;
}

}  // namespace

CTStatus ct_store_tcp(const char *host, uint16_t port, bool is_server, int64_t timeout_ms, ct_store **out) {
  return guarded([&] {
    silence_logging();
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = is_server;
    options.waitWorkers = false;
    options.timeout = to_duration(timeout_ms);
    *out = new ct_store{c10::make_intrusive<c10d::TCPStore>(host, options)};
  });
}

void ct_store_free(ct_store *store) { delete store; }
uint16_t ct_store_port(const ct_store *store) { return store->value->getPort(); }

CTStatus ct_store_set(ct_store *store, const char *key, const uint8_t *bytes, size_t byte_count) {
  return guarded([&] { store->value->set(key, std::vector<uint8_t>(bytes, bytes + byte_count)); });
}

CTStatus ct_store_get(ct_store *store, const char *key, ct_tensor **out) {
  return guarded([&] {
    std::vector<uint8_t> value = store->value->get(key);
    at::Tensor tensor(at::detail::empty_cpu({static_cast<int64_t>(value.size())}, at::kByte));
    if (!value.empty()) std::memcpy(tensor.data_ptr(), value.data(), value.size());
    *out = new ct_tensor{tensor};
  });
}

CTStatus ct_store_wait(ct_store *store, const char *key, int64_t timeout_ms, bool *found) {
  return guarded([&] { *found = wait_for_keys(*store->value, {key}, to_duration(timeout_ms)); });
}

CTStatus ct_store_contains(ct_store *store, const char *key, bool *out) {
  return guarded([&] { *out = store->value->check({key}); });
}

CTStatus ct_store_add(ct_store *store, const char *key, int64_t amount, int64_t *out) {
  return guarded([&] { *out = store->value->add(key, amount); });
}
