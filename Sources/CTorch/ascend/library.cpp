// Opens torch_npu's library, compares its operators with the recorded ones, and registers the mapping.
#include <dlfcn.h>
#include <torch/csrc/jit/frontend/function_schema_parser.h>
#include <torch/library.h>
#include <torch/version.h>

#include <atomic>
#include <mutex>

#include "../bridge.h"
#include "ctorch_ascend.h"
#include "mapping.h"
#include "schemas.h"

namespace {

using namespace xtuner::ascend;

std::atomic<bool> is_open{false};
std::mutex registration;
/// While it exists, our operators are mapped.
std::unique_ptr<torch::Library> mapping;

/// Everything that differs, a line each; empty where the operators are the recorded ones.
std::string differences() {
  std::string text;
  for (const char *recorded : recorded_schemas) {
    auto expected = torch::jit::parseSchema(recorded);
    auto found = c10::Dispatcher::singleton().findSchema(expected.operator_name());
    if (!found) {
      text += c10::str("\n  ", expected.name(), " is missing, expected ", expected);
    } else if (!(found->schema() == expected)) {
      text += c10::str("\n  ", expected.name(), " is ", found->schema(), "\n    expected ", expected);
    }
  }
  return text;
}

}  // namespace

const char *ct_ascend_recorded_version(void) { return recorded_version; }

CTStatus ct_ascend_open(const char *path) {
  return guarded([&] {
    // Lazily: symbols of CANN's that a machine's version lacks matter when they are called.
    void *library = dlopen(path, RTLD_LAZY | RTLD_GLOBAL);
    TORCH_CHECK(library != nullptr, dlerror());
    is_open = true;
  });
}
bool ct_ascend_is_open(void) { return is_open; }

CTStatus ct_ascend_register_operators(void) {
  return guarded([] {
    std::lock_guard<std::mutex> turn(registration);
    if (mapping) return;
    auto problems = differences();
    TORCH_CHECK(problems.empty(), "operators of the library are not those of torch_npu ", recorded_version,
                ", which xtuner's are mapped to:", problems);
    auto library = std::make_unique<torch::Library>(torch::Library::IMPL, "xtuner", c10::DispatchKey::PrivateUse1,
                                                    __FILE__, __LINE__);
    register_fused(*library);
    register_composites(*library);
    mapping = std::move(library);
  });
}

void ct_ascend_unregister_operators(void) {
  std::lock_guard<std::mutex> turn(registration);
  mapping.reset();
}
