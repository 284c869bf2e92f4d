"""The fault points of a conversion. See tests/lib/faults.py."""
# runs long

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import faults
import scenarios


class FaultTest(faults.FaultTest):
    def test_protect(self):
        self.survives(scenarios.Protect, "convert.")


if __name__ == "__main__":
    unittest.main()
