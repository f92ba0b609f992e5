#!/usr/bin/env bash
# From a clean clone to a trained model that answers; arguments go to `xtuner demo`.
set -euo pipefail
cd "$(dirname "$0")/.."

begin=$SECONDS
scripts/libtorch.sh
built=$SECONDS
scripts/build.sh
echo "set-up $((built - begin)) s, build $((SECONDS - built)) s, together $((SECONDS - begin)) s"
exec .build/release/xtuner demo "$@"
