"""Every fault point is known to a page or to a test."""

import re
import unittest

from pages import files, read

LITERAL = re.compile(r'\bfault\("([^"]+)"\)')


def fault_points():
    """{name: file where it stands}; the examples in comments are left out."""
    found = {}
    for path in files("src", "programs", ends=(".c", ".h")):
        text = re.sub(r"/\*.*?\*/", "", read(path), flags=re.S)
        found.update({name: path for name in LITERAL.findall(text)})
    found.pop("base.self")  # the point that keeps the section from being empty
    return found


class FaultTest(unittest.TestCase):
    def setUp(self):
        self.points = fault_points()

    def test_there_are_some(self):
        self.assertIn("file.sync", self.points)

    def test_names_are_words_with_dots(self):
        for name, path in self.points.items():
            self.assertRegex(name, r"^[a-z][a-z0-9-]*(\.[a-z0-9-]+)+$", path)

    def test_each_one_stands_in_states_or_in_a_test(self):
        told = read("docs/states.md") + "".join(map(read, files("tests", ends=(".py", ".c"))))
        words = set(re.findall(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+", told))
        for name, path in self.points.items():
            with self.subTest(name):
                self.assertTrue(name in words, f"{name} of {path} stands nowhere")

    def test_states_names_no_fault_point_that_is_not_there(self):
        told = re.findall(r"^\| `([a-z0-9.-]+)` \|", read("docs/states.md"), re.M)
        self.assertEqual(sorted(set(told)), sorted(told), "a point stands there twice")
        self.assertLessEqual(set(told), set(self.points))


if __name__ == "__main__":
    unittest.main()
