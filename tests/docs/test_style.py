"""What the house style says that a program can see. Lengths are told, not enforced."""

import os
import re
import unittest

from pages import ROOT, files, pages, read, without_comments

FUNCTION_LINES = 60
FILE_LINES = 500


def functions(text):
    """[(name, first line, lines)] of the functions of a formatted C file: a brace in the first column opens one."""
    lines = without_comments(text).splitlines()
    begun = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            begun = number
        elif line == "}" and begun:
            head = " ".join(lines[max(0, begun - 6):begun - 1])
            names = re.findall(r"\b([a-z_]\w*)\s*\(", head)
            yield (names[-1] if names else "?"), begun, number - begun - 1
            begun = None


class StyleTest(unittest.TestCase):
    def test_lengths_are_told(self):
        seen = 0
        for path in files("src", "programs", "tests", "fuzz", ends=".c"):
            text = read(path)
            if text.count("\n") > FILE_LINES:
                print(f"note: {path} has {text.count(chr(10))} lines (aim: {FILE_LINES})")
            for name, line, length in functions(text):
                seen += 1
                if length > FUNCTION_LINES:
                    print(f"note: {path}:{line} {name} has {length} lines (aim: {FUNCTION_LINES})")
        self.assertGreater(seen, 50, "functions are not recognised any more")

    def test_no_page_and_no_output_speaks_of_wiping(self):
        for path in pages() + files(".", ends=(".8", ".5")):
            for number, line in enumerate(read(path).splitlines(), 1):
                if not re.search(r"is not a word of", line):
                    self.assertNotRegex(line, r"(?i)\bwip(e|es|ed|ing)\b", f"{path}:{number}")
        for path in files("src", "programs", ends=".c"):
            for literal in re.findall(r'"(?:\\.|[^"\\\n])*"', re.sub(r"/\*.*?\*/", "", read(path), flags=re.S)):
                self.assertNotRegex(literal, r"(?i)\bwip(e|es|ed|ing)\b", path)

    def test_what_libsodium_returns_is_looked_at(self):
        """A call that stands alone is a function that returns nothing, or it is in sure()."""
        returns_nothing = ("crypto_core_ristretto255_scalar_random", "crypto_core_ristretto255_scalar_reduce")
        seen = 0
        for path in files("src", "programs", ends=(".c", ".h")):
            text = without_comments(read(path))
            seen += len(re.findall(r"\bcrypto_\w+\(", text))
            for call in re.finditer(r"(?:[;{})]|\belse)\s*(?:\(void\)\s*!?)?(crypto_\w+)\(", text):
                self.assertIn(call[1], returns_nothing, f"{path}:{text.count(chr(10), 0, call.start(1)) + 1}")
        self.assertGreater(seen, 50, "calls are not recognised any more")

    def test_links_between_pages_lead_somewhere(self):
        for path in pages():
            for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", read(path)):
                there = os.path.normpath(os.path.join(ROOT, os.path.dirname(path), target))
                self.assertTrue(os.path.exists(there), f"{path} links to {target}")


if __name__ == "__main__":
    unittest.main()
