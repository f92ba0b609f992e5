#!/usr/bin/env bash
# Checks the CUDA plug-in on a machine with a GPU, torch 2.11.0 and python3, which needs no Swift and no compiler.
#
#   scripts/gpu-check.sh --pack         here: compile for sm_90a, write .build-gpu-check/gpu-check.tar.gz
#   scripts/gpu-check.sh --dry-run      the same, and everything of --run but the launches, with the CPU in the GPU's place
#   scripts/gpu-check.sh --run          there, in the unpacked folder: ./gpu-check.sh --run
#
# The archive has the check program, in C++, the plug-in, and xtuner with Swift's run time linked in. A run compares every
# operator with its reference on random sizes, runs each at the shapes of Qwen3-30B-A3B with waiting for the device
# forbidden, looks whether memory grows, and measures; then trains a small model on the GPU and on the CPU, compares the
# steps, and measures steps of Qwen3-30B-A3B's shapes with 8 layers. It ends with tables, gpu-check.json,
# gpu-parity.json, and an exit code that is 0 only where all is well; after 9.5 minutes it is stopped.
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

# check FOLDER LIBRARIES OPTION...: runs the program there.
check() {
  local folder=$1 libraries=$2
  shift 2
  LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" timeout $((570 - SECONDS)) \
    "$folder/gpu-check" "$folder/libXTunerCUDA.so" "$folder/gpu-check.json" "$@"
}

# train FOLDER LIBRARIES OPTION...: steps on the device beside those on the CPU.
train() {
  local folder=$1 libraries=$2
  shift 2
  rm -rf "$folder/parity"
  LD_LIBRARY_PATH="$libraries:$folder/libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" timeout $((570 - SECONDS)) \
    python3 "$folder/gpu_parity.py" "$folder/xtuner" "$folder/parity" "$folder/gpu-parity.json" "$@"
}

run() {
  local folder=$PWD libraries failed=
  [ -x "$folder/gpu-check" ] || fail "there is no program gpu-check here; unpack gpu-check.tar.gz, and run ./gpu-check.sh \
--run in its folder"
  libraries=$(torch_folder)
  check "$folder" "$libraries" || failed="the operators' check (status $?)"
  train "$folder" "$libraries" --speed || failed="${failed:+$failed and }the training steps (status $?)"
  [ -z "$failed" ] || fail "$failed failed, see above; status 124: it took longer than 9.5 minutes"
}

compile() {
  cd ..
  scripts/cuda.sh --check --arch 90a
  local torch=.libtorch/torch build=.build-gpu-check clang flags source object objects=() jobs=() folder product
  clang=$(scripts/compiler.sh)
  flags=(-std=c++20 -fclang-abi-compat=17 -O2 -DXTUNER_DEVICE_KERNELS -isystem "$torch/include"
    -isystem "$torch/include/torch/csrc/api/include")
  folder=$build/gpu-check
  mkdir -p "$folder" "$build/objects"
  for source in Tests/GPUCheck/*.cpp Tests/Sanitized/{attention,flat,fp8_parts,products,router,rows,support}.cpp \
    Sources/CTorch/operators/{library,autograd,autograd_norm,autograd_router,reference,reference_fp8_parts}.cpp; do
    object=$build/objects/$(basename "$(dirname "$source")")-$(basename "$source").o
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
  cp .build-cuda/90a/libXTunerCUDA.so scripts/gpu-check.sh scripts/gpu_parity.py "$folder/"
  strip "$folder/gpu-check" "$folder/xtuner" "$folder/xtuner-engine"
  tar -C "$build" -czf "$build/gpu-check.tar.gz" gpu-check
  say "sizes in bytes:"
  (cd "$build" && find gpu-check gpu-check.tar.gz -type f -exec stat -c '  %s %n' {} +)
}

case ${1:-} in
  --run) run ;;
  --pack) compile ;;
  --dry-run)
    compile
    check "$PWD/.build-gpu-check/gpu-check" "$PWD/.libtorch/torch/lib" dry
    train "$PWD/.build-gpu-check/gpu-check" "$PWD/.libtorch/torch/lib" --device cpu
    ;;
  *) fail "unknown option ${1:-}; there are --pack, --dry-run and --run" ;;
esac
