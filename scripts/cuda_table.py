"""Prints what ptxas says about the kernels: for each file and architecture the number of kernels, the most registers and
shared memory of one, and bytes that do not fit into registers. Fails when a kernel spills."""

import pathlib
import re
import sys


def kernels_of(text):
    """Yields (architecture, registers, spilled bytes, shared bytes) of each kernel."""
    for part in re.split(r"ptxas info\s*: Compiling entry function ", text)[1:]:
        architecture = re.search(r"for '(sm_\w+)'", part)
        registers = re.search(r"Used (\d+) registers", part)
        if not architecture or not registers:
            continue
        spills = sum(int(n) for n in re.findall(r"(\d+) bytes spill", part))
        shared = re.search(r"(\d+) bytes smem", part)
        yield architecture[1], int(registers[1]), spills, int(shared[1]) if shared else 0


def main(paths):
    rows = []
    for path in sorted(paths):
        by_architecture = {}
        for architecture, *numbers in kernels_of(pathlib.Path(path).read_text()):
            by_architecture.setdefault(architecture, []).append(numbers)
        name = pathlib.Path(path).name.removeprefix("kernels-").removesuffix(".o.log")
        for architecture, kernels in by_architecture.items():
            rows.append((name, architecture, len(kernels), *(max(k[i] for k in kernels) for i in range(3))))
    print(f"{'file':<25}{'for':<9}{'kernels':>8}{'registers':>11}{'spilled':>9}{'shared':>8}")
    for name, architecture, count, registers, spills, shared in rows:
        print(f"{name:<25}{architecture:<9}{count:>8}{registers:>11}{spills:>9}{shared:>8}")
    spilling = [row for row in rows if row[4] > 0]
    if not rows or spilling:
        sys.exit(f"error: kernels in {', '.join(row[0] for row in spilling)} spill registers" if rows else
                 "error: no kernel was compiled")


main(sys.argv[1:])
