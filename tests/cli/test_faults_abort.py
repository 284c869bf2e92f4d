"""The fault points of giving a conversion up. See tests/lib/faults.py."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import faults
import scenarios


class FaultTest(faults.FaultTest):
    def test_abort(self):
        self.survives(scenarios.Abort, "tree.")

    def test_abort_on_a_full_disk(self):
        self.survives(scenarios.AbortFull, "convert.sync")


if __name__ == "__main__":
    unittest.main()
