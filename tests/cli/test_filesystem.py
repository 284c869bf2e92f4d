"""Filesystems that can carry a vault, and those that cannot: each refused with one finding that says why, exit 3,
nothing changed. The ext4 feature "encrypt": explained, and set when asked for, so that it survives a power cut.
"""

import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import disk
import husk
import manifest
from undo import Undo


def features(image):
    """The features in the superblock of a device or an image."""
    text = disk.run("dumpe2fs", "-h", image)
    line = next(line for line in text.splitlines() if line.startswith("Filesystem features:"))
    return line.split(":")[1].split()


def snapshot(directory):
    """All that is in a directory; of an ext4 whatever there is to know."""
    if disk.run("stat", "-f", "-c", "%T", directory).strip() == "ext2/ext3":
        return manifest.take(directory)
    found = {}
    for parent, directories, files in os.walk(directory):
        for name in directories + files:
            path = os.path.join(parent, name)
            status = os.lstat(path)
            found[path] = (status.st_ino, status.st_mode, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
    return found


@unittest.skipIf(husk.missing(), husk.missing())
class FilesystemTest(unittest.TestCase):
    def setUp(self):
        self.undo = Undo()
        self.addCleanup(self.undo.close)
        self.outside = disk.scratch(self.undo)
        self.keyfile = husk.keyfile(self.outside)

    def make(self, context):
        made = context.__enter__()
        self.undo.push(context.__exit__, None, None, None)
        self.tree = os.path.join(made.path, "tree")
        os.mkdir(self.tree)
        with open(os.path.join(self.tree, "file"), "w") as file:
            file.write("content")
        return made

    def protect(self, d, *more, tree=None):
        return ["protect", tree or self.tree, "--vault", "v", "--keyfile", self.keyfile, "--at", d.path, *more]

    def refused(self, d, kind, *words, tree=None):
        before = snapshot(d.path)
        done = [husk.run("check", tree or self.tree, "--at", d.path, json=True),
                husk.run(*self.protect(d, tree=tree), json=True)]
        for one in done:
            one.expect(husk.REFUSED)
            self.assertFalse(one.document["changed"], str(one))
            findings = [finding for finding in one.document["findings"] if finding["kind"] == kind]
            self.assertEqual(len(findings), 1, str(one))
            self.assertTrue(findings[0]["remedy"])
            for word in words:
                self.assertIn(word, findings[0]["cause"] + " " + findings[0]["remedy"])
        husk.run(*self.protect(d, tree=tree)).expect_error_line(husk.REFUSED)
        self.assertEqual(before, snapshot(d.path))

    def test_tmpfs_is_refused(self):
        self.refused(self.make(disk.tmpfs()), "not-ext4", "tmpfs")

    def test_xfs_is_refused(self):
        try:
            d = self.make(disk.xfs())
        except disk.Unsupported as no:
            self.skipTest(str(no))
        self.refused(d, "not-ext4", "xfs")

    def test_an_overlay_is_refused_whatever_lies_below(self):
        with disk.ext4() as below:
            lower = os.path.join(below.path, "lower")
            os.mkdir(lower)
            with disk.overlay(lower, below) as d:
                self.tree = os.path.join(d.path, "tree")
                os.mkdir(self.tree)
                self.refused(d, "not-ext4", "overlay")

    def test_a_read_only_mount_is_refused(self):
        d = self.make(disk.ext4())
        d.remount("ro")
        self.refused(d, "read-only", "read-only")

    def test_a_damaged_filesystem_is_refused_until_it_is_mended(self):
        d = self.make(disk.ext4())
        d.unmount()
        disk.run("tune2fs", "-E", "force_fsck", d.device)  # notes errors
        d.mount()
        self.refused(d, "damaged", "errors were found", "e2fsck -f")
        d.unmount()
        disk.run("e2fsck", "-fy", d.device, accept=(0, 1))
        d.mount()
        husk.ok("check", self.tree, "--at", d.path)

    def test_blocks_smaller_than_pages_are_fine(self):
        d = self.make(disk.ext4("1k"))
        husk.ok(*self.protect(d))

    def test_the_root_of_a_filesystem_that_is_nowhere_mounted_is_asked_for(self):
        d = self.make(disk.ext4())
        alone = os.path.join(self.outside, "alone")
        os.mkdir(alone)
        disk.run("mount", "--bind", self.tree, alone)
        self.undo.push(disk.unmount, alone)
        disk.run("umount", d.path)
        done = husk.run("check", alone, "--at", alone, json=True).expect(husk.REFUSED)
        self.assertEqual(done.document["error"]["code"], "unsupported")
        self.assertIn("mount the whole filesystem", done.document["error"]["remedy"])

    def test_a_missing_feature_is_explained(self):
        d = self.make(disk.ext4("plain"))
        self.refused(d, "no-encrypt-feature", '"encrypt" is not set', "--enable-feature", "GRUB older than 2.04",
                     f"tune2fs -O encrypt {d.device}")
        self.assertNotIn("encrypt", features(d.device))

    def test_a_filesystem_with_boot_on_it_is_told_about_grub(self):
        d = self.make(disk.ext4("plain"))
        os.mkdir(os.path.join(d.path, "boot"))
        self.refused(d, "no-encrypt-feature", "This filesystem holds /boot", "grub-install")

    def power_cut(self, d):
        """What a power cut now would leave on the disk, after e2fsck."""
        copy = os.path.join(self.outside, "copy")
        subprocess.run(["sync", d.device], check=True)
        disk.run("cp", "--sparse=always", d.image, copy)
        disk.run("e2fsck", "-fy", copy, accept=(0, 1))
        return features(copy)

    def journal_superblock(self, d):
        """A committed transaction with the superblock in it, as the list of orphans hangs there."""
        name = os.path.join(d.path, "orphan")
        with open(name, "w") as file:
            file.write("x")
            file.flush()
            os.unlink(name)
            disk.sync(d.path)

    def test_the_feature_is_set_when_asked_for_and_survives_a_power_cut(self):
        d = self.make(disk.ext4("plain"))
        self.journal_superblock(d)
        done = husk.ok(*self.protect(d, "--enable-feature"), json=True)
        self.assertTrue(done.document["changed"])
        self.assertIn("encrypt", features(d.device))
        self.assertIn("encrypt", self.power_cut(d))
        husk.ok("status", "--at", d.path)

    def test_a_feature_set_by_hand_survives_a_power_cut_too(self):
        d = self.make(disk.ext4("plain"))
        self.journal_superblock(d)
        disk.run("tune2fs", "-O", "encrypt", d.device)
        self.assertNotIn("encrypt", self.power_cut(d), "the trap is gone: the kernel or tune2fs has changed")
        self.journal_superblock(d)
        husk.ok(*self.protect(d))
        self.assertIn("encrypt", self.power_cut(d))

    def test_the_feature_is_not_asked_for_where_nobody_can_answer(self):
        d = self.make(disk.ext4("plain"))
        husk.run(*self.protect(d), stdin=b"yes\n").expect(husk.REFUSED)
        self.assertNotIn("encrypt", features(d.device))

    def test_the_feature_is_not_set_for_a_tree_that_is_refused(self):
        d = self.make(disk.ext4("plain"))
        with open(os.path.join(self.tree, "file")):
            husk.run(*self.protect(d, "--enable-feature")).expect(husk.REFUSED)
        self.assertNotIn("encrypt", features(d.device))

    def test_setting_the_feature_again_changes_nothing(self):
        d = self.make(disk.ext4())
        done = husk.ok(*self.protect(d, "--enable-feature"))
        self.assertNotIn("has the encrypt feature", done.out + done.err)


if __name__ == "__main__":
    unittest.main()
