// Compiles the file XTUNER_KERNELS once for each instruction set, in a namespace of its own, so that
// one binary runs everywhere and uses the widest vectors of the processor it finds. A kernel file
// has no guard and includes nothing but other ones. Included outside every namespace.
#include "instruction_set.h"

// Vectors never cross a call that is not inlined, so how they would be passed does not matter.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wpsabi"

namespace xtuner::cpu::baseline {
namespace {
#include "vector.h"
#include XTUNER_KERNELS
}  // namespace
}  // namespace xtuner::cpu::baseline

#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
namespace xtuner::cpu::avx2 {
namespace {
#include "vector.h"
#include XTUNER_KERNELS
}  // namespace
}  // namespace xtuner::cpu::avx2
#pragma clang attribute pop

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), \
                             apply_to = function)
namespace xtuner::cpu::avx512 {
namespace {
#include "vector.h"
#include XTUNER_KERNELS
}  // namespace
}  // namespace xtuner::cpu::avx512
#pragma clang attribute pop
#endif

#pragma clang diagnostic pop
