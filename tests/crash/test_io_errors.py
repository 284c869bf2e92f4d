"""The disk fails in the course of a command: husk says so in one line, loses nothing, and finishes once it is mended."""
# runs long

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import disk
import failing
import husk
import scenarios
from undo import Undo

LONG = bool(os.environ.get("HUSK_TEST_LONG"))
# After how many writes the disk fails; a command that ends before is the end of the row.
ROW = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597, 2584)


class ErrorTest(unittest.TestCase):
    def setUp(self):
        if husk.missing():
            self.skipTest(husk.missing())
        self.directory = disk.scratch(self.enterContext(Undo()))

    def survives(self, make, once):
        row = range(0, 4000, 7) if LONG else ROW
        failed = 0
        for after in row:
            scenario = make(self.directory)
            with self.subTest(scenario.name, after=after), failing.failing_disk(scenario.size_mib) as broken:
                if not self.one(scenario, broken, after, once):
                    break
                failed += 1
        self.assertGreater(failed, 3)

    def one(self, scenario, broken, after, once):
        """Returns whether the command failed."""
        scenario.prepare(broken.disk)
        broken.disk.remount()
        broken.disk.sync()
        broken.fail_writes(after, once=once)
        done = scenario.attempt(broken.disk)
        if done.status != husk.DONE:
            done.expect_error_line(husk.FAILED, husk.INCOMPLETE)
        broken.recover()
        scenario.check(broken.disk)
        return done.status != husk.DONE

    def test_protect_on_a_disk_that_fails_for_good(self):
        self.survives(scenarios.Protect, once=False)

    def test_protect_with_one_failed_write(self):
        self.survives(scenarios.Protect, once=True)

    def test_unprotect_on_a_disk_that_fails_for_good(self):
        self.survives(scenarios.Unprotect, once=False)

    def test_erase_on_a_disk_that_fails_for_good(self):
        self.survives(scenarios.Erase, once=False)


if __name__ == "__main__":
    unittest.main()
