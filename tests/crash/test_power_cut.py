"""Power cuts at every flush and at random moments in between, through whole runs of husk.

In every state a cut could have left: e2fsck finds nothing, the trees are complete in their old or new form, the same
command finishes, and then what must be gone is gone from the raw image.
"""
# runs alone

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import cuts
import disk
import husk
import scenarios
from undo import Undo

LONG = bool(os.environ.get("HUSK_TEST_LONG"))
JOBS = max(2, len(os.sched_getaffinity(0))) if LONG else 2


class PowerCutTest(unittest.TestCase):
    def setUp(self):
        if husk.missing():
            self.skipTest(husk.missing())
        self.directory = disk.scratch(self.enterContext(Undo()))

    def survives(self, scenario, random_states, flushes=None):
        """`flushes` bounds how many of the flushes are tried, evenly spread; the long form tries all, and more."""
        states, told, failures = cuts.try_all(scenario(self.directory), 5 * random_states if LONG else random_states,
                                              JOBS, only_flushes=None if LONG else flushes)
        self.assertFalse(failures, "\n".join(map(str, failures)))
        self.assertGreater(told, 1)

    def test_protect(self):
        self.survives(scenarios.Protect, 120)

    def test_abort(self):
        self.survives(scenarios.Abort, 10, 10)

    def test_join(self):
        self.survives(scenarios.Join, 10, 10)

    def test_unprotect(self):
        self.survives(scenarios.Unprotect, 20, 20)

    def test_abort_unprotect(self):
        self.survives(scenarios.AbortUnprotect, 10, 10)

    def test_keyslot_add(self):
        self.survives(scenarios.KeyslotAdd, 20)

    def test_keyslot_remove(self):
        self.survives(scenarios.KeyslotRemove, 20)

    def test_erase(self):
        self.survives(scenarios.Erase, 20)

    def test_erase_leftovers(self):
        self.survives(scenarios.EraseLeftovers, 8, 8)


if __name__ == "__main__":
    unittest.main()
