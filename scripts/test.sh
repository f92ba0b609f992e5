#!/usr/bin/env bash
# Builds and runs all tests; arguments go to `swift test`, as in `scripts/test.sh --filter Packing`.
#
# The build is that of scripts/build.sh. Tests run beside one another, so each tensor operation gets
# one thread: several threads each would wait for one another most of the time.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/libtorch.sh
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# c10d looks up the name of each address that connects; without a name server that waits for seconds.
export RES_OPTIONS="${RES_OPTIONS:-attempts:1 timeout:1}"
# Tests and the package manager leave temporary files when they are stopped; this folder takes them.
TMPDIR="$(mktemp -d "${TMPDIR:-/tmp}/xtuner-tests.XXXXXX")"
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
swift test -c release -Xswiftc -enable-testing --disable-xctest "$@"
