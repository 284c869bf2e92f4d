"""The fault points of a conversion into a vault that has directories. See tests/lib/faults.py."""
# runs long

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import faults
import scenarios


class FaultTest(faults.FaultTest):
    short_form = ("convert.", "vault.", "fscrypt.")
    kills = faults.KILLS if faults.LONG else (1,)  # further hits are of what test_faults_protect.py goes through

    def test_join(self):
        self.survives(scenarios.Join, "convert.")


if __name__ == "__main__":
    unittest.main()
