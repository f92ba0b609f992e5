#!/usr/bin/env python3
"""Records the operators of torch_npu that ours are mapped to.

    scripts/ascend_operators.py TORCH_NPU_WHEEL_OR_FOLDER [--check]

Reads the schemas out of libtorch_npu.so, where they are plain text, and writes Sources/CTorch/ascend/schemas.h.
With --check it compares instead. The wheel is torch-npu==2.11.0.post3 (cp311, x86_64 or aarch64), from PyPI.
"""
import re
import sys
import zipfile
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "Sources/CTorch/ascend/schemas.h"
MAPPED = [
    "npu_add_rms_norm",
    "npu_fusion_attention",
    "npu_fusion_attention_grad",
    "npu_grouped_matmul",
    "npu_moe_token_permute_grad_v2",
    "npu_moe_token_unpermute",
    "npu_moe_token_unpermute_grad",
    "npu_rms_norm",
    "npu_rms_norm_backward",
    "npu_rotary_mul",
    "npu_swiglu",
    "npu_swiglu_backward",
]


def read(place):
    """The library's bytes and the version of torch_npu."""
    if place.suffix == ".whl":
        with zipfile.ZipFile(place) as wheel:
            return wheel.read("torch_npu/lib/libtorch_npu.so"), wheel.read("torch_npu/version.py").decode()
    return (place / "torch_npu/lib/libtorch_npu.so").read_bytes(), (place / "torch_npu/version.py").read_text()


def schemas(library):
    texts = {}
    for name in MAPPED:
        found = set(re.findall(rb"[\0]((?:npu::)?%s\([ -~]*?\) -> [ -~]*?)[\0]" % name.encode(), library))
        # The bare name may also be that of a function's documentation; a schema names types.
        found = {text.decode().removeprefix("npu::") for text in found}
        if len(found) != 1:
            raise SystemExit(f"npu::{name}: {len(found)} schemas in the library: {sorted(found)}")
        texts[name] = found.pop()
    return texts


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    library, version_file = read(Path(sys.argv[1]))
    version = re.search(r"__version__ = ['\"]([^'\"]+)", version_file).group(1)
    lines = [
        "// Written by scripts/ascend_operators.py. Do not edit.",
        "#pragma once",
        f"// Operators of torch_npu {version} that ours are mapped to, as its library registers them.",
        f'constexpr const char *recorded_version = "{version}";',
        "constexpr const char *recorded_schemas[] = {",
    ]
    # A line a schema; clang-format leaves them alone.
    lines += ["    // clang-format off"]
    lines += ['    R"(npu::%s)",' % text for text in schemas(library).values()]
    lines += ["    // clang-format on", "};", ""]
    text = "\n".join(lines)
    if "--check" in sys.argv:
        if TARGET.read_text() != text:
            raise SystemExit(f"{TARGET.name} is not what {sys.argv[1]} has: run scripts/ascend_operators.py on it")
        print(f"{len(MAPPED)} schemas are those of torch_npu {version}")
        return
    TARGET.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
