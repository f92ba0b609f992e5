// The handles of stores, groups and work, for the files of this folder.
#pragma once

#include <atomic>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/csrc/distributed/c10d/Work.hpp>

#include "../bridge.h"
#include "ctorch_distributed.h"

struct ct_store {
  c10::intrusive_ptr<c10d::TCPStore> value;
};

namespace ctorch {

/// How long a rank that waits for keys sleeps at most between looks.
constexpr std::chrono::milliseconds longest_pause{50};

/// Looks again and again: TCPStore's own wait keeps the connection to itself, for which other threads of the
/// process wait, among them the one that would set the key. False when the time is over.
bool wait_for_keys(c10d::Store &store, const std::vector<std::string> &keys, std::chrono::milliseconds timeout);

/// The store, for several threads of a process that wait on it at once.
c10::intrusive_ptr<c10d::Store> shared_store(ct_store *store, int64_t timeout_ms);

}  // namespace ctorch

struct ct_group {
  c10::intrusive_ptr<c10d::Backend> value;
  /// Operations run in the order of a device's streams, for which no thread of the host has to wait.
  bool is_ordered = false;
  /// Whether it had an operation.
  mutable std::atomic<bool> has_begun = false;
};

struct ct_work {
  c10::intrusive_ptr<c10d::Work> value;
  bool is_ordered = false;
  std::vector<at::Tensor> tensors;

  ct_work() { tensors.reserve(2); }  // references that `keep` returned stay valid
  at::Tensor &keep(at::Tensor tensor) { return tensors.emplace_back(std::move(tensor)); }
};
