// What the C++ side of the bridge shares: the handles, the error slot and the conversions of
// operator arguments. Nothing here is visible to Swift.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/IListRef.h>
#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <atomic>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "ctorch.h"

namespace ctorch {
extern std::atomic<int64_t> live_handles;
}

struct ct_tensor {
  at::Tensor value;
  explicit ct_tensor(at::Tensor tensor) : value(std::move(tensor)) { ++ctorch::live_handles; }
  ~ct_tensor() { --ctorch::live_handles; }
};

struct ct_tensor_list {
  std::vector<at::Tensor> values;
  explicit ct_tensor_list(std::vector<at::Tensor> tensors) : values(std::move(tensors)) { ++ctorch::live_handles; }
  ~ct_tensor_list() { --ctorch::live_handles; }
};

struct ct_generator {
  at::Generator value;
};

namespace ctorch {

CTStatus fail(CTStatus status, const char *message) noexcept;

/// Whether an error that is no c10::OutOfMemoryError says that there was too little: of libtorch's CPU allocator, of
/// pinned memory, of cuBLAS.
inline bool is_about_memory(const char *text) {
  for (const char *sign : {"DefaultCPUAllocator: ", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED"})
    if (std::strstr(text, sign) != nullptr) return true;
  return false;
}

/// Every exported function has this body: nothing may unwind into a Swift frame.
template <typename Body>
CTStatus guarded(Body &&body) noexcept {
  try {
    body();
    return CTStatusOK;
  } catch (const c10::OutOfMemoryError &error) {
    return fail(CTStatusOutOfMemory, error.what_without_backtrace());
  } catch (const c10::DistError &error) {
    return fail(CTStatusDistributed, error.what_without_backtrace());
  } catch (const c10::Error &error) {
    const char *text = error.what_without_backtrace();
    return fail(is_about_memory(text) ? CTStatusOutOfMemory : CTStatusInvalidArgument, text);
  } catch (const std::bad_alloc &error) {
    return fail(CTStatusOutOfMemory, error.what());
  } catch (const std::exception &error) {
    return fail(CTStatusInternal, error.what());
  } catch (...) {
    return fail(CTStatusInternal, "unknown C++ exception");
  }
}

inline at::Scalar to_scalar(CTScalar s) { return s.is_integer ? at::Scalar(s.integer) : at::Scalar(s.real); }
inline std::optional<at::Scalar> to_optional_scalar(const CTScalar *s) {
  return s ? std::optional<at::Scalar>(to_scalar(*s)) : std::nullopt;
}
inline at::ScalarType to_scalar_type(int32_t t) { return static_cast<at::ScalarType>(t); }
inline std::optional<at::ScalarType> to_optional_scalar_type(int32_t t) {
  return t < 0 ? std::nullopt : std::optional<at::ScalarType>(to_scalar_type(t));
}
template <typename T>
std::optional<T> to_optional(const T *value) {
  return value ? std::optional<T>(*value) : std::nullopt;
}
inline std::optional<c10::SymInt> to_optional_sym(const int64_t *value) {
  return value ? std::optional<c10::SymInt>(*value) : std::nullopt;
}
inline std::optional<c10::string_view> to_optional_string(const char *s) {
  return s ? std::optional<c10::string_view>(s) : std::nullopt;
}
inline at::Device to_device(CTDevice d) { return {static_cast<at::DeviceType>(d.type), d.index}; }
inline std::optional<at::Generator> to_generator(ct_generator *g) {
  return g ? std::optional<at::Generator>(g->value) : std::nullopt;
}
inline std::optional<at::Tensor> to_optional_tensor(ct_tensor *t) {
  return t ? std::optional<at::Tensor>(t->value) : std::nullopt;
}
inline std::vector<at::Tensor> to_list(ct_tensor *const *items, size_t count) {
  std::vector<at::Tensor> list;
  list.reserve(count);
  for (size_t i = 0; i < count; ++i) list.push_back(items[i]->value);
  return list;
}
inline c10::SymIntArrayRef to_sym_list(const int64_t *items, size_t count) {
  return c10::fromIntArrayRefSlow(at::IntArrayRef(items, count));
}
inline at::OptionalIntArrayRef to_optional_list(const int64_t *items, size_t count) {
  return items ? at::OptionalIntArrayRef(at::IntArrayRef(items, count)) : at::OptionalIntArrayRef();
}

}  // namespace ctorch

using namespace ctorch;
