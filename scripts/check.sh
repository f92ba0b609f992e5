#!/usr/bin/env bash
# Everything that a change has to pass, cheapest first; stops at the first failure.
#
# The build is one of its own in .build-check, since warnings are errors in it.
set -euo pipefail
cd "$(dirname "$0")/.."

strict=(--scratch-path .build-check -Xswiftc -warnings-as-errors)

# step NAME ADVICE COMMAND...: runs a command; when it fails, says what to do and ends.
step() {
  local name=$1 advice=$2 begin=$SECONDS
  shift 2
  echo "== $name"
  "$@" || {
    echo "error: $name failed after $((SECONDS - begin)) s; $advice" >&2
    exit 1
  }
  echo "== $name: $((SECONDS - begin)) s"
}

cpp_format() {
  command -v clang-format >/dev/null || {
    echo "clang-format was not found; install it (Debian: apt-get install clang-format)" >&2
    return 1
  }
  find Sources/CTorch Sources/XTunerCUDA Plugins Tests/Sanitized Tests/TestDevice Tests/EmulatedCUDA \
    Tests/GPUCheck \
    \( -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' \) \
    ! -path '*/generated/*' ! -name ctorch_ops.h -print0 \
    | xargs -0 clang-format --dry-run --Werror
}

strict_build() {
  scripts/build.sh "${strict[@]}" --explicit-target-dependency-import-check error
}

begin=$SECONDS
step "Swift format" "run make format, and mend by hand what it leaves" \
  swift format lint --strict --parallel --recursive Sources Tests benchmarks Package.swift
step "C++ format" "run make format" cpp_format
step "soundness" "each line above names the rule" scripts/soundness.sh
step "links" "mend the links above" python3 scripts/check_links.py
step "set-up" "see the message above" scripts/libtorch.sh
step "generated operators" "run make generate" python3 scripts/generate_ops.py --check
step "build" "mend the warnings and errors above" strict_build
step "configuration reference" "run make docs" \
  env XTUNER=.build-check/release/xtuner scripts/docs.sh --check
step "CUDA plug-in" "mend the errors above" scripts/cuda.sh --check
step "tests" "mend the failing tests above" scripts/test.sh "${strict[@]}"
step "mutations" "repeat the case that is named; scripts/mutations.sh says how" \
  scripts/mutations.sh --build "${strict[@]}"
step "kernels" "mend the kernel; CONTRIBUTING.md says how to repeat a part" scripts/kernels.sh all "${strict[@]}"
echo "all checks passed in $((SECONDS - begin)) s"
