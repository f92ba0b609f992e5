#!/usr/bin/env bash
# Compiles the CUDA plug-in, libXTunerCUDA.so, beside the programs in .build/release. Needs no GPU.
#
#   scripts/cuda.sh                 fetch the compiler, compile what has changed, link, print sizes and registers
#   scripts/cuda.sh --check         the same, into .build-cuda only; for checks and continuous integration
#   scripts/cuda.sh --arch LIST     only these architectures, such as 90a or 80,90a (the default)
#   scripts/cuda.sh --runtime       also fetch the run-time libraries of CUDA beside libtorch (1.9 GB), for a
#                                   machine whose libtorch is the one of scripts/libtorch.sh
#
# The compiler comes from PyPI wheels, with pip as the downloader. Symbols of libtorch_cuda.so and libc10_cuda.so, which
# are part of libtorch's wheel, are checked when the plug-in is linked.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "error: $*" >&2; exit 1; }
say() { echo "cuda: $*"; }

# ---- Versions: those that torch 2.11.0 was built with and asks for.
toolchain=(
  nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88
  nvidia-cuda-cccl==13.0.85 nvidia-cuda-runtime==13.0.96 nvidia-nccl-cu13==2.28.9
)
# Headers of products for compute capability 9.0, kernels/*_sm90.cu.
cutlass=nvidia-cutlass==4.2.0.0
runtime=(
  nvidia-cublas==13.1.0.3 nvidia-cudnn-cu13==9.19.0.56 nvidia-cufft==12.0.0.61 nvidia-cufile==1.15.1.6
  nvidia-curand==10.4.0.35 nvidia-cusolver==12.0.4.66 nvidia-cusparse==12.6.3.3 nvidia-cusparselt-cu13==0.8.0
  nvidia-nccl-cu13==2.28.9 nvidia-nvjitlink==13.0.88 nvidia-cuda-nvrtc==13.0.88 nvidia-nvtx==13.0.85
  nvidia-nvshmem-cu13==3.4.5
)
architectures=80,90a
is_check=
wants_runtime=
while [ $# -gt 0 ]; do
  case $1 in
    --check) is_check=yes ;;
    --arch) shift; architectures=${1:?--arch needs a list such as 80,90a} ;;
    --runtime) wants_runtime=yes ;;
    *) fail "unknown option $1; there are --check, --arch LIST and --runtime" ;;
  esac
  shift
done
[[ $architectures =~ ^[0-9]+[a-z]?(,[0-9]+[a-z]?)*$ ]] || fail "--arch $architectures is no list such as 80,90a"
[ "$(uname -s)" = Linux ] || fail "the plug-in is compiled on Linux, this is $(uname -s)"

scripts/libtorch.sh
torch=$PWD/.libtorch/torch build=$PWD/.build-cuda
[ -f "$torch/lib/libtorch_cuda.so" ] || fail "the libtorch in .libtorch has no libtorch_cuda.so; take the wheel of torch \
2.11.0 from PyPI (scripts/libtorch.sh --force)"
name=${architectures//,/-}
objects_folder=$build/objects-$name output=.build/release
if [ -n "$is_check" ]; then output=.build-cuda/$name; fi
mkdir -p "$objects_folder" "$output"

# ---- Wheels. fetch FOLDER REQUIREMENT...: unpacks wheels there once; a stamp names them.
fetch() {
  local folder=$1 python='' candidate
  shift
  if [ -f "$folder/.complete" ] && [ "$(cat "$folder/.complete")" = "$*" ]; then return; fi
  for candidate in python3 python3.13 python3.12 python3.11 python; do
    if "$candidate" -m pip --version >/dev/null 2>&1; then python=$candidate; break; fi
  done
  [ -n "$python" ] || fail "no Python 3 with pip was found; install one (Debian: apt-get install python3-pip)"
  say "fetching $*"
  rm -rf "$folder.unpacking"
  "$python" -m pip install -q --no-deps --no-compile --disable-pip-version-check --only-binary=:all: \
    --root-user-action=ignore --target "$folder.unpacking" "$@" >"$build/pip.log" 2>&1 || {
    tail -3 "$build/pip.log" >&2
    fail "pip could not fetch the wheels above; check the network or pip's index setting and run this again"
  }
  echo "$*" >"$folder.unpacking/.complete"
  rm -rf "$folder"
  mv "$folder.unpacking" "$folder"
}
fetch "$build/toolchain" "${toolchain[@]}"
fetch "$build/cutlass" "$cutlass"
cuda=$build/toolchain/nvidia/cu13 nccl=$build/toolchain/nvidia/nccl
[ -x "$cuda/bin/nvcc" ] || fail "the wheels have no bin/nvcc; remove .build-cuda/toolchain and run this again"
if [ -n "$wants_runtime" ]; then
  fetch "$build/runtime" "${runtime[@]}"
  # libtorch looks for them in nvidia/ beside torch/.
  cp -rln "$build/runtime/nvidia/." .libtorch/nvidia/ 2>/dev/null || cp -rn "$build/runtime/nvidia/." .libtorch/nvidia/
fi

# ---- The host compiler: GCC up to 15 or clang up to 20 by NVIDIA's table; a newer one is taken at the user's risk.
host=
for candidate in g++ clang++; do
  if command -v "$candidate" >/dev/null && echo '#include <vector>' | "$candidate" -std=c++20 -fsyntax-only -x c++ - 2>/dev/null
  then host=$(command -v "$candidate"); break; fi
done
if [ -z "$host" ] && command -v swift >/dev/null; then
  candidate=$(dirname "$(readlink -f "$(command -v swift)")")/clang++
  if [ -x "$candidate" ]; then host=$candidate; fi
fi
[ -n "$host" ] || fail "no C++ compiler was found; install one (Debian: apt-get install g++)"
major=$("$host" -dumpversion | cut -d. -f1)
host_flags=(-std=c++20 -O2 -fPIC -D_GLIBCXX_USE_CXX11_ABI=1) nvcc_flags=()
if "$host" --version | grep -q clang; then
  host_flags+=(-fclang-abi-compat=17)  # as in Package.swift
  if [ "$major" -gt 20 ]; then nvcc_flags+=(-allow-unsupported-compiler); fi
elif [ "$major" -gt 15 ]; then
  nvcc_flags+=(-allow-unsupported-compiler)
fi

# ---- Objects: those that are older than what they were compiled from.
generate=()
for architecture in ${architectures//,/ }; do
  generate+=("-gencode=arch=compute_$architecture,code=sm_$architecture")
done
nvcc_flags+=(-std=c++20 -O3 -ccbin "$host" -Xcompiler -fPIC -Xptxas -v -lineinfo)
sm90_flags=(
  -gencode=arch=compute_90a,code=sm_90a -isystem "$build/cutlass/cutlass_library/source/include"
  --expt-relaxed-constexpr -DNDEBUG
)
host_flags+=(
  -Wall -DAT_PER_OPERATOR_HEADERS -DUSE_C10D_NCCL -isystem "$torch/include" -isystem "$torch/include/torch/csrc/api/include"
  -isystem "$cuda/include" -isystem "$nccl/include" -isystem Sources/XTunerCUDA/declarations
)
{ printf '%s\n' "$host" "$("$host" --version)" "${nvcc_flags[@]}" "${generate[@]}" "${sm90_flags[@]}" "${host_flags[@]}" \
  "${toolchain[@]}" "$cutlass"; } \
  >"$objects_folder/flags.new"
cmp -s "$objects_folder/flags.new" "$objects_folder/flags" || rm -f "$objects_folder"/*.o
mv "$objects_folder/flags.new" "$objects_folder/flags"

# is_current OBJECT: whether it is newer than all that it was compiled from.
is_current() {
  local files
  [ -f "$1" ] && [ -f "$1.d" ] || return 1
  mapfile -t files < <(sed -e 's/^[^:]*: *//' -e 's/\\$//' "$1.d" | tr -s ' ' '\n' | grep .)
  [ -z "$(find "${files[@]}" -newer "$1" 2>&1)" ]
}

begin=$SECONDS commands=$build/commands objects=()
: >"$commands"
for source in Sources/XTunerCUDA/kernels/*.cu Sources/XTunerCUDA/operators/*/*.cpp Sources/XTunerCUDA/*.cpp; do
  object=${source#Sources/XTunerCUDA/}
  object=$objects_folder/${object//\//-}.o
  objects+=("$object")
  if is_current "$object"; then continue; fi
  case $source in
    *_sm90.cu) compile=("$cuda/bin/nvcc" "${nvcc_flags[@]}" "${sm90_flags[@]}") ;;
    *.cu) compile=("$cuda/bin/nvcc" "${nvcc_flags[@]}" "${generate[@]}") ;;
    *) compile=("$host" "${host_flags[@]}") ;;
  esac
  printf '%q ' "${compile[@]}" -MMD -MF "$object.d" -c "$source" -o "$object.new" >>"$commands"
  printf '>%q 2>&1 && mv %q %q || { echo "== %s"; cat %q; exit 1; }\n' "$object.log" "$object.new" "$object" "$source" \
    "$object.log" >>"$commands"
done
stale=$(wc -l <"$commands")
if [ "$stale" -gt 0 ]; then
  say "compiling $stale files for ${architectures//,/ and } with $("$cuda/bin/nvcc" --version | sed -n 's/.*release \(.*\),.*/CUDA \1/p'), $host"
  xargs -d '\n' -P "$(nproc)" -I{} bash -c '{}' <"$commands" >"$build/errors" || {
    grep -vE 'ptxas info|^ +[0-9]+ bytes stack' "$build/errors" >&2
    fail "files of the plug-in do not compile; see above"
  }
fi
plugin=$output/libXTunerCUDA.so
# Everything must be found in libtorch and the run-time library: a symbol that another version has shows here.
ln -sf libcudart.so.13 "$cuda/lib/libcudart.so"
"$host" -shared -o "$plugin.new" "${objects[@]}" -L"$torch/lib" -L"$cuda/lib" -Wl,--no-as-needed -ltorch_cuda \
  -lc10_cuda -ltorch_cpu -lc10 -lcudart -Wl,--no-undefined -Wl,--allow-shlib-undefined -Wl,-soname,libXTunerCUDA.so \
  >"$build/link.log" 2>&1 || {
  tail -20 "$build/link.log" >&2
  fail "the plug-in does not link with libtorch 2.11.0; see above"
}
mv "$plugin.new" "$plugin"
say "$plugin, $(du -h "$plugin" | cut -f1), ${architectures//,/ and }; $stale files compiled in $((SECONDS - begin)) s"
python3 scripts/cuda_table.py "${objects[@]/%/.log}"
