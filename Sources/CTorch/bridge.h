// What the C++ side of the bridge shares: the handles and the conversions of operator arguments. Nothing here is visible
// to Swift.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <atomic>
#include <optional>
#include <string>
#include <vector>

#include "ctorch.h"
#include "guarded.h"

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
