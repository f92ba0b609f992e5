// Opening libraries of devices, and asking the NVIDIA driver through the functions that it exports.
#include <ATen/Parallel.h>
#include <dlfcn.h>

#include <cstring>

#include "../guarded.h"
#include "ctorch_plugins.h"

namespace {

/// The driver's functions return 0 where all went well.
using DriverStatus = int;

class Driver {
 public:
  explicit Driver(const char *library) : name_(library), handle_(dlopen(library, RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) TORCH_CHECK(false, dlerror());
    call<unsigned>("cuInit", 0);
  }

  template <typename... Parameters>
  void call(const char *function, Parameters... arguments) const {
    auto address = reinterpret_cast<DriverStatus (*)(Parameters...)>(dlsym(handle_, function));
    TORCH_CHECK(address != nullptr, name_, " has no function ", function);
    DriverStatus status = address(arguments...);
    TORCH_CHECK(status == 0, function, " of ", name_, " fails with status ", status, meaning(status));
  }

 private:
  const char *name_;
  void *handle_;

  static const char *meaning(DriverStatus status) {
    switch (status) {
      case 100:
        return ": it finds no device";
      case 803:
        return ": the kernel's module and the library are of different versions";
      case 999:
        return ": is the kernel's module loaded?";
      default:
        return "";
    }
  }
};

void *function_of(const char *plugin, const char *name) {
  void *library = dlopen(plugin, RTLD_NOW);
  TORCH_CHECK(library != nullptr, dlerror());
  return dlsym(library, name);
}

}  // namespace

CTStatus ct_torch_folder(const char **out) {
  return guarded([&] {
    static const std::string folder = [] {
      Dl_info info;
      TORCH_CHECK(dladdr(reinterpret_cast<void *>(&at::get_num_threads), &info) != 0 && info.dli_fname != nullptr,
                  "libtorch's file is not known");
      std::string path = info.dli_fname;
      auto slash = path.rfind('/');
      return slash == std::string::npos ? std::string(".") : path.substr(0, slash);
    }();
    *out = folder.c_str();
  });
}

CTStatus ct_open_library(const char *path) {
  return guarded([&] {
    if (dlopen(path, RTLD_NOW | RTLD_GLOBAL) == nullptr) TORCH_CHECK(false, dlerror());
  });
}

CTStatus ct_cuda_driver(const char *library, int32_t *version, int32_t *device_count) {
  return guarded([&] {
    Driver driver(library);
    int supported = 0, count = 0;
    driver.call("cuDriverGetVersion", &supported);
    driver.call("cuDeviceGetCount", &count);
    *version = supported;
    *device_count = count;
  });
}

CTStatus ct_cuda_device(const char *library, int32_t index, CTCudaDevice *out) {
  return guarded([&] {
    Driver driver(library);
    int device = 0;
    size_t memory = 0;
    driver.call("cuDeviceGet", &device, int(index));
    std::memset(out, 0, sizeof(*out));
    driver.call("cuDeviceGetName", out->name, int(sizeof(out->name) - 1), device);
    driver.call("cuDeviceTotalMem_v2", &memory, device);
    auto attribute = [&](int which) {
      int value = 0;
      driver.call("cuDeviceGetAttribute", &value, which, device);
      return value;
    };
    out->major = attribute(75);
    out->minor = attribute(76);
    out->processors = attribute(16);
    out->memory = static_cast<int64_t>(memory);
  });
}

void ct_cuda_attention_choices(char *text, int64_t capacity) {
  using Tell = void (*)(char *, int64_t);
  auto tell = reinterpret_cast<Tell>(dlsym(RTLD_DEFAULT, "xtuner_cuda_attention_choices"));
  if (capacity > 0) text[0] = 0;
  if (tell != nullptr) tell(text, capacity);
}

CTStatus ct_plugin_group_maker(const char *plugin, CTGroupMaker *out) {
  return guarded([&] {
    auto maker = reinterpret_cast<CTGroupMaker>(function_of(plugin, "xtuner_group_create"));
    TORCH_CHECK(maker != nullptr, plugin, " has no xtuner_group_create: it is of another version; build it again");
    *out = maker;
  });
}

CTStatus ct_plugin_write_flight_record(const char *plugin, const char *path, bool *written) {
  return guarded([&] {
    using Write = bool (*)(const char *, char *, int64_t);
    auto write = reinterpret_cast<Write>(function_of(plugin, "xtuner_write_flight_record"));
    *written = write != nullptr;
    char message[2048] = "";
    TORCH_CHECK(!write || write(path, message, sizeof(message)), message);
  });
}
