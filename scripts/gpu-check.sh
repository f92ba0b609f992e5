#!/usr/bin/env bash
# Checks and measures the CUDA plug-in on a machine with a GPU, torch 2.11.0 and python3, without Swift and a compiler.
#
#   scripts/gpu-check.sh --pack         here: compile for sm_90a, write .build-gpu-check/gpu-check.tar.xz
#   scripts/gpu-check.sh --dry-run      the same, and everything of --run but the launches, with the CPU in the GPU's
#                                       place and small shapes; PY=PYTHON takes a Python that has torch 2.11.0
#   scripts/gpu-check.sh --run [--part NAME ...]     there, in the unpacked folder: ./gpu-check.sh --run
#
# The archive has the check program, in C++, the plug-in, xtuner with Swift's run time linked in, and the peers' packages.
# Parts: operators (every operator against its reference, at the shapes of Qwen3-30B-A3B with waiting for the device
# forbidden, memory, rates), parity (a small model trained on the GPU and on the CPU), and those of gpu_speed.py: mixture,
# idle, dense, longest, waits. Without --part all of them, in 9.5 minutes; a part has more rounds in a call of its own.
# Ends with tables, gpu-check.json, gpu-parity.json, gpu-speed.jsonl, which later calls add to, and an exit code that is
# 0 only where all is well: a target that is missed is no failure.
set -euo pipefail
cd "$(dirname "$0")"

fail() { echo "error: $*" >&2; exit 1; }
say() { echo "gpu-check: $*"; }

# The folder of torch's libraries.
torch_folder() {
  command -v python3 >/dev/null || fail "python3 was not found; it is asked where torch lies"
  python3 - <<'END'
import importlib.metadata, importlib.util, pathlib, sys
spec = importlib.util.find_spec("torch")
if spec is None:
    sys.exit("error: python3 has no torch; install torch 2.11.0 for CUDA 13.0")
version = importlib.metadata.version("torch")
if version.split("+")[0] != "2.11.0":
    sys.exit(f"error: torch {version} is installed, the plug-in was compiled for torch 2.11.0")
print(pathlib.Path(spec.origin).parent / "lib")
END
}

# limit SECONDS: so many, or what is left of 9.5 minutes if that is less; fails where nothing is.
limit() {
  local left=$((570 - SECONDS))
  [ $left -ge 5 ] || { say "no time is left" >&2; return 124; }
  echo $((left < $1 ? left : $1))
}

# check FOLDER LIBRARIES OPTION...: runs the program there.
check() {
  local folder=$1 libraries=$2 seconds
  shift 2
  seconds=$(limit 240) || return 124
  LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" timeout -k 5 "$seconds" \
    "$folder/gpu-check" "$folder/libXTunerCUDA.so" "$folder/gpu-check.json" "$@"
}

# train FOLDER LIBRARIES OPTION...: steps on the device beside those on the CPU.
train() {
  local folder=$1 libraries=$2 seconds
  shift 2
  seconds=$(limit 200) || return 124
  rm -rf "$folder/parity"
  LD_LIBRARY_PATH="$libraries:$folder/libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" timeout -k 5 "$seconds" \
    python3 "$folder/gpu_parity.py" "$folder/xtuner" "$folder/parity" "$folder/gpu-parity.json" "$@"
}

# speed FOLDER PYTHON LIBRARIES OPTION...: steps beside those of other engines.
speed() {
  local folder=$1 python=$2 libraries=$3 seconds
  shift 3
  seconds=$(limit 570) || return 124
  PYTHONUNBUFFERED=1 timeout -k 5 "$seconds" "$python" "$folder/gpu_speed.py" "$folder/xtuner" \
    --peers "$folder/peers" --out "$folder/gpu-speed.jsonl" \
    --libraries "$libraries:$folder/libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" --seconds $((seconds - 10)) "$@"
}

run() {
  local folder=$PWD libraries failed= parts=() measured=() part
  while [ $# -gt 0 ]; do
    [ "$1" = --part ] && [ $# -ge 2 ] || fail "--run takes --part NAME, not '$*'"
    parts+=("$2")
    shift 2
  done
  [ ${#parts[@]} -gt 0 ] || parts=(operators parity mixture idle dense longest waits)
  for part in "${parts[@]}"; do
    case $part in
      operators | parity) ;;
      mixture | idle | dense | longest | waits) measured+=(--part "$part") ;;
      *) fail "--part takes operators, parity, mixture, idle, dense, longest and waits, not '$part'" ;;
    esac
  done
  [ -x "$folder/gpu-check" ] || fail "there is no program gpu-check here; unpack gpu-check.tar.xz, and run ./gpu-check.sh \
--run in its folder"
  libraries=$(torch_folder)
  if [[ " ${parts[*]} " = *" operators "* ]]; then
    check "$folder" "$libraries" || failed="the operators' check (status $?)"
  fi
  if [[ " ${parts[*]} " = *" parity "* ]]; then
    train "$folder" "$libraries" || failed="${failed:+$failed and }the training steps (status $?)"
  fi
  if [ ${#measured[@]} -gt 0 ]; then
    speed "$folder" python3 "$libraries" "${measured[@]}" || failed="${failed:+$failed and }the measuring (status $?)"
  fi
  [ -z "$failed" ] || fail "$failed failed, see above; status 124: it took longer than 9.5 minutes"
}

compile() {
  cd ..
  scripts/cuda.sh --check --arch 90a
  local torch=.libtorch/torch build=.build-gpu-check clang flags source object objects=() jobs=() folder product
  clang=$(scripts/compiler.sh)
  flags=(-std=c++20 -fclang-abi-compat=17 -DAT_PER_OPERATOR_HEADERS -O2 -DXTUNER_DEVICE_KERNELS -isystem "$torch/include"
    -isystem "$torch/include/torch/csrc/api/include")
  folder=$build/gpu-check
  mkdir -p "$folder" "$build/objects"
  for source in Tests/GPUCheck/*.cpp \
    Tests/Sanitized/{attention,products,norm,rows,router,head,float8,float8_parts,flat,support}.cpp \
    Sources/CTorch/operators/{formula,*/operators,*/reference}.cpp; do
    object=$build/objects/${source//\//-}.o
    objects+=("$object")
    jobs+=("$source" -o "$object")
  done
  printf '%s\0' "${jobs[@]}" | xargs -0 -n 3 -P "$(nproc)" "$clang" "${flags[@]}" -c
  "$clang" "${objects[@]}" -L"$torch/lib" -ltorch_cpu -lc10 -ldl -o "$folder/gpu-check"
  # xtuner, with Swift's run time inside and the system's libraries that it needs beside it.
  for product in xtuner xtuner-engine; do
    swift build -c release --static-swift-stdlib --scratch-path "$build/swift" --product $product
    cp "$build/swift/release/$product" "$folder/"
  done
  rm -rf "$folder/libraries" && mkdir "$folder/libraries"
  ldd "$folder/xtuner-engine" | awk '/lib(pcre2|zstd|z)[-.]/ { print $3 }' | xargs -I{} cp -L {} "$folder/libraries/"
  cp .build-cuda/90a/libXTunerCUDA.so scripts/gpu-check.sh scripts/gpu_{parity,speed,targets}.py "$folder/"
  strip "$folder/gpu-check" "$folder/xtuner" "$folder/xtuner-engine"
  carry_peers "$build" "$folder/peers"
  rm -f "$folder"/*.json "$folder"/*.jsonl && rm -rf "$folder/parity"
  tar -C "$build" -cf - gpu-check | xz -T0 >"$build/gpu-check.tar.xz"
  say "sizes in bytes:"
  (cd "$build" && find gpu-check -maxdepth 1 -type f -exec stat -c '  %s %n' {} + && du -sb gpu-check/peers \
    && stat -c '  %s %n' gpu-check.tar.xz)
  # What is lent takes so much of a working tree, in which the archive is one file.
  local most=$((64 << 20)) tree size
  size=$(stat -c %s "$build/gpu-check.tar.xz")
  tree=$(git ls-files -z | xargs -0 stat -c %s | awk '{ sum += $1 } END { print sum }')
  [ $((size + tree)) -le $most ] || fail "the archive ($size bytes) and the repository ($tree) are more than $most bytes"
}

# carry_peers BUILD FOLDER: the peers' program and packages, of which every Python can use the files.
carry_peers() {
  local wheel wheels=$1/wheels
  rm -rf "$2" "$wheels" && mkdir -p "$2/site" "$wheels"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --dest "$wheels" -r benchmarks/peers/requirements-device.txt
  for wheel in "$wheels"/*; do
    [[ $wheel = *-none-any.whl ]] || fail "$wheel is for one Python only"
    python3 -m zipfile -e "$wheel" "$2/site"
  done
  cp benchmarks/peers/device_{step,models}.py "$2/"
}

# A Python with torch 2.11.0 and what transformers needs besides, as GPU machines have.
dry_python() {
  local environment=$PWD/.build-gpu-check/python
  if [ ! -x "$environment/bin/python" ]; then
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check torch==2.11.0 transformers==5.23.0
  fi
  echo "$environment/bin/python"
}

case ${1:-} in
  --run) run "${@:2}" ;;
  --pack) compile ;;
  --dry-run)
    compile
    SECONDS=0 # of the run, of which compiling is no part
    check "$PWD/.build-gpu-check/gpu-check" "$PWD/.libtorch/torch/lib" dry
    train "$PWD/.build-gpu-check/gpu-check" "$PWD/.libtorch/torch/lib" --device cpu
    speed "$PWD/.build-gpu-check/gpu-check" "${PY:-$(dry_python)}" "$PWD/.libtorch/torch/lib" --device cpu --tiny
    ;;
  *) fail "unknown option ${1:-}; there are --pack, --dry-run and --run" ;;
esac
