"""The power cut test itself, with a stand-in for husk: one that is careful passes, and one that is not is caught."""
# runs long

import ctypes
import os
import shutil
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import cuts
import disk
import manifest

RENAME_EXCHANGE = 2


def exchange(one, other):
    if ctypes.CDLL(None).renameat2(-100, os.fsencode(one), -100, os.fsencode(other), RENAME_EXCHANGE) != 0:
        raise OSError("renameat2")


def sync_directory(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


class Copy(cuts.Scenario):
    """Copies a directory into a twin and exchanges the two. The same run again goes on after a cut."""
    name = "stand-in"
    size_mib = 32

    def __init__(self, careful):
        self.careful = careful

    def prepare(self, d):
        os.makedirs(f"{d.path}/tree/sub")
        for number in range(30):
            with open(f"{d.path}/tree/sub/{number}", "wb") as file:
                file.write(b"%d " % number * 3000)
        self.before = manifest.take(f"{d.path}/tree")

    def run(self, d):
        tree, twin, mark = (f"{d.path}/{name}" for name in ("tree", "twin", "tree/twin"))
        if not os.path.exists(mark):
            shutil.rmtree(twin, ignore_errors=True)
            disk.run("cp", "-a", tree, twin)
            with open(f"{twin}/twin", "w"):
                pass
            if self.careful:
                disk.sync(d.path)
            exchange(tree, twin)
            sync_directory(d.path)
        shutil.rmtree(twin, ignore_errors=True)
        disk.sync(d.path)

    def compare(self, d):
        now = manifest.take(f"{d.path}/tree")
        now.pop("twin", None)
        manifest.same(self.before, now, ignore=("atime", "mtime"))

    def check(self, d, state):
        self.compare(d)
        self.run(d)
        self.compare(d)
        os.stat(f"{d.path}/tree/twin")


class CutsTest(unittest.TestCase):
    def test_a_careful_program_passes(self):
        states, flushes, failures = cuts.try_all(Copy(careful=True), random_states=40)
        self.assertEqual(failures, [])
        self.assertGreater(flushes, 2)
        self.assertGreater(states, flushes)

    def test_a_missing_fsync_is_caught(self):
        # The exchange is made durable before what was copied is: some cut shows files without their contents.
        _states, _flushes, failures = cuts.try_all(Copy(careful=False), random_states=40, stop_after=1)
        self.assertTrue(failures)
        for failure in failures:
            self.assertIn("Differs", failure.story)
            os.unlink(failure.kept)

    def test_a_worker_that_dies_is_an_error(self):
        class Dies(Copy):
            def check(self, d, state):
                raise SystemExit(1)
        with self.assertRaises(RuntimeError):
            cuts.try_all(Dies(careful=True), random_states=0, jobs=1)


if __name__ == "__main__":
    unittest.main()
