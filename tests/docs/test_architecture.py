"""The arrows of docs/architecture.md against every #include, and what rooms never do."""

import os
import re
import unittest

from pages import ROOT, files, read, table, without_comments

# Calls that print, end the program or look at its environment. Each exception has its reason here.
FORBIDDEN = re.compile(r"\b(f?printf|puts|fputs|putchar|perror|exit|_exit|abort|getenv|secure_getenv|getopt\w*)\s*\(")
ALLOWED = {
    "src/base/fault.c": {"getenv"},  # fault points of test builds
    "src/filesystem/enable_encrypt.c": {"_exit"},  # in the child that could not become tune2fs
}


def arrows():
    """{room: rooms behind its arrow}"""
    return {row[0]: set(row[1].removeprefix("→").split()) for row in table("docs/architecture.md", ("room", "may include"))}


def closure(told, room):
    found = {room, "base"}
    waiting = [room]
    while waiting:
        for next_room in told[waiting.pop()] - found:
            found.add(next_room)
            waiting.append(next_room)
    return found


def includes(path):
    """[(line, room)] of the project's own headers; one without a slash lies beside the file."""
    for number, line in enumerate(read(path).splitlines(), 1):
        found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if found and "/" in found[1]:
            yield number, found[1].split("/")[0]


class ArchitectureTest(unittest.TestCase):
    def setUp(self):
        self.arrows = arrows()

    def test_every_room_is_in_the_table_and_every_row_is_a_room(self):
        rooms = {name for name in os.listdir(os.path.join(ROOT, "src")) if os.path.isdir(os.path.join(ROOT, "src", name))}
        self.assertEqual(rooms, set(self.arrows))

    def test_arrows_lead_to_rooms_and_never_in_a_circle(self):
        for room, behind in self.arrows.items():
            self.assertLessEqual(behind, set(self.arrows), room)
            for other in behind:
                self.assertNotIn(room, closure(self.arrows, other), f"{room} and {other} include each other")

    def test_every_include_follows_an_arrow(self):
        paths = files("src", ends=(".c", ".h"))
        self.assertGreater(len(paths), 10)
        for path in paths:
            allowed = closure(self.arrows, path.split("/")[1])
            for number, room in includes(path):
                self.assertIn(room, allowed, f"{path}:{number} includes {room}, no arrow leads there")

    def test_programs_include_rooms_and_their_own_headers_only(self):
        for path in files("programs", ends=(".c", ".h")):
            for number, room in includes(path):
                self.assertIn(room, {*self.arrows, "command"}, f"{path}:{number}")

    def test_headers_come_once(self):
        for path in files("src", "programs", ends=".h"):
            self.assertIn("#pragma once", read(path), path)

    def test_rooms_never_print_nor_exit_nor_read_the_environment(self):
        for path in files("src", ends=(".c", ".h")):
            if path == "src/base/banned.h":
                continue
            for number, line in enumerate(without_comments(read(path)).splitlines(), 1):
                for found in FORBIDDEN.finditer(re.sub(r"format\s*\(\s*printf\s*,", "", line)):
                    self.assertIn(found[1], ALLOWED.get(path, ()), f"{path}:{number} calls {found[1]}")


if __name__ == "__main__":
    unittest.main()
