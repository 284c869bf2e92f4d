"""A vault seen through a read-only mount of a filesystem that others write to: a service shut in, a container."""

import os
import unittest

import disk
import document
import husk
from job import Job, needs_faults


class ReadOnlyView(Job):
    """`self.view` is the same filesystem, bind-mounted read-only."""

    def setUp(self):
        super().setUp()
        self.protect()
        self.view = self.beside("view")
        os.mkdir(self.view)
        disk.run("mount", "--bind", self.d.path, self.view)
        self.addCleanup(disk.unmount, self.view)
        disk.run("mount", "-o", "remount,ro,bind", self.view)

    def through(self, *words):
        return husk.run(*words, "--at", self.view)

    def unlock_words(self):
        return ("unlock", "v", "--keyfile", self.keyfile, "--at", self.view)

    def is_open(self):
        return "file2" in os.listdir(self.tree)


class LockTest(ReadOnlyView):
    def test_it_can_be_locked_and_unlocked(self):
        self.through("lock", "v").expect(husk.DONE)
        self.assertFalse(self.is_open())
        husk.ok(*self.unlock_words())
        self.assertTrue(self.is_open())

    @needs_faults
    def test_one_husk_at_a_time_all_the_same(self):
        with husk.paused("convert.twin.made", "unprotect", "v", "--at", self.d.path) as paused:
            done = self.through("lock", "v").expect_error_line(husk.REFUSED)
            self.assertIn(f"another husk (pid {paused.pid})", done.err)
            self.assertTrue(self.is_open())
        paused.done.expect(husk.DONE)
        self.assertTrue(self.is_open())

    @needs_faults
    def test_nothing_is_erased_while_it_is_unlocked_there(self):
        self.lock()
        with husk.paused("fscrypt.add-key", *self.unlock_words()) as paused:
            self.call("erase", "v", "--confirm", "v").expect_error_line(husk.REFUSED)
        paused.done.expect(husk.DONE)
        self.call("erase", "v", "--confirm", "v", expect=husk.DONE)
        self.assertFalse(self.is_open())

    def test_without_its_file_only_where_nothing_can_change(self):
        self.lock()
        os.unlink(self.path(".husk/lock"))
        husk.run(*self.unlock_words()).expect_error_line(husk.FAILED)
        self.assertFalse(self.is_open())
        disk.run("mount", "-o", "remount,ro", self.d.path)
        husk.ok(*self.unlock_words())
        self.assertTrue(self.is_open())


class ErasedTest(Job):
    """The mark is there, and the key comes."""

    def setUp(self):
        super().setUp()
        self.protect()
        self.lock()

    @needs_faults
    def test_a_mark_that_came_before_the_key_takes_it_away_again(self):
        for mark in ("erasing", "erased"):
            with self.subTest(mark):
                path = self.path(".husk/vaults/v", mark)
                with husk.paused("fscrypt.add-key", *self.at("unlock", "v", "--keyfile", self.keyfile)) as paused:
                    with open(path, "w"):
                        pass
                paused.done.expect_error_line(husk.REFUSED)
                self.assertNotIn("file2", os.listdir(self.tree))
                os.unlink(path)
                self.assertEqual(self.state(), "locked")

    def test_status_tells_a_key_that_is_there_all_the_same(self):
        self.call("unlock", "v", "--keyfile", self.keyfile, expect=husk.DONE)
        for mark in ("erasing", "erased"):
            with self.subTest(mark):
                path = self.path(".husk/vaults/v", mark)
                with open(path, "w"):
                    pass
                found = self.json("status", "v")
                self.assertEqual(found["result"]["vaults"][0]["state"], mark)
                (told,) = [one for one in found["findings"] if one["kind"] == "key-present"]
                self.assertEqual(told["remedy"], f"husk lock --at {self.d.path} v")
                os.unlink(path)
        with open(self.path(".husk/vaults/v/erased"), "w"):
            pass
        self.call("lock", "v", expect=husk.DONE)
        self.assertNotIn("key-present", document.kinds(self.json("status", "v")))
        self.assertNotIn("file2", os.listdir(self.tree))


if __name__ == "__main__":
    unittest.main()
