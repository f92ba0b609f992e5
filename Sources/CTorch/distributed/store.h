// The handle of stores, and how ranks wait for one.
#pragma once

#include <chrono>
#include <string>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <vector>

struct ct_store {
  c10::intrusive_ptr<c10d::TCPStore> value;
};

namespace ctorch {

/// How long a rank that waits for keys sleeps at most between looks.
constexpr std::chrono::milliseconds longest_pause{50};

/// Looks again and again: TCPStore's own wait keeps the connection to itself, for which other threads of the
/// process wait, among them the one that would set the key. False when the time is over.
bool wait_for_keys(c10d::Store &store, const std::vector<std::string> &keys, std::chrono::milliseconds timeout);

}  // namespace ctorch
