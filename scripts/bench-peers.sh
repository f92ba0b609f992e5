#!/usr/bin/env bash
# Measures training steps of other engines and ours in turn, and prints medians and ratios.
#
# usage: scripts/bench-peers.sh [options]
#   --quick            1 round of 3 steps at 2048 tokens against transformers-grouped
#   --rounds N         rounds; each runs every peer once, ours before each (default 3)
#   --lengths LIST     tokens of the pack, such as 2048,8192 (default 2048)
#   --peers LIST       default all: transformers-eager, transformers-grouped, transformers-compiled,
#                      torchtitan-eager, torchtitan-compiled, torchtitan-chunked, and on a model
#                      without experts transformers-dense, transformers-dense-compiled
#   --steps N          measured steps a run (default 11; 5 above 4096 tokens)
#   --threads N        threads of all programs (default: all cores)
#   --wrap COMMAND     runs every program under COMMAND, such as "numactl -C 0-7"
#   --state TYPE       what our AdamW keeps: bf16 as the peers do (default), or f32 as our training does unless
#                      it is told otherwise
#   --ours-once        ours once a round, not before each peer: half the time, wider spread
#   --no-limits        without the roofline
#   --out FILE         where the JSON lines go (default runs/bench-peers/DATE.jsonl)
#   --table FILE       prints the tables of an earlier FILE and ends
#
# Needs `make build`, Python 3.11 or newer with venv and pip, and network once. Packages go to
# .build-python-peers, pinned by benchmarks/peers/requirements*.txt; PY=PYTHON takes another Python
# that has them. pip takes torch from the index it is set to; the CPU wheel is enough and smaller.
# Peers run with a tuned allocator (benchmarks/peers/allocator.sh), ours as users run it.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
peers=benchmarks/peers
all=transformers-eager,transformers-grouped,transformers-compiled,torchtitan-eager,torchtitan-compiled,torchtitan-chunked
all+=,transformers-dense,transformers-dense-compiled

fail() { echo "error: $*" >&2; exit 1; }
number() { [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1 takes a number of at least 1, not '$2'"; }

rounds=3 lengths=2048 chosen=$all steps='' threads=$(getconf _NPROCESSORS_ONLN) limits=1 pairs=1 out='' budget=0.6 state=bf16
wrap=()
while [ $# -gt 0 ]; do
  case $1 in
    --quick) rounds=1 steps=3 chosen=transformers-grouped budget=0.15; shift; continue ;;
    --ours-once) pairs=0; shift; continue ;;
    --no-limits) limits=0; shift; continue ;;
    -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; exit 0 ;;
  esac
  [ $# -ge 2 ] || fail "$1 is unknown or lacks its value; see scripts/bench-peers.sh --help"
  case $1 in
    --rounds) number "$1" "$2"; rounds=$2 ;;
    --lengths) lengths=$2 ;;
    --peers) chosen=$2 ;;
    --steps) number "$1" "$2"; steps=$2 ;;
    --threads) number "$1" "$2"; threads=$2 ;;
    --state) state=$2; [[ $2 = bf16 || $2 = f32 ]] || fail "--state takes bf16 or f32, not '$2'" ;;
    --wrap) read -ra wrap <<<"$2" ;;
    --out) out=$2 ;;
    --table) [ -e "$2" ] || fail "$2 does not exist"; exec "${PY:-python3}" "$peers/table.py" "$2" ;;
    *) fail "unknown option $1; see scripts/bench-peers.sh --help" ;;
  esac
  shift 2
done
[ "$chosen" != all ] || chosen=$all
IFS=, read -ra names <<<"$chosen"
IFS=, read -ra sizes <<<"$lengths"
for name in "${names[@]}"; do
  [[ ,$all, == *",$name,"* ]] || fail "unknown peer '$name'; known are ${all//,/, }"
done
for size in "${sizes[@]}"; do number --lengths "$size"; done

# ---- What has to be there
xtuner=${XTUNER:-$root/.build/release/xtuner}
[ -x "$xtuner" ] || fail "$xtuner does not exist; run: make build"
"$xtuner" info >/dev/null || fail "$xtuner does not run, see above"
if [ -z "${PY:-}" ]; then
  environment=$root/.build-python-peers
  PY=$environment/bin/python
  command -v python3 >/dev/null || fail "python3 was not found; install Python 3.11 or newer, or set PY"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || fail "$(python3 --version) is too old; install Python 3.11 or newer, or set PY to one that has the packages"
  if [ ! -x "$PY" ]; then
    python3 -m venv "$environment" || fail "python3 cannot make an environment (Debian: apt-get install python3-venv)"
  fi
  requirements=(-r "$peers/requirements.txt")
  [[ $chosen != *torchtitan* ]] || requirements+=(-r "$peers/requirements-torchtitan.txt")
  echo "installing packages into $environment" >&2
  "$PY" -m pip install --quiet --disable-pip-version-check "${requirements[@]}" \
    || fail "pip could not install the packages, see above; $environment can be deleted"
fi
modules="torch transformers"
[[ $chosen != *torchtitan* ]] || modules+=" torchtitan"
for module in $modules; do
  "$PY" -c "import $module" 2>/dev/null || fail "$PY cannot import $module; unset PY or install $peers/requirements*.txt there"
done
"$PY" -c 'import torch, sys; sys.exit(tuple(map(int, torch.__version__.split(".")[:2])) < (2, 11))' \
  || fail "$PY has a torch older than 2.11"

# ---- Runs
out=${out:-runs/bench-peers/$(date +%Y-%m-%d-%H%M%S).jsonl}
log=${out%.jsonl}.log
mkdir -p "$(dirname "$out")"
: >"$out" && : >"$log"
export THREADS=$threads PEERS_BUDGET=$budget TORCHINDUCTOR_CACHE_DIR="$root/.build-python-peers-inductor"
plain=(env -u LD_PRELOAD -u MALLOC_CONF -u MALLOC_MMAP_MAX_ -u MALLOC_TRIM_THRESHOLD_ -u MALLOC_ARENA_MAX
  -u MALLOC_TOP_PAD_ PEERS_ALLOC=own)

# one NAME COMMAND...: runs it and appends its JSON line with its name and the number of rounds.
one() {
  local name=$1 line
  shift
  echo "== $name: $*" >>"$log"
  line=$(${wrap[@]+"${wrap[@]}"} "$@" 2>>"$log" | grep '^{' | tail -1) || {
    tail -5 "$log" >&2
    fail "$name failed, see $log"
  }
  echo "{\"name\": \"$name\", \"rounds\": $rounds, ${line#\{}" >>"$out"
  tail -1 "$out" | "$PY" -c 'import json, sys
x = json.loads(sys.stdin.read())
print(x["name"] + (": %.0f tokens/s" % x["tok_s"] if "tok_s" in x else ""))' >&2
}

# ours PEER LENGTH STEPS: the model that the peer runs.
ours() {
  local name=xtuner sizes=()
  if [[ $1 == *-dense* ]]; then
    name=xtuner-dense sizes=(--dense-size 2304 --hidden 768 --layers 12 --heads 12 --kv-heads 4)
  fi
  one $name "${plain[@]}" "$xtuner" bench step --seq "$2" --steps "$3" --threads "$threads" --state "$state" --json \
    ${sizes[@]+"${sizes[@]}"}
}
peer() {
  local script model mode dense=0
  case $1 in
    transformers-dense) script=transformers_moe.py model=dense mode=eager dense=1 ;;
    transformers-dense-compiled) script=transformers_moe.py model=dense mode=compile_layers dense=1 ;;
    transformers-eager) script=transformers_moe.py model=eager mode=eager ;;
    transformers-grouped) script=transformers_moe.py model=grouped_mm mode=eager ;;
    transformers-compiled) script=transformers_moe.py model=grouped_mm mode=compile_layers ;;
    torchtitan-eager) script=torchtitan_moe.py model=full mode=eager ;;
    torchtitan-compiled) script=torchtitan_moe.py model=full mode=compile ;;
    torchtitan-chunked) script=torchtitan_moe.py model=chunked mode=compile ;;
  esac
  one "$1" env DENSE=$dense "${tuned[@]}" "$PY" "$peers/$script" "$model" "$mode" "$2" "$3"
}
tuned=(bash -c '. "$0" && exec "$@"' "$peers/allocator.sh")

for size in "${sizes[@]}"; do
  count=${steps:-$([ "$size" -gt 4096 ] && echo 5 || echo 11)}
  for round in $(seq "$rounds"); do
    echo "-- $size tokens, round $round of $rounds" >&2
    if [ "$limits" = 1 ]; then one limits "${tuned[@]}" "$PY" "$peers/limits.py" "$size"; fi
    before=
    for name in "${names[@]}"; do
      kind=experts
      [[ $name != *-dense* ]] || kind=dense
      # Once for each model, or before each peer.
      if [ "$pairs" = 1 ] || [[ $before != *$kind* ]]; then ours "$name" "$size" "$count"; fi
      before+=" $kind"
      peer "$name" "$size" "$count"
    done
  done
done
"$PY" "$peers/table.py" "$out"
echo "lines: $out, output of the programs: $log"
