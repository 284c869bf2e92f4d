"""What a conversion, a keyslot's removal and an erase leave in the blocks of the disk, searched byte by byte."""

import contextlib
import glob
import os
import re
import shutil
import subprocess
import unittest

import disk
import husk
import sys_calls
from canary import BLOCK, Canaries, left_of_free_space
from job import Job

KEY_TOOL = os.path.join(os.path.dirname(husk.PROGRAM), "tests", "programs", "key_tool")


def shreds(keyslot):
    """Every 32-byte piece of a keyslot file but the two that another one of its kind and second has as well."""
    return [keyslot[at:at + 32] for at in range(0, len(keyslot), 32) if at not in (0, 96)]


class PlaintextTest(Job):
    """With blocks of 4 KiB: a device discards no less at once, and smaller free blocks may be what stays as reserve."""

    def setUp(self):
        self.d = self.enterContext(disk.ext4(size_mib=64, mkfs=("-b", "4096")))
        self.keyfile = husk.keyfile(self.d.directory)
        self.tree = self.make_tree("srv/data")
        self.canaries = Canaries()
        self.canaries.plant(os.path.join(self.tree, "canaries"))

    def test_canaries_are_there_before_and_gone_after_scrubbing(self):
        self.assertEqual(sorted(self.canaries.find(self.d)), ["content", "long symlink", "name", "short symlink"])
        self.call("protect", self.tree, "--vault", "v", "--keyfile", self.keyfile, expect=husk.DONE)
        self.canaries.gone(self.d)

    def test_where_free_space_is_skipped_what_stays_is_told(self):
        told = self.protect().out
        self.canaries.gone(self.d, ("content", "name", "short symlink"))
        self.assertIn("long symlink", self.canaries.find(self.d))
        self.assertIn("but for targets of symlinks of 60 bytes and more, which may still lie in free space", told)
        self.assertIn("targets of long symlinks of the old trees", told)

    def test_free_space_that_was_left_alone_is_overwritten_by_what_the_finding_names(self):
        self.canaries.plant(self.path("deleted"), size=400000)
        self.d.sync()
        shutil.rmtree(self.path("deleted"))
        shutil.rmtree(os.path.join(self.tree, "canaries"))
        words = ("--vault", "v", "--keyfile", self.keyfile)
        (kept,) = [finding for finding in self.json("protect", self.tree, *words, "--skip-free-space")["findings"]
                   if finding["kind"] == "free-space-kept"]
        self.assertIn("a further directory that has files", kept["remedy"])
        self.assertIn("content", self.canaries.find(self.d))
        os.mkdir(self.path("new"))
        with open(self.path("new/file"), "w") as file:
            file.write("small")
        self.call("protect", self.path("new"), *words, expect=husk.DONE)
        self.assertNotIn("content", self.canaries.find(self.d))

    def test_a_conversion_that_is_given_up_leaves_the_plaintext_and_nothing_else(self):
        with husk.paused("convert.copied", *self.at("protect", self.tree, "--vault", "v", "--keyfile", self.keyfile)) as at:
            at.process.kill()
            at.go_on()
        self.call("protect", "--abort", "--vault", "v", expect=husk.DONE)
        self.assertIn("content", self.canaries.find(self.d))
        self.assertEqual(glob.glob(self.path(".husk", "convert", "*")), [])


class PreallocatedTest(Job):
    """What was deleted before the conversion, in space that files have allocated and not written to."""

    def setUp(self):
        super().setUp()
        self.canaries = Canaries()
        with open(self.path("deleted"), "wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(self.canaries.content(1 << 20)):
                pass
        self.d.sync()
        os.unlink(self.path("deleted"))
        self.d.remount()

    def allocate(self, name, mode, data, length):
        with open(os.path.join(self.tree, name), "wb") as file:
            file.write(data)
            file.flush()
            sys_calls.fallocate(file.fileno(), mode, 0, length)
        return self.layout(name)

    def layout(self, name):
        """[[from, to, unwritten]] of what is allocated."""
        runs = []
        with open(os.path.join(self.tree, name), "rb") as file:
            for offset, length, flags in sys_calls.extents(file.fileno()):
                unwritten = bool(flags & sys_calls.EXTENT_UNWRITTEN)
                if runs and runs[-1][1:] == [offset, unwritten]:
                    runs[-1][1] += length
                else:
                    runs.append([offset, offset + length, unwritten])
        return runs

    def protected(self):
        """What husk told, and how many bytes of what was deleted are left beside the free space that it told of."""
        done = self.call("protect", self.tree, "--vault", "v", "--keyfile", self.keyfile, expect=husk.DONE)
        found = self.canaries.find(self.d).get("content", 0) * BLOCK
        return done.out, max(0, found - left_of_free_space(done.out))

    def test_it_is_overwritten_and_the_copy_is_as_unwritten_as_the_file_was(self):
        before = [self.allocate("journal", 0, b"x" * 100, (8 << 20) + 1000), self.allocate("all", 0, b"", 1 << 20)]
        self.assertIn("content", self.canaries.find(self.d))
        told, left = self.protected()
        self.assertEqual(left, 0)
        self.assertNotIn("beyond", told)
        self.assertEqual([self.layout("journal"), self.layout("all")], before)
        with open(os.path.join(self.tree, "journal"), "rb") as file:
            self.assertEqual(file.read(), b"x" * 100 + bytes((8 << 20) + 900))

    def test_beyond_the_end_of_files_it_is_told(self):
        before = self.allocate("log", sys_calls.FALLOC_KEEP_SIZE, b"x" * 100, 2 << 20)
        told, left = self.protected()
        (allocated,) = re.findall(r"(\d+) bytes that files have allocated beyond their ends", told)
        self.assertEqual(int(allocated), (2 << 20) - 4096)
        self.assertLessEqual(left, int(allocated))
        self.assertEqual(self.layout("log"), before)


class KeyTest(Job):
    def setUp(self):
        super().setUp()
        self.protect()

    def keyslot(self):
        (path,) = glob.glob(self.path(".husk", "vaults", "v", "keyslots", "*"))
        return path

    def hidden(self, slot):
        """The vault secret and all that is derived from it, whole and each half of it."""
        told = subprocess.run([KEY_TOOL, slot, self.keyfile], check=True, stdout=subprocess.PIPE, text=True).stdout
        keys = [bytes.fromhex(line.split()[1]) for line in told.splitlines()]
        self.assertEqual([len(key) for key in keys], [32, 64, 32])
        return [part for key in keys for part in (key[:16], key[-16:])]

    def test_an_erase_leaves_no_byte_of_a_keyslot_and_no_key(self):
        slot = self.keyslot()
        with open(slot, "rb") as file:
            pieces = shreds(file.read())
        keys = self.hidden(slot)
        self.assertEqual(len(self.d.find(pieces)), len(pieces))
        self.assertEqual(self.d.find(keys), {})
        self.json("erase", "v", "--confirm", "v")
        self.assertEqual(self.d.find(pieces), {})
        self.assertEqual(self.d.find(keys), {})

    def test_a_removed_keyslot_leaves_no_byte(self):
        second = husk.keyfile(self.d.directory, "second")
        slot = self.keyslot()
        with open(slot, "rb") as file:
            pieces = shreds(file.read())
        self.json("keyslot add", "v", "--keyfile", second, "--with-keyfile", self.keyfile)
        self.assertEqual(len(self.d.find(pieces)), len(pieces))
        self.json("keyslot remove", "v", os.path.basename(slot))
        self.assertEqual(self.d.find(pieces), {})
        self.lock()
        self.call("unlock", "v", "--keyfile", second, expect=husk.DONE)


if __name__ == "__main__":
    unittest.main()
