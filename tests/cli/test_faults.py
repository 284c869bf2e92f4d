"""Every fault point, in every verb that reaches it: killed there, killed again while going on, no space, I/O error.

After each: nothing is lost, and the same command then ends well.
"""

import itertools
import os
import random
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import disk
import husk
import scenarios
from undo import Undo

LONG = bool(os.environ.get("HUSK_TEST_LONG"))
# At which hits of a point; one that is not reached so often is left after the first hit it does not reach.
HITS = itertools.chain(range(1, 10), range(10, 200, 7)) if LONG else (1, 2, 7)
HITS = tuple(HITS)
reached = set()


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
    @classmethod
    def setUpClass(cls):
        cls.names = husk.list_faults()
        if not cls.names:
            raise unittest.SkipTest("no husk with fault points (meson option faults)")

    def each_point(self, make, act):
        with Undo() as undo:
            scenario = make(disk.scratch(undo))
            bench = Bench(undo, scenario)
            for name in self.names:
                for hit in HITS:
                    with self.subTest(f"{scenario.name} at {name}, hit {hit}"):
                        if not act(scenario, bench, name, hit):
                            break

    def killed(self, scenario, bench, name, hit):
        """Returns whether the point was reached."""
        dice = random.Random(f"{scenario.name} {name} {hit}")
        d = bench.fresh()
        if not scenario.attempt(d, f"{name}:crash:{hit}").crashed:
            return False
        reached.add(name)
        self.after_a_kill(scenario, d, dice)
        # Again while it goes on: at the same point, then at another.
        for again in (name, dice.choice(self.names)):
            scenario.attempt(d, f"{again}:crash:{dice.choice((1, 1, 2, 3))}")
            self.after_a_kill(scenario, d, dice)
        scenario.go_on(d)
        return True

    def after_a_kill(self, scenario, d, dice):
        if dice.random() < 0.5:
            d.remount()  # the keys are gone from the kernel, as after a boot
        scenario.complete(d)

    def fails(self, action):
        def act(scenario, bench, name, hit):
            d = bench.fresh()
            done = scenario.attempt(d, f"{name}:{action}:{hit}")
            if done.status == husk.DONE:
                # Not reached, or a place where a failure does not matter.
                scenario.complete(d)
                scenario.finished(d)
                return False
            done.expect_error_line(husk.FAILED, husk.INCOMPLETE)
            scenario.complete(d)
            scenario.go_on(d)
            return True
        return act


def add_tests():
    for make in scenarios.ALL:
        word = make.name.replace(" ", "_")

        def killed(self, make=make):
            self.each_point(make, self.killed)

        def no_space(self, make=make):
            self.each_point(make, self.fails("enospc"))

        def error(self, make=make):
            self.each_point(make, self.fails("eio"))
        setattr(FaultTest, f"test_{word}_killed_at_every_point", killed)
        setattr(FaultTest, f"test_{word}_without_space_at_every_point", no_space)
        setattr(FaultTest, f"test_{word}_with_an_io_error_at_every_point", error)


add_tests()


if __name__ == "__main__":
    unittest.main()
