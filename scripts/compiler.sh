#!/usr/bin/env bash
# Prints the path of clang++: the one of the search path, else the one that comes with Swift.
set -euo pipefail
command -v clang++ && exit
swift=$(readlink -f "$(command -v swift)") || { echo "error: neither clang++ nor swift was found" >&2; exit 1; }
[ -x "${swift%/*}/clang++" ] || { echo "error: clang++ was not found, not beside $swift either" >&2; exit 1; }
echo "${swift%/*}/clang++"
