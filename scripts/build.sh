#!/usr/bin/env bash
# Builds xtuner and xtuner-engine in .build/release; further arguments go to `swift build`.
#
# Programs and tests share one build: BoringSSL and the C++ of the bridge are compiled once, and the
# tests run with optimised kernels. For that, all of it is compiled with -enable-testing.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/libtorch.sh
command -v swift >/dev/null || {
  echo "error: swift was not found; install Swift 6.3 (https://www.swift.org/install)" >&2
  exit 1
}
for product in xtuner xtuner-engine; do
  swift build -c release -Xswiftc -enable-testing --product "$product" "$@"
done
