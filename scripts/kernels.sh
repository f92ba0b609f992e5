#!/usr/bin/env bash
# Checks the C++ kernels on every instruction set of this processor, and under sanitizers; and the CUDA kernels on the
# host.
#
#   scripts/kernels.sh all OPTION...     the operators' Swift tests, the sanitized checks, the emulated ones
#   scripts/kernels.sh tests OPTION...   only the Swift tests; options go to `swift test`
#   scripts/kernels.sh sanitized         only the sanitized checks, Tests/Sanitized
#   scripts/kernels.sh emulated          the same checks of the CUDA plug-in's operators: its kernels, compiled for the
#                                        host with Tests/EmulatedCUDA, under the same sanitizers
#
# ATEN_CPU_CAPABILITY chooses the kernels of libtorch and those in Sources/CTorch/operators. The
# bfloat16 products belong to avx512 where the processor has them; see operators/bf16.h.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "error: $*" >&2; exit 1; }

# has FLAG...: whether the processor has all of them.
cpuinfo=${CPUINFO:-/proc/cpuinfo}
has() {
  local flag
  for flag in "$@"; do grep -m1 '^flags' "$cpuinfo" | grep -qw "$flag" || return 1; done
}

# The instruction sets of this processor. libtorch has the same requirements.
sets=(default)
if has avx2 fma; then sets+=(avx2); else echo "kernels: the processor lacks AVX2, its kernels are not checked"; fi
if has avx512f avx512bw avx512dq avx512vl fma; then
  sets+=(avx512)
  has avx512_bf16 || echo "kernels: the processor lacks AVX512_BF16, products of bfloat16 are not checked"
else
  echo "kernels: the processor lacks AVX-512, its kernels are not checked"
fi

# ---- The suites of Tests/TorchTests that run our kernels.
suites='AttentionTests|AutogradTests|CrossEntropyTests|FlatKernelTests'
suites+='|Float8FusedTests|Float8LinearTests|Float8PartTests|Float8QuantizationTests'
suites+='|GroupedLinearTests|LinearTests'
suites+='|PermuteOperatorTests|ReferenceValueTests|RouterOperatorTests|RowOperatorTests'

run_tests() {
  local set
  # With the options of an earlier build, as in scripts/check.sh, nothing is built anew.
  for set in "${sets[@]}"; do
    echo "== kernel tests with ATEN_CPU_CAPABILITY=$set"
    ATEN_CPU_CAPABILITY=$set scripts/test.sh --filter "^TorchTests\.($suites)/" "$@" \
      || fail "tests of kernels fail with ATEN_CPU_CAPABILITY=$set"
  done
}

# ---- The sanitized checks: a plain C++ program with the operators and the arena, without Swift.
build=.build-sanitized
torch=.libtorch/torch

# is_current OBJECT: whether it is newer than all that it was compiled from.
is_current() {
  local files
  [ -f "$1" ] && [ -f "${1%.o}.d" ] || return 1
  mapfile -t files < <(sed -e 's/^[^:]*: *//' -e 's/\\$//' "${1%.o}.d" | tr -s ' ' '\n' | grep .)
  [ -z "$(find "${files[@]}" -newer "$1" 2>&1)" ]
}

# build_sanitized FOLDER SOURCES OPTION...: SOURCES are patterns.
build_sanitized() {
  local build=$1 sources=$2 clang sanitizers flags source object objects=() jobs
  shift 2
  clang=$(scripts/compiler.sh)
  sanitizers=-fsanitize=address,undefined,float-cast-overflow
  flags=(
    -std=c++20 -fclang-abi-compat=17 -DAT_PER_OPERATOR_HEADERS  # as in Package.swift
    -isystem "$torch/include" -isystem "$torch/include/torch/csrc/api/include"
    -O1 -gline-tables-only -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS "$sanitizers" -fno-sanitize-recover=all
    -Wno-pass-failed  # instrumented loops are too long to be unrolled
    "$@"
  )
  mkdir -p "$build"
  { "$clang" --version; printf '%s\n' "${flags[@]}"; cat .libtorch/.complete; } >"$build/flags.new"
  cmp -s "$build/flags.new" "$build/flags" || rm -f "$build"/*.o
  mv "$build/flags.new" "$build/flags"
  # Exports are for Swift; the checks call the operators through libtorch's dispatcher. What CUTLASS computes is
  # replaced in Tests/EmulatedCUDA.
  for source in $sources; do
    case $source in */exports.cpp | *_sm90.cu) continue ;; esac
    object=${source%.cpp}
    object=$build/${object//\//-}.o
    objects+=("$object")
    is_current "$object" || printf '%s\0-o\0%s\0' "$source" "$object"
  done >"$build/stale"
  # Two gigabytes of memory are enough for a compiler.
  jobs=$(awk -v cores="$(nproc)" '/^MemAvailable/ { n = int($2 / 2e6); print n < 1 ? 1 : n < cores ? n : cores }' \
    /proc/meminfo)
  xargs -0 -r -n 3 -P "$jobs" "$clang" "${flags[@]}" -MMD -x c++ -c <"$build/stale"
  "$clang" "$sanitizers" -fuse-ld=lld "${objects[@]}" -L"$torch/lib" -ltorch_cpu -lc10 \
    -Wl,-rpath,"$PWD/$torch/lib" -o "$build/kernels"
}

sanitizer_options() {
  # Leaks are not looked for: libtorch never frees some of its tables. libtorch is not instrumented, and nothing of
  # it needs a suppression. New memory is filled with NaN, so that an element that a kernel does not write, or reads
  # too early, shows as a wrong result.
  export ASAN_OPTIONS="detect_leaks=0:malloc_fill_byte=255:max_malloc_fill_size=1073741824"
  export UBSAN_OPTIONS="print_stacktrace=1"
  # Instrumented frames are larger than a thread's usual stack foresees.
  export OMP_STACKSIZE=64M
}

run_sanitized() {
  local set begin=$SECONDS
  sanitizer_options
  build_sanitized "$build" "Sources/CTorch/operators/*.cpp Sources/CTorch/operators/*/*.cpp \
    Sources/CTorch/memory/arena.cpp Tests/Sanitized/*.cpp"
  echo "== sanitized kernels: built in $((SECONDS - begin)) s"
  for set in "${sets[@]}"; do
    echo "== sanitized kernels with ATEN_CPU_CAPABILITY=$set"
    ATEN_CPU_CAPABILITY=$set "$build/kernels" || fail "sanitized kernels fail with ATEN_CPU_CAPABILITY=$set"
  done
}

run_emulated() {
  local begin=$SECONDS operators=Sources/CTorch/operators
  sanitizer_options
  build_sanitized .build-emulated "Sources/XTunerCUDA/kernels/*.cu Sources/XTunerCUDA/operators/*/*.cpp \
    Tests/EmulatedCUDA/*.cpp $operators/formula.cpp $operators/*/operators.cpp $operators/*/reference.cpp \
    Sources/CTorch/memory/arena.cpp Tests/Sanitized/*.cpp" \
    -I Tests/EmulatedCUDA -DXTUNER_EMULATED -DXTUNER_DEVICE_KERNELS -DXTUNER_DEVICE_KEY=CPU -Wno-unknown-pragmas
  echo "== emulated CUDA kernels: built in $((SECONDS - begin)) s"
  .build-emulated/kernels || fail "emulated CUDA kernels fail"
}

command=${1:-all}
shift || true
case $command in
  all) run_tests "$@"; run_sanitized; run_emulated ;;
  tests) run_tests "$@" ;;
  sanitized) run_sanitized ;;
  emulated) run_emulated ;;
  *) fail "unknown command $command; expected tests, sanitized or emulated" ;;
esac
