"""The fault points of unlocking, keyslots and erasing. See tests/lib/faults.py."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import faults
import scenarios


class FaultTest(faults.FaultTest):
    def test_unlock(self):
        self.survives(scenarios.Unlock, "fscrypt.")

    def test_keyslot_add(self):
        self.survives(scenarios.KeyslotAdd, "vault.keyslot")

    def test_keyslot_remove(self):
        self.survives(scenarios.KeyslotRemove, "vault.keyslot")

    def test_erase(self):
        self.survives(scenarios.Erase, "erase.")


class LeftoversTest(faults.FaultTest):
    """Of the short form are the points that an erase of a whole vault does not reach."""
    kills = faults.KILLS if faults.LONG else (1,)
    short_form = ("convert.", "destroy.tree.", "erase.")

    def test_erase_leftovers(self):
        self.survives(scenarios.EraseLeftovers, "destroy.tree.")


if __name__ == "__main__":
    unittest.main()
