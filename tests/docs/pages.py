"""Reads the project's sources and pages for the tests that compare them."""

import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def files(*tops, ends):
    """Paths relative to the project below the tops that end so, sorted; build directories left out."""
    found = []
    for top in tops:
        for directory, names, here in os.walk(os.path.join(ROOT, top)):
            names[:] = [name for name in names if not name.startswith(("build", ".", "__"))]
            found += [os.path.relpath(os.path.join(directory, name), ROOT) for name in here if name.endswith(ends)]
    return sorted(found)


def pages():
    return files("docs", ends=".md") + [name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
                                        if os.path.exists(os.path.join(ROOT, name))]


def table(page, head):
    """Rows of the table of the page whose head line begins with the given cells, as lists of cells."""
    rows = None
    for line in read(page).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if rows is None:
            rows = [] if cells[:len(head)] == list(head) else None
        elif line.startswith("|"):
            rows.append(cells)
        else:
            break
    if not rows:
        raise AssertionError(f"{page} has no table with the head {head}")
    return [row for row in rows if not set(row[0]) <= set("-: ")]


def without_comments(text):
    """C text with comments and the insides of literals blanked, line breaks kept."""
    def blank(found):
        return re.sub(r"[^\n]", " ", found[0])
    return re.sub(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", blank, text, flags=re.S)
