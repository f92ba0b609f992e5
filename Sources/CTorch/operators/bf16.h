// Sums of products of bfloat16 pairs, which some AVX-512 processors have an instruction for.
//
// A kernel that uses it is compiled between XTUNER_BF16_BEGIN and XTUNER_BF16_END, may use Intel's
// intrinsics, and runs only where has_bf16_products() says so; elsewhere another path must serve.
#pragma once

#include "instruction_set.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

#define XTUNER_HAS_BF16_KERNELS 1
// _Pragma takes one literal, however long.
// clang-format off
#define XTUNER_BF16_BEGIN \
  _Pragma("clang attribute push(__attribute__((target(\"avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c\"))), apply_to = function)") \
  _Pragma("clang diagnostic push") \
  _Pragma("clang diagnostic ignored \"-Wpsabi\"")
// clang-format on
#define XTUNER_BF16_END _Pragma("clang diagnostic pop") _Pragma("clang attribute pop")
#endif

namespace xtuner::cpu {

/// Whether the processor has VDPBF16PS and libtorch's own kernels use AVX-512 (`ATEN_CPU_CAPABILITY` governs both).
inline bool has_bf16_products() {
#if defined(XTUNER_HAS_BF16_KERNELS)
  static const bool answer = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return instruction_set() == InstructionSet::avx512 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
  }();
  return answer;
#else
  return false;
#endif
}

}  // namespace xtuner::cpu
