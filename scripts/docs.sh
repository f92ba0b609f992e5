#!/usr/bin/env bash
# Writes docs/configuration.md from the option tables; with --check compares it instead.
#
#   scripts/docs.sh [--check]
#
# XTUNER names the program; without it xtuner is built.
set -euo pipefail
cd "$(dirname "$0")/.."

xtuner=${XTUNER:-.build/release/xtuner}
[ -n "${XTUNER:-}" ] || scripts/build.sh
page=$(mktemp)
trap 'rm -f "$page"' EXIT
"$xtuner" config reference >"$page"
if [ "${1:-}" = --check ]; then
  diff -u docs/configuration.md "$page"
else
  cp "$page" docs/configuration.md
fi
