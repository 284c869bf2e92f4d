"""Power cuts at every flush and at random moments in between, through whole runs of husk.

In every state a cut could have left: e2fsck finds nothing, the tree is complete in its old or its new form, the same
command finishes, and then no plaintext is left in the raw image.
"""
# runs alone

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import cuts
import disk
import husk
import manifest
import sys_calls
import torture
from canary import Canaries
from undo import Undo

LONG = bool(os.environ.get("HUSK_TEST_LONG"))
JOBS = max(2, len(os.sched_getaffinity(0))) if LONG else 2
PARTS = ["names", "links", "specials", "symlinks", "holes", "unwritten", "xattrs", "acls", "modes", "times", "flags",
         "empties", "whole"]


class HuskScenario(cuts.Scenario):
    """A vault v with the directory tree on the disk; key files lie outside of it."""
    size_mib = 48
    tree_parts = PARTS

    def __init__(self, directory):
        self.keyfile = husk.keyfile(directory)
        self.canaries = Canaries()
        self.before = None

    def key(self, d):
        return ("--keyfile", self.keyfile, "--at", d.path)

    def tree(self, d):
        return os.path.join(d.path, "tree")

    def build(self, d):
        tree = self.tree(d)
        torture.build(tree, size="small", only=self.tree_parts, canaries=self.canaries)
        self.canaries.plant(os.path.join(tree, "canaries"), files=3)
        self.before = manifest.take(tree)

    def protect(self, d):
        husk.ok("protect", self.tree(d), "--vault", "v", *self.key(d))

    def unlock(self, d):
        husk.ok("unlock", "v", *self.key(d))

    def complete(self, d, what):
        """The tree is there, whole, in its old or its new form; returns whether it is encrypted."""
        encrypted = sys_calls.is_encrypted(self.tree(d))
        if encrypted:
            self.unlock(d)
        manifest.same(self.before, manifest.take(self.tree(d)), what=what)
        return encrypted

    def no_plaintext(self, d):
        d.unmount()
        self.canaries.gone(d)
        disk.run("e2fsck", "-fn", d.image)


class Protect(HuskScenario):
    name = "protect"

    def prepare(self, d):
        self.build(d)

    def run(self, d):
        self.protect(d)

    def check(self, d, state):
        encrypted = self.complete(d, "after the cut the tree")
        if not encrypted and state.seed % 3 == 1:
            self.abort(d)
        self.protect(d)
        if not self.complete(d, "after going on the tree"):
            raise AssertionError("protect went on, said it was done, and the tree is plain")
        self.no_plaintext(d)

    def abort(self, d):
        """Going back from here leaves the plain tree and nothing else."""
        husk.run("protect", self.tree(d), "--vault", "v", "--abort", *self.key(d)).expect(husk.DONE)
        if self.complete(d, "after going back the tree"):
            raise AssertionError("gone back, and the tree is encrypted")


class PowerCutTest(unittest.TestCase):
    def setUp(self):
        if husk.missing():
            self.skipTest(husk.missing())
        self.directory = disk.scratch(self.enterContext(Undo()))

    def survives(self, scenario, random_states, flushes=None):
        states, told, failures = cuts.try_all(scenario, random_states, JOBS, only_flushes=None if LONG else flushes)
        self.assertFalse(failures, "\n".join(map(str, failures)))
        self.assertGreaterEqual(states, min(random_states, told))

    def test_protect(self):
        self.survives(Protect(self.directory), 1000 if LONG else 200)


if __name__ == "__main__":
    unittest.main()
