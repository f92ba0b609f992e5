#!/usr/bin/env bash
# Feeds mutated files to every reader, bounded and seeded; fails on a signal, a hang, a message that no
# terminal should get, or input that is taken for what it is not.
#
#   scripts/mutations.sh                      every reader, a minute each
#   scripts/mutations.sh --seconds 5 safetensors tokenizer
#   scripts/mutations.sh --seed 7 --case 123 tokenizer     one case again, with its message
#
# Further arguments of the form --build ... go to `swift build`, up to the end of the line.
set -euo pipefail
cd "$(dirname "$0")/.."

seed=1 seconds=60 only=() readers=() build=()
while [ $# -gt 0 ]; do
  case $1 in
    --seed) shift; seed=$1 ;;
    --seconds) shift; seconds=$1 ;;
    --case) shift; only=(--case "$1") ;;
    --build) shift; build=("$@"); break ;;
    -*) echo "error: unknown option $1; see the head of $0" >&2; exit 2 ;;
    *) readers+=("$1") ;;
  esac
  shift
done

scripts/libtorch.sh
swift build -c release -Xswiftc -enable-testing --product Mutations "${build[@]}"
program=$(swift build -c release --show-bin-path "${build[@]}")/Mutations
if [ ${#readers[@]} -eq 0 ]; then mapfile -t readers < <("$program" list); fi

folder=$(mktemp -d "${TMPDIR:-/tmp}/xtuner-mutations.XXXXXX")
trap 'rm -rf "$folder"' EXIT
failed=0
for reader in "${readers[@]}"; do
  status=0
  OMP_NUM_THREADS=1 timeout -k 10 $((seconds + 60)) "$program" "$reader" --seed "$seed" \
    --seconds "$seconds" --folder "$folder" "${only[@]}" || status=$?
  if [ "$status" -gt 1 ]; then
    echo "error: $reader, seed $seed, case $(cat "$folder/case"): ended with status $status" >&2
  fi
  if [ "$status" -ne 0 ]; then failed=$((failed + 1)); fi
done
if [ "$failed" -gt 0 ]; then
  echo "error: $failed of ${#readers[@]} readers failed; repeat a case with --case" >&2
  exit 1
fi
echo "mutations: ${#readers[@]} readers held for $seconds s each"
