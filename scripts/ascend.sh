#!/usr/bin/env bash
# Checks the mapping to Ascend against torch_npu's own library, on a machine without an NPU, CANN or Python.
#
# Fetches the wheel of torch_npu into .libtorch-ascend, compares its operators with the recorded ones, and lets
# xtuner-engine open the library. What the library needs of CANN and of Python is replaced by empty functions, so
# that its initialisers run and its operators are registered; none of them can be called.
set -euo pipefail
cd "$(dirname "$0")/.."

version=2.11.0.post3
folder=.libtorch-ascend
engine="$PWD/.build/release/xtuner-engine"
[ -x "$engine" ] || {
  echo "error: $engine is not there; run scripts/build.sh first" >&2
  exit 1
}

if [ ! -f "$folder/torch_npu/lib/libtorch_npu.so" ]; then
  mkdir -p "$folder"
  python3 -m pip download --quiet --no-deps --dest "$folder" --only-binary=:all: --python-version 3.11 \
    --platform "manylinux_2_28_$(uname -m)" "torch-npu==$version"
  python3 -m zipfile -e "$folder"/torch_npu-*.whl "$folder"
fi
python3 scripts/ascend_operators.py "$folder" --check

# The plug-in for HCCL groups; whatever it needs of torch_npu must be in its library.
include="$folder/torch_npu/include"
plugin="$(dirname "$engine")/libXTunerAscend.so"
"$(scripts/compiler.sh)" -std=c++20 -O2 -fPIC -shared -fclang-abi-compat=17 -w \
  -isystem "$include" -isystem "$include/third_party/acl/inc" -isystem "$include/third_party/hccl/inc" \
  -isystem .libtorch/torch/include -isystem .libtorch/torch/include/torch/csrc/api/include \
  -isystem .libtorch/torch/include/torch/csrc/distributed Plugins/Ascend/hccl.cpp -o "$plugin" \
  -L"$folder/torch_npu/lib" -ltorch_npu -Wl,--unresolved-symbols=ignore-in-shared-libs \
  -L.libtorch/torch/lib -ltorch_cpu -lc10 -Wl,--no-undefined
echo "built $plugin"

# A folder as pip would make it: torch and torch_npu side by side.
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
mkdir -p "$site/torch/lib" "$site/empty"
for library in .libtorch/torch/lib/*.so*; do
  case "$(basename "$library")" in
    libtorch.so | libtorch_python.so | libtorch_cuda*) ;;
    *) ln -s "$PWD/$library" "$site/torch/lib/" ;;
  esac
done
[ ! -d .libtorch/nvidia ] || ln -s "$PWD/.libtorch/nvidia" "$site/nvidia"
ln -s "$PWD/$folder/torch_npu" "$site/torch_npu"

symbols() { nm --dynamic "$1" "${@:2}" | awk '{ print $NF }' | sed 's/@.*//' | sort -u; }
symbols --undefined-only "$folder"/torch_npu/lib/*.so >"$site/wanted"
symbols --defined-only .libtorch/torch/lib/{libtorch_cpu,libc10}.so "$folder"/torch_npu/lib/*.so \
  "$(c++ -print-file-name=libstdc++.so.6)" "$(c++ -print-file-name=libc.so.6)" \
  "$(c++ -print-file-name=libm.so.6)" "$(c++ -print-file-name=libgcc_s.so.1)" >"$site/there"
# A name that nothing defines becomes a function that returns 0, also where data is meant: nothing reads it.
case "$(uname -m)" in
  x86_64) body='xorl %eax, %eax; ret' ;;
  aarch64) body='mov x0, #0; ret' ;;
  *) echo "error: torch_npu has no wheel for $(uname -m)" >&2 && exit 1 ;;
esac
comm -23 "$site/wanted" "$site/there" | grep -vE '^(__tls_get_addr|_ITM_|__gmon_start__|__cxa_finalize)' |
  awk -v body="$body" 'BEGIN { print ".text" } {
    printf ".p2align 6\n.globl \"%s\"\n.type \"%s\",@object\n.size \"%s\",64\n\"%s\": %s\n", $1, $1, $1, $1, body
  }' >"$site/empty.s"
cc -shared -nostdlib -o "$site/empty/libascendcl.so" -Wl,-soname,libascendcl.so "$site/empty.s"
for library in $(readelf -d "$folder"/torch_npu/lib/*.so | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | sort -u) \
  libacl_tdt_channel.so; do
  [ -e "$site/empty/$library" ] || [ -e "$site/torch/lib/$library" ] || [ -e "$folder/torch_npu/lib/$library" ] ||
    [[ "$(c++ -print-file-name="$library")" = /* ]] || [[ "$library" = ld-linux* ]] || [[ "$library" = libpthread* ]] ||
    cc -shared -nostdlib -x c /dev/null -o "$site/empty/$library" -Wl,-soname,"$library"
done

LD_LIBRARY_PATH="$site/torch/lib:$site/empty:$folder/torch_npu/lib" "$engine" info | tee "$site/info"
grep -q "its operators are the recorded ones" "$site/info" || {
  echo "error: torch_npu's library was not accepted, see the line 'ascend'" >&2
  exit 1
}
