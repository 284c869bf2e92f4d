"""Every fault point a verb reaches: killed there, killed again while going on, no space, I/O error.

After each nothing is lost, and the same command then ends well. The tests are in tests/cli/test_faults_*.py, one per
verb; this is what they do.
"""

import os
import random
import sys
import unittest

import disk
import husk
import scenarios
from canary import KINDS
from undo import Undo

LONG = bool(os.environ.get("HUSK_TEST_LONG"))
# At which hits of a point to be killed, and to fail; the row ends with the first hit that is not reached.
KILLS = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144) if LONG else (1, 4)
FAILURES = (1, 2, 3, 5, 8, 13, 21, 34, 55) if LONG else (1,)
# A command that ends well although this failed says what then stayed, in these words, and this is gone all the same.
# Undiscarded, freed blocks that nothing can write to before may be in the reserve that overwriting free space leaves:
# targets of long symlinks, names a directory moved when it grew. The journal has names and short symlinks.
TOLD = {"destroy.free-space.discard": ("discard", ("content", "short symlink")),
        "destroy.journal": ("could not be zeroed|journal zeroed +failed", ("content",))}


class Bench:
    """A scenario's prepared disk, to start from again and again."""

    def __init__(self, undo, scenario):
        self.scenario = scenario
        self.directory = disk.scratch(undo)
        self.original = os.path.join(self.directory, "original")
        with disk.ext4(size_mib=scenario.size_mib, mkfs=scenario.mkfs) as d:
            scenario.prepare(d)
            d.unmount()
            d.sync()
            disk.run("cp", "--sparse=always", d.image, self.original)
        self.image = os.path.join(self.directory, "image")
        with open(self.image, "wb") as file:
            file.truncate(scenario.size_mib << 20)
        device = disk.attach(undo, self.image)
        self.disk = disk.Disk(undo, "ext4", "", device, self.image, self.directory)

    def fresh(self):
        self.disk.unmount()
        self.disk.drop_cache()
        disk.run("cp", "--sparse=always", self.original, self.image)
        self.disk.drop_cache()
        self.disk.mount()
        return self.disk


class FaultTest(unittest.TestCase):
    """survives(scenario) goes through all points; the verb has to reach at least one that begins with `expected`."""

    kills = KILLS
    short_form = ""  # or a tuple: the points of the short form begin so; another test goes through the others

    @classmethod
    def setUpClass(cls):
        cls.names = [name for name in husk.list_faults() if LONG or name.startswith(cls.short_form)]
        if not cls.names:
            raise unittest.SkipTest("no husk with fault points (meson option faults)")

    def survives(self, make, expected):
        reached = []
        with Undo() as undo:
            scenario = make(disk.scratch(undo))
            scenario.parts = scenarios.FEW_PARTS
            self.bench = Bench(undo, scenario)
            for name in self.names:
                if self.each_hit(self.killed, scenario, name, "crash", self.kills):
                    reached.append(name)
                    self.each_hit(self.fails, scenario, name, "enospc", FAILURES)
                    self.each_hit(self.fails, scenario, name, "eio", FAILURES)
        print(f"{scenario.name} reaches {len(reached)} of {len(self.names)} points", file=sys.stderr)
        self.assertTrue([name for name in reached if name.startswith(expected)], reached)

    def each_hit(self, act, scenario, name, action, hits):
        """Returns whether the first one was reached."""
        for hit in hits:
            with self.subTest(f"{scenario.name} with {name}:{action}:{hit}"):
                if not act(scenario, name, action, hit):
                    return hit != hits[0]
        return True

    def killed(self, scenario, name, action, hit):
        dice = random.Random(f"{scenario.name} {name} {hit}")
        d = self.bench.fresh()
        if not scenario.attempt(d, f"{name}:{action}:{hit}").crashed:
            return False
        self.after_a_kill(scenario, d, dice)
        # Again while it goes on: at the same point, then at another.
        for again in (name, dice.choice(self.names)):
            scenario.attempt(d, f"{again}:{action}:{dice.choice((1, 1, 2, 3))}")
            self.after_a_kill(scenario, d, dice)
        scenario.go_on(d)
        return True

    def after_a_kill(self, scenario, d, dice):
        if dice.random() < 0.5:
            d.remount()  # the keys are gone from the kernel, as after a boot
        scenario.complete(d)

    def fails(self, scenario, name, action, hit):
        d = self.bench.fresh()
        done = scenario.attempt(d, f"{name}:{action}:{hit}")
        if done.status != husk.DONE:
            done.expect_error_line(husk.FAILED, husk.INCOMPLETE)
            scenario.complete(d)
            scenario.go_on(d)
            return True
        # A place where a failure does not matter, or, behind the first hit, one that was not reached.
        words, gone = TOLD.get(name, ("", KINDS))
        if name in TOLD and scenario.zeroes_journal_again:
            words, gone = "", KINDS
        self.assertRegex(done.out, words or ".")
        scenario.complete(d)
        scenario.finished(d, gone)
        return hit == 1
