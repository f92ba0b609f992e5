// Groups that plug-ins make: over NCCL that for CUDA, whose function Sources/XTunerCUDA/plugin.h has, and over HCCL
// that for Ascend, Plugins/Ascend.
#include <dlfcn.h>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include "../distributed/distributed.h"
#include "ctorch_plugins.h"

namespace {

/// The group's own part of the store of all ranks.
c10::intrusive_ptr<c10d::Store> own_store(ct_store *store, const char *prefix, int64_t timeout_ms) {
  return c10::make_intrusive<c10d::PrefixStore>(prefix, ctorch::shared_store(store, timeout_ms));
}

}  // namespace

CTStatus ct_group_create_nccl(ct_store *store, const char *prefix, int32_t index, int32_t size, int64_t timeout_ms,
                              const char *name, ct_group **out) {
  return guarded([&] {
    using Create = bool (*)(void *, int32_t, int32_t, int64_t, const char *, void **, char *, int64_t);
    auto create = reinterpret_cast<Create>(dlsym(RTLD_DEFAULT, "xtuner_cuda_group_create"));
    TORCH_CHECK(create != nullptr, "group ", name, " over NCCL: the CUDA plug-in is not open");
    auto own = own_store(store, prefix, timeout_ms);
    void *group = nullptr;
    char message[2048] = "";
    if (!create(&own, index, size, timeout_ms, name, &group, message, sizeof(message)))
      C10_THROW_ERROR(DistBackendError, c10::str("group ", name, " over NCCL: ", message));
    std::unique_ptr<c10::intrusive_ptr<c10d::Backend>> made(static_cast<c10::intrusive_ptr<c10d::Backend> *>(group));
    *out = new ct_group{*made};
  });
}

CTStatus ct_group_create_hccl(const char *plugin, ct_store *store, const char *prefix, int32_t index, int32_t size,
                              int64_t timeout_ms, ct_group **out) {
  return guarded([&] {
    using Make = c10d::Backend *(c10d::Store *, int, int, int64_t);
    void *library = dlopen(plugin, RTLD_NOW);
    TORCH_CHECK(library != nullptr, dlerror());
    auto *make = reinterpret_cast<Make *>(dlsym(library, "xtuner_make_hccl_group"));
    TORCH_CHECK(make != nullptr, plugin, " has no xtuner_make_hccl_group: build it by scripts/ascend.sh");
    auto own = own_store(store, prefix, timeout_ms);
    auto *backend = make(own.get(), index, size, timeout_ms);
    *out = new ct_group{c10::intrusive_ptr<c10d::Backend>::reclaim(backend)};
  });
}

CTStatus ct_group_abort(ct_group *group) {
  return guarded([&] { group->value->abort(); });
}
