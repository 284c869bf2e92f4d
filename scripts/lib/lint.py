"""The lint tier: what is checked without running husk."""

import os
import re

import builds
from steps import Step

SKIPPED_DIRECTORIES = {".git", "__pycache__"}
TIDY_JOBS = 2
# The analyzer follows this many states of a function, a tenth of what it does by itself (--all): a fifth of the time.
ANALYZER_STATES = 20_000


def walk(root, *tops):
    """All files below the tops, relative to root, build directories left out."""
    for top in tops:
        for directory, names, files in os.walk(os.path.join(root, top)):
            names[:] = sorted(name for name in names if name not in SKIPPED_DIRECTORIES and not name.startswith("build"))
            yield from (os.path.relpath(os.path.join(directory, name), root) for name in sorted(files))


def c_files(root, *ends):
    return [path for path in walk(root, "src", "programs", "tests", "fuzz") if path.endswith(ends)]


def shell_scripts(root):
    found = []
    for path in walk(root, "."):
        with open(os.path.join(root, path), "rb") as file:
            if re.match(rb"#!\s*/(usr/)?bin/(env )?(ba|da)?sh\b", file.readline()):
                found.append(path)
    return found


def manual_pages(root):
    return [path for path in walk(root, ".") if re.search(r"\.[1-8]$", path)]


def tidy_step(root, every_state):
    files = [path for path in c_files(root, ".c") if path.startswith(("src/", "programs/"))]
    words = [] if every_state else ["-Xclang", "-analyzer-config", "-Xclang", f"max-nodes={ANALYZER_STATES}"]
    bound = " ".join(f"--extra-arg={word}" for word in words)
    # The build need not have been made, only configured: that writes compile_commands.json.
    script = (f"{builds.CLANG.configure()} && "
              f"printf '%s\\0' \"$@\" | xargs -0 -n 5 -P {TIDY_JOBS} clang-tidy-14 --quiet {bound} -p {builds.CLANG.directory}")
    return Step("clang-tidy", ["sh", "-c", script, "sh", *files], 1800)


def notes(log):
    return [line for line in log.splitlines() if line.startswith("note: ")]


def steps(root, python_step, python_files, every_state):
    chosen = [tidy_step(root, every_state)]
    chosen.append(Step("clang-format", ["clang-format-14", "--dry-run", "-Werror", *c_files(root, ".c", ".h")]))
    chosen.append(Step("shellcheck", ["shellcheck", "-x", *shell_scripts(root)]))
    if manual_pages(root):
        chosen.append(Step("mandoc", ["mandoc", "-T", "lint", "-W", "warning", *manual_pages(root)]))
    for path in python_files("tests", "docs"):
        step = python_step(path)
        step.notes = notes
        chosen.append(step)
    return chosen
