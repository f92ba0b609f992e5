#!/usr/bin/env bash
# Fetches libtorch 2.11.0 into .libtorch/ and checks the system libraries that the build needs.
#
#   scripts/libtorch.sh            fetch, verify, unpack; does nothing when that was done already
#   scripts/libtorch.sh --force    unpack anew
#
# libtorch comes from the PyPI wheel of torch, with pip as the downloader: no Python runs later. The
# wheels are checked against the SHA-256 below and unpacked in the layout of site-packages, so that
# the libraries' RPATH finds nvidia/ beside torch/. An interrupted run goes on where it stopped: whole
# wheels are kept, a folder is only renamed into place when it is complete.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "error: $*" >&2; exit 1; }
say() { echo "libtorch: $*"; }

case "$(uname -s)-$(uname -m)" in
  Linux-x86_64)
    platforms=(manylinux_2_28_x86_64 manylinux_2_25_x86_64 manylinux_2_17_x86_64 manylinux2014_x86_64)
    wheels=(
      "torch==2.11.0 0f68f4ac6d95d12e896c3b7a912b5871619542ec54d3649cf48cc1edd4dd2756"
      "nvidia-cuda-runtime==13.0.96 7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548"
      "nvidia-cuda-cupti==13.0.85 4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8"
    ) ;;
  Linux-aarch64)
    platforms=(manylinux_2_28_aarch64 manylinux_2_25_aarch64 manylinux_2_17_aarch64 manylinux2014_aarch64)
    wheels=(
      "torch==2.11.0 f99924682ef0aa6a4ab3b1b76f40dc6e273fca09f367d15a524266db100a723f"
      "nvidia-cuda-runtime==13.0.96 ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55"
      "nvidia-cuda-cupti==13.0.85 796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151"
    ) ;;
  *) fail "libtorch is fetched for Linux on x86_64 or aarch64, this is $(uname -s) on $(uname -m)" ;;
esac

# ---- System libraries: headers of PCRE2 (tokenizers), zlib and zstd (compressed data).
missing=()
for pair in pcre2.h:libpcre2-dev zlib.h:zlib1g-dev zstd.h:libzstd-dev; do
  [ -e "/usr/include/${pair%%:*}" ] || missing+=("${pair##*:}")
done
command -v pkg-config >/dev/null || missing+=(pkg-config)
command -v unzip >/dev/null || missing+=(unzip)
if [ ${#missing[@]} -gt 0 ]; then
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    say "installing ${missing[*]}"
    log=$(mktemp)
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}"; } >"$log" 2>&1 \
      || { tail -5 "$log" >&2; fail "apt-get could not install ${missing[*]}"; }
    rm -f "$log"
  else
    fail "missing system packages; run: sudo apt-get install ${missing[*]}"
  fi
fi

# ---- libtorch
stamp=.libtorch/.complete
want=$(printf '%s\n' "${wheels[@]}")
if [ "${1:-}" != --force ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then exit 0; fi

python=
for candidate in python3 python3.13 python3.12 python3.11 python3.10 python; do
  if command -v "$candidate" >/dev/null && "$candidate" -m pip --version >/dev/null 2>&1; then python=$candidate; break; fi
done
[ -n "$python" ] || fail "no Python 3 with pip was found; install one (Debian: apt-get install python3-pip)"

free_kib=$(df -Pk . | awk 'NR == 2 { print $4 }')
[ "$free_kib" -gt 2500000 ] || fail "unpacking libtorch takes 2.5 GB of disk, $((free_kib / 1000)) MB are free here"

mkdir -p .libtorch-wheels
options=(--only-binary=:all: --python-version 3.12 --implementation cp --no-deps --disable-pip-version-check)
for platform in "${platforms[@]}"; do options+=(--platform "$platform"); done

holds() { # whether a wheel with this SHA-256 lies in .libtorch-wheels; prints its path
  for file in .libtorch-wheels/*.whl; do
    [ -e "$file" ] || continue
    if [ "$(sha256sum "$file" | cut -d' ' -f1)" = "$1" ]; then echo "$file"; return 0; fi
  done
  return 1
}

rm -rf .libtorch-unpacking
mkdir .libtorch-unpacking
for entry in "${wheels[@]}"; do
  requirement=${entry% *} sha=${entry#* }
  if ! file=$(holds "$sha"); then
    say "downloading $requirement"
    rm -f .libtorch-wheels/"$(echo "${requirement%%=*}" | tr - _)"-*.whl
    "$python" -m pip download -q "${options[@]}" -d .libtorch-wheels "$requirement" \
      || fail "pip could not download $requirement; check the network or pip's index setting and run this again"
    file=$(holds "$sha") || fail "the wheel of $requirement does not have the expected SHA-256 $sha"
  fi
  say "unpacking ${file##*/}"
  unzip -q -o "$file" -d .libtorch-unpacking
done
printf '%s\n' "${wheels[@]}" >.libtorch-unpacking/.complete
rm -rf .libtorch
mv .libtorch-unpacking .libtorch
rm -rf .libtorch-wheels
say "ready in .libtorch ($(du -sh .libtorch | cut -f1))"
