#!/usr/bin/env python3
"""Checks that every relative link in the Markdown files leads to a file, and every #anchor to a heading.

    scripts/check_links.py
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def anchors(page):
    """The anchors of a page's headings, as hosting sites make them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    names = re.findall(r"^#+ +(.+?) *#*$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", name.lower()).replace(" ", "-") for name in names}


def main():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    pages = [ROOT / name for name in listed if name and (ROOT / name).exists()]
    problems = []
    for page in pages:
        # Code is blanked, not removed, so that line numbers stay.
        blank = FENCE.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), page.read_text(encoding="utf-8"))
        for number, line in enumerate(blank.split("\n"), 1):
            for target in LINK.findall(re.sub(r"`[^`]*`", "", line)):
                if re.match(r"[a-z]+:", target):
                    continue
                path, _, anchor = target.partition("#")
                file = (page.parent / path).resolve() if path else page
                place = f"{page.relative_to(ROOT)}:{number}"
                if not file.exists():
                    problems.append(f"{place}: {path} does not exist")
                elif anchor and file.suffix == ".md" and anchor not in anchors(file):
                    problems.append(f"{place}: {path or page.name} has no heading for #{anchor}")
    print("\n".join(problems) if problems else f"{len(pages)} pages, all links lead somewhere")
    return 1 if problems else 0


sys.exit(main())
