"""The fault points of giving an unprotect up. See tests/lib/faults.py."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import faults
import scenarios


class FaultTest(faults.FaultTest):
    # Each time free space is overwritten. Later hits of its points are those of any conversion.
    kills = faults.KILLS if faults.LONG else (1,)
    short_form = ("convert.", "destroy.tree.", "destroy.free-space", "destroy.journal")

    def test_abort_unprotect(self):
        self.survives(scenarios.AbortUnprotect, "destroy.")


if __name__ == "__main__":
    unittest.main()
