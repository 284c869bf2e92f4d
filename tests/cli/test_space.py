"""What the plan says that the copies need, beside what they take; and giving up where the disk is full."""

import contextlib
import os
import re
import struct
import unittest

import disk
import husk
import manifest
import sys_calls
from job import Job, needs_faults

SLACK = 16 << 20  # what the plan adds for everything else
MANY = 1000


def available(d):
    """For everybody, in bytes, once all is written that waits to be."""
    d.sync()
    space = os.statvfs(d.path)
    return space.f_bavail * space.f_frsize


def symlinks(path):
    for number in range(MANY):
        os.symlink(f"../lib/some/package/of/this/length/{number:012}", f"{path}/link{number}")


def short_symlinks(path):
    for number in range(MANY):
        os.symlink("x" * (1 + number % 32), f"{path}/link{number}")


def files(path):
    for number in range(MANY):
        with open(f"{path}/file{number}", "w") as file:
            file.write("x" * 100)


def tiny_directories(path):
    for number in range(MANY):
        os.mkdir(f"{path}/{number}")


def names(path):
    """Short ones, which encryption pads, of files without a block."""
    for number in range(4 * MANY):
        os.mknod(f"{path}/{number:x}")


def distinct_attributes(path, value="{:060}"):
    files(path)
    for number in range(MANY):
        os.setxattr(f"{path}/file{number}", "user.a", value.format(number).encode())


def same_attributes(path):
    distinct_attributes(path, "a" * 60)


def lists(path):
    """ACLs that fill most of the room in the inode, and are the same for all."""
    files(path)
    entries = [(1, 6, -1), (2, 4, 1000), (2, 4, 1001), (4, 4, -1), (16, 6, -1), (32, 4, -1)]
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    for number in range(MANY):
        os.setxattr(f"{path}/file{number}", "system.posix_acl_access", value)


def hard_links(path):
    files(path)
    for number in range(MANY):
        for name in "abc":
            os.link(f"{path}/file{number}", f"{path}/{name}{number}")


@needs_faults
class NeedTest(unittest.TestCase):
    """The plan never needs less than the copies take, and not more than half as much again."""

    def measured(self, fill, variant="default", mkfs=(), too_much=1.5):
        with self.subTest(fill.__name__, mkfs=mkfs, variant=variant), self.disk(variant, mkfs) as d:
            fill(self.tree)
            before = available(d)
            found = husk.ok("check", self.tree, "--at", d.path, json=True).document
            needed = found["result"]["space"]["bytes_needed"] - SLACK
            taken = self.taken(d, before, "protect", self.tree, "--vault", "v", "--keyfile", self.keyfile)
            self.assertLessEqual(taken, needed + (1 << 20))
            self.assertLess(needed, taken * too_much + (1 << 20))

    def measured_back(self, fill, mkfs=()):
        with self.subTest(fill.__name__, mkfs=mkfs), self.disk(mkfs=mkfs) as d:
            husk.ok("protect", self.tree, "--vault", "v", "--keyfile", self.keyfile, "--at", d.path)
            fill(self.tree)
            before = available(d)
            with open(f"{d.path}/filler", "wb") as filler:
                os.posix_fallocate(filler.fileno(), 0, before - (4 << 20))
            refused = husk.run("unprotect", "v", "--at", d.path).expect(husk.REFUSED)
            os.unlink(f"{d.path}/filler")
            needed = (int(re.search(r"the copies need (\d+) MiB", refused.err)[1]) << 20) - SLACK
            taken = self.taken(d, before, "unprotect", "v")
            self.assertLessEqual(taken, needed + (2 << 20))

    @contextlib.contextmanager
    def disk(self, variant="default", mkfs=()):
        with disk.ext4(variant, size_mib=96, mkfs=mkfs, inodes=20000) as d:
            self.keyfile, self.tree = husk.keyfile(d.directory), f"{d.path}/data"
            os.mkdir(self.tree)
            yield d

    def taken(self, d, before, *command):
        self.assertTrue(husk.run(*command, "--at", d.path, fault="convert.copied:crash").crashed)
        return before - available(d)

    def test_symlinks(self):
        self.measured(symlinks)
        self.measured(short_symlinks)
        self.measured_back(symlinks)

    def test_inodes_without_room(self):
        self.measured(files, mkfs=("-I", "128"))
        self.measured(symlinks, mkfs=("-I", "128"))
        self.measured(distinct_attributes, mkfs=("-I", "128"))
        self.measured_back(distinct_attributes, mkfs=("-I", "128"))

    def test_attributes_beside_which_the_encryption_has_no_room(self):
        self.measured(distinct_attributes)
        self.measured(same_attributes)
        self.measured(lists)

    def test_names_and_directories(self):
        self.measured(names, too_much=2.5)
        self.measured_back(names)
        self.measured(tiny_directories)
        self.measured(hard_links)

    def test_files_in_their_inodes(self):
        self.measured(files, "inline")
        self.measured(tiny_directories, "inline")

    def test_clusters(self):
        self.measured(symlinks, "bigalloc")

    def test_small_blocks(self):
        self.measured(names, "1k", too_much=6)
        self.measured(symlinks, "1k")


class ReserveTest(unittest.TestCase):
    def test_what_is_kept_for_root_is_not_free(self):
        with disk.ext4(size_mib=128, mkfs=("-m", "25")) as d:
            os.mkdir(f"{d.path}/data")
            with open(f"{d.path}/data/file", "wb") as file:
                file.write(os.urandom(40 << 20))
            before = available(d)
            done = husk.run("check", f"{d.path}/data", "--at", d.path, json=True).expect(husk.REFUSED)
            self.assertEqual(done.document["result"]["space"]["bytes_free"], before)
            self.assertIn("no-space", [finding["kind"] for finding in done.document["findings"]])


@needs_faults
class FullTest(Job):
    """Another program fills the disk while a directory is copied."""

    def setUp(self):
        super().setUp()
        self.before = manifest.take(self.tree)

    def given_up(self):
        self.d.fill_up()
        with self.assertRaises(OSError):
            os.mkdir(self.path("no-room"))
        self.call("protect", "--abort", "--vault", "v", expect=husk.DONE)
        manifest.same(self.before, manifest.take(self.tree))
        self.assertEqual(os.listdir(self.path(".husk/convert")), [])

    def test_a_copy_is_given_up(self):
        self.assertTrue(self.protect(fault="convert.copied:crash", expect=None).crashed)
        self.given_up()
        self.assertEncrypted(self.tree, False)

    def test_a_copy_of_a_locked_vault_is_given_up(self):
        self.assertTrue(self.protect(fault="convert.compared:crash", expect=None).crashed)
        self.lock()
        self.given_up()

    def test_a_copy_in_the_clear_is_given_up(self):
        self.protect()
        for point in ("convert.copied", "convert.exchange"):
            with self.subTest(point):
                self.assertTrue(self.call("unprotect", "v", fault=f"{point}:crash").crashed)
                self.given_up()
                self.assertEqual(self.status()["directories"], [self.tree])
                self.d.make_room()
        self.assertEncrypted(self.tree)

    def test_what_is_given_up_in_part_goes_on(self):
        self.assertTrue(self.protect(fault="convert.compared:crash", expect=None).crashed)
        self.d.fill_up()
        self.assertTrue(self.call("protect", "--abort", "--vault", "v", fault="convert.sync:crash").crashed)
        self.assertEqual(self.status()["conversion"]["state"], "frozen")
        self.d.make_room()
        self.protect()
        manifest.same(self.before, manifest.take(self.tree))
        self.assertEncrypted(self.tree)


if __name__ == "__main__":
    unittest.main()
