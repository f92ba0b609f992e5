// Groups of ranks, over Gloo or made by a plug-in (NCCL for CUDA, HCCL for Ascend), and their operations.
#define USE_C10D_GLOO
#include <atomic>
#include <memory>
#include <mutex>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "../bridge.h"
#include "ctorch_distributed.h"
#include "ctorch_plugins.h"
#include "store.h"

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

/// The work's own record of its end, which has no tensors; a back end that keeps none is asked through the work.
struct ct_outcome {
  c10::intrusive_ptr<c10::ivalue::Future> result;
  c10::intrusive_ptr<c10d::Work> work;
};

namespace {

/// Issues an operation. libtorch's flight recorder, one for the process, notes a group's first operation
/// without its lock, so groups of different threads take turns here; operations themselves do not. A device's group
/// has its first operation when it is made, on one thread; later ones take no turns, since NCCL may wait for the other
/// ranks inside a call, which may be in another group's.
template <typename Body>
CTStatus issue(const ct_group *group, ct_work **out, Body &&body) {
  return guarded([&] {
    static std::mutex lock;
    auto work = std::make_unique<ct_work>();
    work->is_ordered = group->is_ordered;
    std::unique_lock<std::mutex> turn(lock, std::defer_lock);
    if (!group->is_ordered || !group->has_begun) turn.lock();
    work->value = body(*work);
    group->has_begun = true;
    *out = work.release();
  });
}

/// A store that several threads of a process wait on at once, through one connection.
class SharedStore final : public c10d::Store {
 public:
  SharedStore(c10::intrusive_ptr<c10d::Store> base, std::chrono::milliseconds timeout)
      : Store(timeout), base_(std::move(base)) {}

  c10::intrusive_ptr<Store> clone() override { return c10::make_intrusive<SharedStore>(base_, timeout_); }
  void set(const std::string &key, const std::vector<uint8_t> &value) override { base_->set(key, value); }
  std::vector<uint8_t> get(const std::string &key) override {
    wait({key}, timeout_);
    return base_->get(key);
  }
  int64_t add(const std::string &key, int64_t value) override { return base_->add(key, value); }
  bool deleteKey(const std::string &key) override { return base_->deleteKey(key); }
  bool check(const std::vector<std::string> &keys) override { return base_->check(keys); }
  int64_t getNumKeys() override { return base_->getNumKeys(); }
  void wait(const std::vector<std::string> &keys) override { wait(keys, timeout_); }
  void wait(const std::vector<std::string> &keys, const std::chrono::milliseconds &timeout) override {
    if (wait_for_keys(*base_, keys, timeout)) return;
    C10_THROW_ERROR(DistStoreError, c10::str("no other rank set ", keys.front(), " within ", timeout.count(), " ms"));
  }

 private:
  c10::intrusive_ptr<c10d::Store> base_;
};

/// The same bytes as numbers that Gloo knows: it moves them and never computes with them.
at::Tensor movable(const at::Tensor &tensor) {
  auto plain = tensor.detach();
  switch (plain.element_size()) {
    case 1:
      return plain.view(at::kByte);
    case 2:
      return plain.view(at::kHalf);
    case 4:
      return plain.view(at::kInt);
    case 8:
      return plain.view(at::kLong);
    default:
      TORCH_CHECK(false, plain.dtype(), " is not a dtype that ranks exchange");
  }
}

c10::intrusive_ptr<c10d::Store> shared_store(ct_store *store, int64_t timeout_ms) {
  return c10::make_intrusive<SharedStore>(store->value, std::chrono::milliseconds(timeout_ms));
}

c10::intrusive_ptr<c10::ivalue::Future> result_of(c10d::Work &work) {
  try {
    return work.getFutureResult();
  } catch (const c10::Error &) {
    return nullptr;  // not every back end has it
  }
}

}  // namespace

CTStatus ct_group_create(ct_store *store, const char *prefix, int32_t index, int32_t size, int64_t timeout_ms,
                         bool loopback, ct_group **out) {
  return guarded([&] {
    auto options = c10d::ProcessGroupGloo::Options::create(std::chrono::milliseconds(timeout_ms));
    options->devices.push_back(loopback ? c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1")
                                        : c10d::ProcessGroupGloo::createDefaultDevice());
    auto own = c10::make_intrusive<c10d::PrefixStore>(prefix, shared_store(store, timeout_ms));
    *out = new ct_group{c10::make_intrusive<c10d::ProcessGroupGloo>(own, index, size, options)};
  });
}

CTStatus ct_group_create_by(CTGroupMaker maker, ct_store *store, const char *prefix, int32_t index, int32_t size,
                            int64_t timeout_ms, const char *name, ct_group **out) {
  return guarded([&] {
    // The group's own part of the store of all ranks.
    c10::intrusive_ptr<c10d::Store> own =
        c10::make_intrusive<c10d::PrefixStore>(prefix, shared_store(store, timeout_ms));
    void *group = nullptr;
    char message[2048] = "";
    if (!maker(&own, index, size, timeout_ms, name, &group, message, sizeof(message)))
      C10_THROW_ERROR(DistBackendError, message);
    std::unique_ptr<c10::intrusive_ptr<c10d::Backend>> made(static_cast<c10::intrusive_ptr<c10d::Backend> *>(group));
    *out = new ct_group{*made, /*is_ordered=*/true};
  });
}

void ct_group_free(ct_group *group) { delete group; }

CTStatus ct_group_all_gather(ct_group *group, ct_tensor *output, ct_tensor *input, ct_work **out) {
  return issue(group, out, [&](ct_work &work) {
    auto &to = work.keep(movable(output->value)), &from = work.keep(movable(input->value));
    return group->value->_allgather_base(to, from);
  });
}

CTStatus ct_group_all_reduce(ct_group *group, ct_tensor *tensor, bool maximum, ct_work **out) {
  return issue(group, out, [&](ct_work &work) {
    work.keep(tensor->value.detach());
    c10d::AllreduceOptions options;
    options.reduceOp = maximum ? c10d::ReduceOp::MAX : c10d::ReduceOp::SUM;
    return group->value->allreduce(work.tensors, options);
  });
}

CTStatus ct_group_all_to_all(ct_group *group, ct_tensor *output, ct_tensor *input, const int64_t *output_counts,
                             const int64_t *input_counts, size_t count, ct_work **out) {
  return issue(group, out, [&](ct_work &work) {
    auto &to = work.keep(movable(output->value)), &from = work.keep(movable(input->value));
    std::vector<int64_t> to_counts(output_counts, output_counts + count);
    std::vector<int64_t> from_counts(input_counts, input_counts + count);
    return group->value->alltoall_base(to, from, to_counts, from_counts);
  });
}

CTStatus ct_group_broadcast(ct_group *group, ct_tensor *tensor, int32_t root, ct_work **out) {
  return issue(group, out, [&](ct_work &work) {
    work.keep(movable(tensor->value));
    c10d::BroadcastOptions options;
    options.rootRank = root;
    options.rootTensor = 0;
    return group->value->broadcast(work.tensors, options);
  });
}

CTStatus ct_group_barrier(ct_group *group, ct_work **out) {
  return issue(group, out, [&](ct_work &) { return group->value->barrier(); });
}

CTStatus ct_work_wait(ct_work *work, int64_t milliseconds, bool *done) {
  return guarded([&] {
    if (work->is_ordered) {
      // To wait with a limit would keep this thread, and NCCL's work takes the limit for its time-out.
      work->value->synchronize();
      *done = true;
      return;
    }
    try {
      work->value->wait(std::chrono::milliseconds(milliseconds));
      *done = true;
    } catch (...) {
      // c10d throws when the wait is over as well as when the operation failed.
      if (work->value->isCompleted()) throw;
      *done = false;
    }
  });
}

CTStatus ct_work_is_done(ct_work *work, bool *done) {
  return guarded([&] { *done = work->value->isCompleted(); });
}

CTStatus ct_work_check(ct_work *work) {
  return guarded([&] {
    if (work->value->exception()) std::rethrow_exception(work->value->exception());
  });
}

void ct_work_free(ct_work *work) { delete work; }

// ---- The ends of groups and operations of devices

CTStatus ct_group_shutdown(ct_group *group) {
  return guarded([&] { group->value->shutdown(); });
}

CTStatus ct_group_abort(ct_group *group) {
  return guarded([&] { group->value->abort(); });
}

CTStatus ct_work_outcome(ct_work *work, ct_outcome **out) {
  return guarded([&] {
    auto result = result_of(*work->value);
    *out = new ct_outcome{result, result ? nullptr : work->value};
  });
}

CTStatus ct_outcome_check(const ct_outcome *outcome, bool *ended) {
  return guarded([&] {
    if (outcome->work) {
      *ended = outcome->work->isCompleted();
      if (*ended && outcome->work->exception()) std::rethrow_exception(outcome->work->exception());
      return;
    }
    *ended = outcome->result->completed();
    if (!*ended) return;
    if (outcome->result->hasError()) std::rethrow_exception(outcome->result->exception_ptr());
    switch (static_cast<c10d::WorkResult>(outcome->result->constValue().toInt())) {
      case c10d::WorkResult::SUCCESS:
        return;
      case c10d::WorkResult::TIMEOUT:
        C10_THROW_ERROR(DistBackendError, "the library's own time-out passed");
      case c10d::WorkResult::COMM_ERROR:
        C10_THROW_ERROR(DistBackendError, "the connection to another rank was lost");
      default:
        C10_THROW_ERROR(DistBackendError, "the library gives no reason");
    }
  });
}

void ct_outcome_free(ct_outcome *outcome) { delete outcome; }
