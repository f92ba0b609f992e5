#!/usr/bin/env bash
# Prints the table of docs/invariance.md: runs InvarianceTests, which attach what they measured.
set -euo pipefail
cd "$(dirname "$0")/.."

rows=$(mktemp -d)
trap 'rm -rf "$rows"' EXIT
scripts/test.sh --filter InvarianceTests --attachments-path "$rows" >&2
echo "| model and layout | loss | gradient norm |"
echo "| --- | ---: | ---: |"
cat "$rows"/* | sort
