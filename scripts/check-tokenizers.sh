#!/usr/bin/env bash
# Compares our ids with those of Hugging Face tokenizers, line by line on a large mixed text, and
# the throughput of both in the same run.
#
# usage: scripts/check-tokenizers.sh TOKENIZER_JSON [TEXT]
#
# TOKENIZER_JSON may be gzipped. Without TEXT a mixed text is made from this machine's files.
# Needs Python 3 with venv and pip, and `swift build -c release`.
set -euo pipefail

if [[ $# -lt 1 || $# -gt 2 ]]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
root=$(cd "$(dirname "$0")/.." && pwd)
xtuner=${XTUNER:-$root/.build/release/xtuner}
environment=$root/.build-python-tokenizers
reference=$root/scripts/tokenizers_reference.py
if [[ ! -x $xtuner ]]; then
  echo "$xtuner does not exist; run: swift build -c release" >&2
  exit 1
fi
if [[ ! -x $environment/bin/python ]]; then
  python3 -m venv "$environment"
fi
"$environment/bin/pip" install --quiet --disable-pip-version-check \
  tokenizers==0.23.3 tiktoken==0.14.0 regex

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
vocabulary=$work/tokenizer.json
case $1 in
  *.gz) gunzip -c "$1" >"$vocabulary" ;;
  *) cp "$1" "$vocabulary" ;;
esac
text=${2:-$work/mixed.txt}
if [[ $# -lt 2 ]]; then
  "$environment/bin/python" "$reference" text "$text"
fi

encode() {
  "$xtuner" tokenizer encode --tokenizer "$vocabulary" --input "$text" --out "$work/ids.jsonl" "$@"
}

echo "ids:"
encode --threads 2 >/dev/null
status=0
"$environment/bin/python" "$reference" compare "$vocabulary" "$text" "$work/ids.jsonl" || status=$?

# The command prints one JSON line with `--json`: lines, bytes, tokens, seconds.
for threads in 1 2; do
  reference_line=$("$environment/bin/python" "$reference" speed "$vocabulary" "$text" "$threads")
  our_line=$(encode --threads "$threads" --json)
  "$environment/bin/python" - "$threads" "$reference_line" "$our_line" <<'PYTHON'
import json
import sys

threads, reference, ours = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
speed = ours["bytes"] / ours["seconds"] / 1e6
print(f"{threads} threads: reference {reference['mb_s']:.2f} MB/s, ours {speed:.2f} MB/s, "
      f"ratio {speed / reference['mb_s']:.1f}")
PYTHON
done
exit "$status"
