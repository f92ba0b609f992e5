// Groups that plug-ins make, over NCCL that for CUDA and over HCCL that for Ascend, and how their operations end.
#include <dlfcn.h>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include "../distributed/distributed.h"
#include "ctorch_plugins.h"

/// The work's own record of its end, which has no tensors; a back end that keeps none is asked through the work.
struct ct_outcome {
  c10::intrusive_ptr<c10::ivalue::Future> result;
  c10::intrusive_ptr<c10d::Work> work;
};

namespace {

void *function_of(const char *plugin, const char *name) {
  void *library = dlopen(plugin, RTLD_NOW);
  TORCH_CHECK(library != nullptr, dlerror());
  return dlsym(library, name);
}

c10::intrusive_ptr<c10::ivalue::Future> result_of(c10d::Work &work) {
  try {
    return work.getFutureResult();
  } catch (const c10::Error &) {
    return nullptr;  // not every back end has it
  }
}

}  // namespace

CTStatus ct_plugin_group_maker(const char *plugin, CTGroupMaker *out) {
  return guarded([&] {
    auto maker = reinterpret_cast<CTGroupMaker>(function_of(plugin, "xtuner_group_create"));
    TORCH_CHECK(maker != nullptr, plugin, " has no xtuner_group_create: it is of another version; build it again");
    *out = maker;
  });
}

CTStatus ct_group_create_by(CTGroupMaker maker, ct_store *store, const char *prefix, int32_t index, int32_t size,
                            int64_t timeout_ms, const char *name, ct_group **out) {
  return guarded([&] {
    // The group's own part of the store of all ranks.
    c10::intrusive_ptr<c10d::Store> own =
        c10::make_intrusive<c10d::PrefixStore>(prefix, ctorch::shared_store(store, timeout_ms));
    void *group = nullptr;
    char message[2048] = "";
    if (!maker(&own, index, size, timeout_ms, name, &group, message, sizeof(message)))
      C10_THROW_ERROR(DistBackendError, message);
    std::unique_ptr<c10::intrusive_ptr<c10d::Backend>> made(static_cast<c10::intrusive_ptr<c10d::Backend> *>(group));
    *out = new ct_group{*made, /*is_ordered=*/true};
  });
}

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

CTStatus ct_plugin_write_flight_record(const char *plugin, const char *path, bool *written) {
  return guarded([&] {
    using Write = bool (*)(const char *, char *, int64_t);
    auto write = reinterpret_cast<Write>(function_of(plugin, "xtuner_write_flight_record"));
    *written = write != nullptr;
    char message[2048] = "";
    TORCH_CHECK(!write || write(path, message, sizeof(message)), message);
  });
}
