"""Old trees in which more than files was changed behind the proof, and old trees that are gone."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import disk
import husk
from test_changing import Changing

SAID = "this directory was made, moved, or its owner, mode or attributes were changed"


class DirectoryTest(Changing):
    """A change of a directory leaves no trace in the files in it."""

    def setUp(self):
        super().setUp()
        for name in ("below/empty", "below/sub"):
            os.mkdir(self.path(name))
        os.chmod(self.path("below"), 0o755)

    def changes(self):
        return {
            "mode": lambda: os.chmod(self.path("below"), 0o700),
            "owner": lambda: os.chown(self.path("below"), 7, 7),
            "attribute": lambda: os.setxattr(self.path("below"), "user.late", b"late"),
            "made": lambda: os.mkdir(self.path("below/new")),
            "moved": lambda: os.rename(self.path("below/empty"), self.path("below/sub/moved")),
        }

    @staticmethod
    def look(top):
        """The mode, owner and attributes of all directories there."""
        found = {}
        for directory, _, _ in os.walk(top):
            status = os.stat(directory)
            found[os.path.relpath(directory, top)] = (status.st_mode, status.st_uid, os.listxattr(directory))
        return found

    def kept_once(self, paused):
        done = paused.done.expect(husk.INCOMPLETE)
        self.assertIn(SAID, done.out)
        self.assertNotIn("overwritten in place and deleted", done.out)
        for name in ("one", "below/two"):
            self.assertTrue(os.path.exists(os.path.join(self.kept, name)), "the old tree is kept whole")

    def test_one_that_was_changed_is_named_and_the_old_tree_kept_until_the_next_run(self):
        for name, change in self.changes().items():
            with self.subTest(name):
                self.setUp()
                with self.paused_protect("convert.journal.written", hit=3) as paused:
                    change()
                    expected = self.look(self.tree)
                self.kept_once(paused)
                self.assertEqual(self.look(self.kept), expected)
                # Of a name that is gone from where it was nobody knows what became of it.
                self.protect().expect(husk.INCOMPLETE if name == "moved" else husk.DONE)
                self.assertFalse(os.path.exists(self.kept))

    def test_so_it_is_when_the_tree_is_unprotected(self):
        for name, change in self.changes().items():
            with self.subTest(name):
                self.setUp()
                self.protect().expect(husk.DONE)
                with husk.paused("convert.journal.written", "unprotect", "v", "--at", self.disk.path, hit=3) as paused:
                    change()
                self.kept_once(paused)
                husk.ok("unprotect", "v", "--at", self.disk.path)
                self.assertFalse(os.path.exists(self.kept))

    def test_names_that_come_and_go_keep_nothing(self):
        with self.paused_protect("convert.journal.written", hit=3) as paused:
            self.write("below/new", b"late")
            os.unlink(self.path("below/new"))
        done = paused.done.expect(husk.DONE)
        self.assertNotIn("kept-changed", done.out)
        self.assertNotIn(SAID, done.out)
        self.assertFalse(os.path.exists(self.kept))


class SealedTest(Changing):
    def setUp(self):
        super().setUp()
        for flag, name in (("+i", "one"), ("+a", "below/two")):
            disk.run("chattr", flag, self.path(name))

    def tearDown(self):
        disk.run("chattr", "-R", "-f", "-ia", self.disk.path, accept=(0, 1))
        super().tearDown()

    def test_a_sealed_file_that_was_open_goes_with_the_next_run(self):
        """Looking at it took its flags off and put them on again: that is no change of somebody else's."""
        opened = []
        with self.paused_protect("convert.journal.written", hit=3) as paused:
            opened += [open(self.path(name), "rb") for name in ("one", "below/two")]
        paused.done.expect(husk.INCOMPLETE)
        self.protect().expect(husk.INCOMPLETE)
        for file in opened:
            file.close()
        done = self.protect().expect(husk.DONE)
        self.assertIn("overwritten in place and deleted", done.out)
        self.assertFalse(os.path.exists(self.kept))

    def test_one_that_was_written_to_stays(self):
        opened = []
        with self.paused_protect("convert.journal.written", hit=3) as paused:
            opened.append(open(self.path("below/two"), "ab"))
        paused.done.expect(husk.INCOMPLETE)
        with opened[0] as file:
            file.write(b"late")
        done = self.protect().expect(husk.INCOMPLETE)
        self.assertIn("was changed after it was compared", done.out)
        with open(os.path.join(self.kept, "below/two"), "rb") as file:
            self.assertTrue(file.read().endswith(b"late"))


class GoneTest(Changing):
    def test_an_old_tree_that_somebody_took_away_is_not_called_overwritten(self):
        for point in ("convert.recorded", "convert.put-away"):
            with self.subTest(point):
                self.setUp()
                outside = os.path.join(self.disk.path, "outside")
                self.assertTrue(self.protect(fault=f"{point}:crash").crashed)
                there = self.kept if point == "convert.recorded" else os.path.join(self.disk.path, ".husk/convert/v/0")
                os.rename(there, outside)
                done = self.protect().expect(husk.INCOMPLETE)
                self.assertIn("its old tree was moved or deleted", done.out)
                self.assertNotIn("overwritten in place and deleted", done.out)
                self.protect().expect(husk.DONE)
                with open(os.path.join(outside, "one"), "rb") as file:
                    self.assertEqual(file.read(), self.read("one"))


if __name__ == "__main__":
    unittest.main()
