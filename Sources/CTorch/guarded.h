// The body of every exported function, and what the files of the bridge without tensors need: most of them compile faster
// than libtorch's header of tensors.
#pragma once

#include <c10/core/Device.h>
#include <c10/util/Exception.h>

#include <cstring>
#include <exception>
#include <new>

#include "ctorch.h"

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

inline c10::Device to_device(CTDevice d) { return {static_cast<c10::DeviceType>(d.type), d.index}; }

}  // namespace ctorch

using namespace ctorch;
