"""What an interruption took from the copy: the comparison finds it, and it is made anew before anything is exchanged."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import disk
import husk
import manifest
import torture
from undo import Undo


class TwinDamageTest(unittest.TestCase):
    def setUp(self):
        if not husk.list_faults():
            self.skipTest("no husk with fault points (meson option faults)")
        undo = self.enterContext(Undo())
        self.d = self.enterContext(disk.ext4(size_mib=48, mkfs=("-O", "encrypt")))
        self.keyfile = husk.keyfile(disk.scratch(undo), "key")
        self.tree = os.path.join(self.d.path, "tree")
        torture.build(self.tree, "small", 20, only=["links", "acls", "flags", "symlinks", "specials", "whole"])
        self.before = manifest.take(self.tree)
        self.command = ("protect", self.tree, "--vault", "v", "--keyfile", self.keyfile, "--at", self.d.path)
        self.assertTrue(husk.run(*self.command, fault="convert.compared:crash").crashed)
        self.twin = self.find_twin()

    def find_twin(self):
        twin = os.path.join(self.d.path, ".husk", "convert", "v", "0")
        manifest.same(self.before, manifest.take(twin), what="the twin before it is damaged")
        return twin

    def files(self):
        """[(path below the root, its lstat)] of all regular files of the twin."""
        found = []
        for directory, _, names in os.walk(self.twin):
            for name in names:
                path = os.path.join(directory, name)
                found.append((path, os.lstat(path)))
        return [(path, status) for path, status in found if (status.st_mode & 0o170000) == 0o100000]

    def opened(self, path):
        """Without the flags that forbid a change, of the file and where it lies."""
        disk.run("chattr", "-ia", path, os.path.dirname(path))
        return path

    def finishes(self):
        husk.run(*self.command).expect(husk.DONE)
        manifest.same(self.before, manifest.take(self.tree), what="the tree")

    def test_contents(self):
        """Of every file, hard-linked, sealed, and with inherited ACLs around it too."""
        for path, status in self.files():
            with open(self.opened(path), "r+b") as file:
                file.write(bytes(byte ^ 255 for byte in file.read(1)) or b"x")
                file.seek(0)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.finishes()

    def test_files_cut_to_nothing(self):
        for path, _ in self.files():
            os.truncate(self.opened(path), 0)
        self.finishes()

    def test_names_lost(self):
        for number, (path, _) in enumerate(self.files()):
            if number % 2:
                os.unlink(self.opened(path))
        self.finishes()

    def test_everything_lost(self):
        disk.run("chattr", "-R", "-f", "-ia", self.twin, accept=(0, 1))
        for name in os.listdir(self.twin):
            disk.run("rm", "-rf", os.path.join(self.twin, name))
        self.finishes()

    def test_names_that_came(self):
        for directory, _, _ in list(os.walk(self.twin)):
            disk.run("chattr", "-ia", directory)
            with open(os.path.join(directory, "foreign"), "w", encoding="ascii") as file:
                file.write("foreign")
        self.finishes()

    def test_attributes(self):
        for path, _ in self.files():
            os.chmod(self.opened(path), 0o123)
            os.setxattr(path, "user.foreign", b"x")
        for directory, _, _ in os.walk(self.twin):
            disk.run("chattr", "-ia", directory)
            os.chmod(directory, 0o711)
        self.finishes()

    def test_a_directory_became_a_file(self):
        names = [name for name in os.listdir(self.twin) if os.path.isdir(os.path.join(self.twin, name))]
        for name in names:
            path = os.path.join(self.twin, name)
            disk.run("chattr", "-R", "-f", "-ia", path, accept=(0, 1))
            disk.run("rm", "-rf", path)
            with open(path, "w", encoding="ascii") as file:
                file.write("was a directory")
        self.finishes()


if __name__ == "__main__":
    unittest.main()
