#!/usr/bin/env python3
"""Trains the benchmark model with fast and with plain kernels and compares the losses.

usage: scripts/loss_curve.py [--steps 100] [-- options of `xtuner bench step`]

Both runs have the same weights, tokens and types. The plain one runs with ATEN_CPU_CAPABILITY=default:
no vectors beyond the baseline's, libtorch's matrix products and attention in place of ours. What
differs is the order of sums and where bf16 rounds. Fails where the loss of a step differs by more than
0.1 % or the mean difference of all steps exceeds 0.01 %: bf16 has steps of 0.4 %, and its errors are
as often above as below.
"""

import os
import pathlib
import re
import subprocess
import sys

STEP_LIMIT, MEAN_LIMIT = 1e-3, 1e-4
LOSS = re.compile(r"^xtuner (?:warm \d+|step) .* loss (\S+)", re.M)


def losses(xtuner, options, capability):
    environment = dict(os.environ)
    environment.pop("ATEN_CPU_CAPABILITY", None)
    if capability:
        environment["ATEN_CPU_CAPABILITY"] = capability
    result = subprocess.run(
        [xtuner, "bench", "step", *options], env=environment, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"error: bench step failed:\n{result.stderr}")
    return [float(text) for text in LOSS.findall(result.stderr)]


def main():
    arguments = sys.argv[1:]
    options = []
    if "--" in arguments:
        place = arguments.index("--")
        arguments, options = arguments[:place], arguments[place + 1:]
    steps = 100
    if arguments[:1] == ["--steps"] and len(arguments) == 2 and arguments[1].isdigit():
        steps = int(arguments[1])
    elif arguments:
        sys.exit(__doc__)
    root = pathlib.Path(__file__).resolve().parent.parent
    xtuner = os.environ.get("XTUNER", root / ".build/release/xtuner")
    # All steps are warm-up but one: no step is measured again because the machine was busy.
    options = options or ["--layers", "4", "--seq", "512", "--vocabulary", "8192"]
    options += ["--warm", str(steps - 1), "--steps", "1"]
    fast, plain = (losses(xtuner, options, capability) for capability in (None, "default"))
    fast, plain = fast[:steps], plain[:steps]
    if len(fast) != steps or len(plain) != steps:
        sys.exit(f"error: {len(fast)} and {len(plain)} losses of {steps} steps were printed")
    differences = [(a - b) / b for a, b in zip(fast, plain)]
    for step in sorted({0, 1, 9, steps // 2, steps - 1} & set(range(steps))):
        print(f"step {step + 1:4d}  fast {fast[step]:.4f}  plain {plain[step]:.4f}  {differences[step]:+.2e}")
    largest = max(abs(d) for d in differences)
    mean = sum(differences) / steps
    print(f"{steps} steps: largest difference {largest:.1e} (limit {STEP_LIMIT:.0e}), "
          f"mean {mean:+.1e} (limit {MEAN_LIMIT:.0e})")
    if largest > STEP_LIMIT or abs(mean) > MEAN_LIMIT:
        sys.exit("error: the losses differ by more than rounding")


if __name__ == "__main__":
    main()
