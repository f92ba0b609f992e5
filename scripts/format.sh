#!/usr/bin/env bash
# Formats Swift and C++ in place. Generated files are left as they are.
set -euo pipefail
cd "$(dirname "$0")/.."

swift format --in-place --recursive Sources Tests benchmarks Package.swift
find Sources/CTorch Sources/XTunerCUDA Plugins Tests/Sanitized Tests/TestDevice Tests/EmulatedCUDA \
  Tests/GPUCheck \
  \( -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' \) \
  ! -path '*/generated/*' ! -name ctorch_ops.h -print0 | xargs -0 clang-format -i
