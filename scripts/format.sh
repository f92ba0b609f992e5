#!/usr/bin/env bash
# Formats Swift and C++ in place. Generated files are left as they are.
set -euo pipefail
cd "$(dirname "$0")/.."

swift format --in-place --recursive Sources Tests Package.swift
find Sources/CTorch Tests/Sanitized Tests/TestDevice Plugins \( -name '*.cpp' -o -name '*.h' \) \
  ! -path '*/generated/*' ! -name ctorch_ops.h -print0 | xargs -0 clang-format -i
