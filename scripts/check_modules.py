#!/usr/bin/env python3
"""Checks that the modules of Package.swift form a straight line, and prints their graph.

usage: scripts/check_modules.py            a line for each import that goes up; status 1 if there is one
       scripts/check_modules.py --graph    the modules in their order, with lines of code and what each imports

Modules stand in Package.swift in the order in which they build on one another: a file imports modules above its own
alone. What runs before libtorch is loaded reaches neither Torch nor CTorch, whichever way.
"""

import pathlib
import re
import sys

WITHOUT_LIBTORCH = ["XTunerConfiguration", "XTunerRun", "XTunerData", "XTunerTokenizers", "XTunerCommands", "xtuner"]

root = pathlib.Path(__file__).resolve().parent.parent
package = (root / "Package.swift").read_text()
order = ["CTorch"] + re.findall(r'\bmodule\(\s*"(\w+)"', package) + ["xtuner", "xtuner-engine"]
place = {name: index for index, name in enumerate(order)}

imports = {name: {} for name in order}
for name in order:
    for file in sorted((root / "Sources" / name).rglob("*.swift")):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            found = re.match(r"(?:(?:public|package|internal|private|@testable) )?import (\w+)", line)
            if found and found[1] in place:
                imports[name].setdefault(found[1], f"{file.relative_to(root)}:{number}")

if "--graph" in sys.argv:
    for name in order:
        files = [f for f in (root / "Sources" / name).rglob("*") if f.suffix in (".swift", ".cpp", ".h")]
        lines = sum(len(f.read_text().splitlines()) for f in files if "generated" not in f.parts)
        above = " ".join(sorted(imports[name], key=place.get))
        print(f"{name:20} {lines:6}  {above}")
    sys.exit(0)

problems = []
for name in order:
    for other, where in imports[name].items():
        if place[other] > place[name]:
            problems.append(f"{where}: {name} imports {other}, which stands below it in Package.swift")
for name in WITHOUT_LIBTORCH:
    paths, todo = {name: name}, [name]
    while todo:
        here = todo.pop()
        for other in imports[here]:
            if other not in paths:
                paths[other] = f"{paths[here]} -> {other}"
                todo.append(other)
    for library in ("Torch", "CTorch"):
        if library in paths:
            problems.append(f"Package.swift:1: {paths[library]}: this module works without libtorch")
            break
print("\n".join(problems), end="\n" if problems else "")
sys.exit(1 if problems else 0)
