"""husk protect --abort of an unprotect: of what was in the vault nothing stays in the clear, wherever it was cut short."""

import os
import signal
import unittest

import disk
import husk
from canary import Canaries, left_of_free_space
from job import Job, needs_faults

ABORT = ("protect", "--abort", "--vault", "v")
ERASE = ("erase", "v", "--confirm", "v")
HALF_COPIED = "tree.content.write:crash:9"


@needs_faults
class AbortUnprotectTest(Job):
    """All that lies in the vault was born in it: until the unprotect not a byte of it was on the disk."""

    def setUp(self):
        # Blocks of 4 KiB: a device discards no less at once.
        self.d = self.enterContext(disk.ext4(size_mib=64, mkfs=("-b", "4096")))
        self.keyfile = husk.keyfile(self.d.directory)
        self.tree = self.path("data")
        self.canaries = Canaries()
        os.mkdir(self.tree)
        self.protect(self.tree)
        self.canaries.plant(os.path.join(self.tree, "canaries"), files=3)
        self.large = os.path.join(self.tree, "large")
        with open(self.large, "wb") as file:
            file.write(self.canaries.content(3 << 20))
        self.canaries.gone(self.d)

    def cut_short(self, *faults):
        for fault in faults:
            self.assertTrue(self.call("unprotect", "v", fault=fault).crashed, fault)

    def in_the_clear(self):
        return sorted(self.canaries.find(self.d))

    def is_undone(self, done):
        """Nothing but what it told of is left in the clear, and the vault is as it was."""
        self.canaries.gone(self.d, left_bytes=left_of_free_space(done.out + done.err))
        self.call("unlock", "v", "--keyfile", self.keyfile, expect=husk.DONE)
        self.assertEncrypted(self.tree)
        with open(self.large, "rb") as file:
            self.assertEqual(file.read(), self.canaries.content(3 << 20))
        self.assertEqual(self.status()["directories"], [self.tree])
        self.assertEqual(os.listdir(self.path(".husk/convert")), [])

    def test_nothing_of_the_twins_stays(self):
        for fault, locked in (("convert.compared:crash", True), ("convert.exchange:crash", False)):
            with self.subTest(fault):
                self.setUp()
                self.cut_short(fault)
                self.assertEqual(self.in_the_clear(), ["content", "long symlink", "name", "short symlink"])
                if locked:
                    self.d.remount()
                self.is_undone(self.call(*ABORT, expect=husk.DONE))

    def test_nor_of_files_that_were_copied_anew(self):
        """What was half copied is deleted when the unprotect goes on, and copied again."""
        self.cut_short(HALF_COPIED, HALF_COPIED, "convert.compared:crash")
        self.is_undone(self.call(*ABORT, expect=husk.DONE))

    def test_the_same_command_ends_what_a_crash_in_it_left(self):
        for point in "destroy.unlink", "destroy.free-space.discard", "destroy.journal", "convert.clear":
            with self.subTest(point):
                self.setUp()
                self.cut_short(HALF_COPIED, "convert.compared:crash")
                self.assertTrue(self.call(*ABORT, fault=f"{point}:crash").crashed)
                self.assertEqual(self.status()["conversion"]["state"], "planned")
                self.d.remount()
                self.is_undone(self.call(*ABORT, expect=husk.DONE))

    def test_nor_of_an_erased_vault(self):
        """The first directory is exchanged, and may stay in the clear. The other one never was."""
        first = self.path("a first one")
        os.mkdir(first)
        self.protect(first)
        with open(os.path.join(first, "file"), "wb") as file:
            file.write(b"of no matter")
        self.cut_short(HALF_COPIED, "convert.exchange:crash:2")
        self.call(*ERASE, expect=husk.INCOMPLETE)
        self.assertIn("content", self.in_the_clear())
        done = self.call(*ABORT, expect=husk.DONE)
        self.canaries.gone(self.d, left_bytes=left_of_free_space(done.out + done.err))
        self.call(*ERASE, expect=husk.DONE)
        self.assertEqual(self.state(), "erased")

    def test_it_can_be_interrupted_and_says_how_to_go_on(self):
        self.cut_short("convert.compared:crash")
        with husk.paused("destroy.free-space.create", *self.at(*ABORT)) as paused:
            paused.process.send_signal(signal.SIGINT)
        self.assertIn("run the same command again to go on", paused.done.expect_error_line(husk.FAILED).err)
        self.is_undone(self.call(*ABORT, expect=husk.DONE))

    def test_what_could_not_be_overwritten_is_told(self):
        self.cut_short("convert.compared:crash")
        done = self.call(*ABORT, fault="destroy.overwrite:eio").expect_error_line(husk.INCOMPLETE)
        self.assertIn("could not be overwritten", done.out)
        self.is_undone(done)
        self.cut_short("convert.compared:crash")
        done = self.call(*ABORT, fault="destroy.journal:eio").expect(husk.DONE)
        self.assertIn("journal could not be zeroed", done.out)

    def test_free_space_that_is_skipped_is_told(self):
        """An erase skips it always."""
        for command in (*ABORT, "--skip-free-space"), ERASE:
            with self.subTest(command[0]):
                self.setUp()
                self.cut_short(HALF_COPIED, "convert.compared:crash")
                found = self.json(*command)
                (told,) = [item for item in found["findings"] if item["kind"] == "free-space-kept"]
                self.assertIn("made anew or gave up", told["cause"])
                self.assertIn("content", self.in_the_clear())

    def test_giving_up_a_protect_overwrites_no_free_space(self):
        """Its twins were encrypted."""
        plain = self.make_tree("plain")
        self.assertTrue(self.protect(plain, fault="convert.compared:crash", expect=None).crashed)
        self.assertNotIn("overwriting free space", self.call(*ABORT, expect=husk.DONE).err)


if __name__ == "__main__":
    unittest.main()
