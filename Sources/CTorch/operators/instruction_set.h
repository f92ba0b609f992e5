// Which compiled variant of a kernel runs. See each_instruction_set.h.
#pragma once

#include <ATen/Version.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

namespace xtuner::cpu {

enum class InstructionSet { baseline, avx2, avx512 };

/// The set that libtorch's own kernels use, so that `ATEN_CPU_CAPABILITY` governs both.
inline InstructionSet instruction_set() {
  static const InstructionSet chosen = [] {
    std::string name = at::get_cpu_capability();
    return name == "AVX512" ? InstructionSet::avx512 : name == "AVX2" ? InstructionSet::avx2 : InstructionSet::baseline;
  }();
  return chosen;
}

#if defined(__x86_64__)
/// The variant of a kernel for this processor; the argument may be a template's instance.
#define XTUNER_KERNEL(...)                                                           \
  (instruction_set() == InstructionSet::avx512 ? &::xtuner::cpu::avx512::__VA_ARGS__ \
   : instruction_set() == InstructionSet::avx2 ? &::xtuner::cpu::avx2::__VA_ARGS__   \
                                               : &::xtuner::cpu::baseline::__VA_ARGS__)
#else
#define XTUNER_KERNEL(...) (&::xtuner::cpu::baseline::__VA_ARGS__)
#endif

}  // namespace xtuner::cpu
