"""A directory that another vault has, or is in the middle of having."""

import os
import unittest

import disk
import document
import husk
import manifest
from job import Job, needs_faults


class OtherVaultTest(Job):
    def other(self, *paths, **options):
        return self.json("protect", *paths, "--vault", "w", "--keyfile", self.keyfile, "--skip-free-space", **options)

    def test_the_vault_that_protects_it_is_named(self):
        self.protect()
        for found in (self.json("check", self.tree, expect=husk.REFUSED), self.other(self.tree, expect=husk.REFUSED)):
            self.assertEqual(found["error"]["message"], f"{self.tree}: is protected already, by the vault v")
            self.assertIn(f"husk unprotect --at {self.d.path} v", found["error"]["remedy"])
        self.json("erase", "v", "--confirm", "v")
        self.assertIn("the vault v, which is erased", self.other(self.tree, expect=husk.REFUSED)["error"]["message"])

    @needs_faults
    def test_one_that_another_vault_is_converting_is_left_to_it(self):
        inside = os.path.join(self.tree, "below")
        self.assertTrue(self.protect(fault="convert.copied:crash", expect=None).crashed)
        for path in (self.tree, inside, os.path.dirname(self.tree)):
            for found in (self.json("check", path, expect=husk.REFUSED), self.other(path, expect=husk.REFUSED)):
                self.assertIn("converting-already", document.kinds(found), path)
                self.assertIn(f"husk protect --at {self.d.path} --abort --vault v", found["error"]["remedy"])
        self.assertIn(f"husk protect --at {self.d.path} --abort --vault v", self.call("status", "v").out)
        self.other(self.make_tree("srv/next"))
        self.call("protect", "--abort", "--vault", "v", expect=husk.DONE)
        self.other(self.tree)

    @needs_faults
    def test_what_an_erase_left_half_converted_may_join_another_vault(self):
        self.make_tree("srv/first")
        self.protect(self.path("srv/first"))
        self.assertTrue(self.protect(fault="convert.copied:crash", expect=None).crashed)
        found = self.json("erase", "v", "--confirm", "v", expect=husk.INCOMPLETE)
        self.assertIn("conversion-left", document.kinds(found))
        self.other(self.tree)

    def move_out(self, name, make):
        """What was made in the tree, moved into a plain directory, and its vault locked."""
        self.protect()
        plain = self.make_tree("srv/plain")
        make(os.path.join(self.tree, name))
        os.rename(os.path.join(self.tree, name), os.path.join(plain, name))
        os.sync()
        self.json("lock", "v")
        return plain, os.path.join(plain, name)

    def test_a_symlink_moved_out_of_it_keeps_its_target(self):
        """Without the key readlink(2) succeeds, with what only stands for the target: copied, that would be all there is."""
        plain, link = self.move_out("link", lambda path: os.symlink("/the/target", path))
        self.assertNotEqual(os.readlink(link), "/the/target")
        for found in (self.json("check", plain, expect=husk.REFUSED), self.other(plain, expect=husk.REFUSED)):
            self.assertIn("encrypted-inside", document.kinds(found))
            self.assertIn(link, found["error"]["message"])
        self.json("unlock", "v", "--keyfile", self.keyfile)
        self.assertEqual(os.readlink(link), "/the/target")
        os.unlink(link)
        os.symlink("/the/target", link)
        self.other(plain)
        self.assertEqual(os.readlink(link), "/the/target")

    @needs_faults
    def test_one_that_comes_while_the_tree_is_copied_is_refused(self):
        self.protect()
        plain, aside = self.make_tree("srv/plain"), os.path.join(self.tree, "link")
        os.symlink("/the/target", aside)
        with husk.paused("convert.twin.made", *self.at("protect", plain, "--vault", "w", "--keyfile", self.keyfile,
                                                       "--skip-free-space")) as paused:
            os.rename(aside, os.path.join(plain, "link"))
        self.assertIn("encrypted symlink", paused.done.expect_error_line(husk.REFUSED).err)
        self.assertEqual(os.readlink(os.path.join(plain, "link")), "/the/target")

    @needs_faults
    def test_a_directory_that_comes_while_the_tree_is_copied_is_refused(self):
        """Without its key it has names that only stand for its own."""
        self.protect()
        plain, aside = self.make_tree("srv/plain"), os.path.join(self.tree, "aside")
        os.makedirs(os.path.join(aside, "the name"))
        with husk.paused("convert.twin.made", *self.at("protect", plain, "--vault", "w", "--keyfile", self.keyfile,
                                                       "--skip-free-space")) as paused:
            os.rename(aside, os.path.join(plain, "aside"))
        self.assertIn("encrypted directory", paused.done.expect_error_line(husk.REFUSED).err)
        self.assertEqual(os.listdir(os.path.join(plain, "aside")), ["the name"])

    def test_a_file_moved_out_of_it_is_copied_while_its_key_is_there_and_else_named(self):
        def make(path):
            with open(path, "wb") as file:
                file.write(b"content")

        plain, path = self.move_out("moved", make)
        found = self.json("check", plain, expect=husk.REFUSED)
        self.assertIn("encrypted-inside", document.kinds(found))
        self.assertIn(path, found["error"]["message"])
        self.json("unlock", "v", "--keyfile", self.keyfile)
        self.other(plain)
        with open(path, "rb") as file:
            self.assertEqual(file.read(), b"content")


class ReplacedTest(Job):
    """A directory that the manifest names, and another in its place since."""

    def replace(self, files):
        self.protect()
        os.rename(self.tree, self.path("srv/before"))
        self.make_tree("srv/data", files) if files else os.mkdir(self.tree)
        self.assertEncrypted(self.tree, False)

    def test_a_plain_one_is_encrypted_and_not_taken_for_the_one_that_was(self):
        for files in (3, 0):
            with self.subTest(files=files):
                self.setUp()
                self.replace(files)
                before = manifest.take(self.tree)
                found = self.json("protect", self.tree, "--vault", "v", "--skip-free-space")
                self.assertTrue(found["changed"])
                self.assertEncrypted(self.tree)
                manifest.same(before, manifest.take(self.tree))
                self.assertIn("file2", os.listdir(self.path("srv/before")))
                self.lock()
                self.json("unlock", "v", "--keyfile", self.keyfile)
                self.assertFalse(self.json("protect", self.tree, "--vault", "v")["changed"])

    @needs_faults
    def test_interrupted_it_goes_on(self):
        self.replace(3)
        before = manifest.take(self.tree)
        for point in ("convert.copied", "convert.exchanged", "convert.recorded"):
            self.assertTrue(self.protect(expect=None, fault=f"{point}:crash").crashed, point)
        self.protect()
        self.assertEncrypted(self.tree)
        manifest.same(before, manifest.take(self.tree))


class NotAddableTest(Job):
    """What the manifest cannot name is refused before it is begun: exchanged, there would be no way on or back."""

    def refused(self, word):
        before = manifest.take(self.tree)
        found = self.json("protect", self.tree, "--vault", "v", "--keyfile", self.keyfile, "--skip-free-space",
                          expect=husk.REFUSED)
        self.assertIn(word, found["error"]["message"])
        manifest.same(before, manifest.take(self.tree))
        self.assertEncrypted(self.tree, False)
        self.assertEqual(self.status()["conversion"], None)
        return found

    def test_a_directory_above_one_that_is_named_and_gone(self):
        for files in (3, 0):
            with self.subTest(files=files):
                self.setUp()
                inner = os.path.join(self.tree, "below")
                os.unlink(os.path.join(inner, "link"))
                self.protect(inner)
                disk.run("rm", "-r", inner if files else self.tree)
                os.makedirs(self.tree, exist_ok=True)
                found = self.refused("inside another")
                self.assertIn("--accept-changes", found["error"]["remedy"])
                self.lock()
                self.json("unlock", "v", "--keyfile", self.keyfile, "--accept-changes")
                self.protect()
                self.assertEncrypted(self.tree)

    def test_more_symlinks_into_it_than_are_recorded(self):
        for number in range(257):
            os.symlink("srv/data/file1", self.path(f"link{number}"))
        self.refused("more than 256 symlinks")
        os.unlink(self.path("link0"))
        self.protect()
        self.assertEncrypted(self.tree)

    @needs_faults
    def test_more_that_come_while_it_is_copied(self):
        with husk.paused("convert.journal.written", *self.at("protect", self.tree, "--vault", "v", "--keyfile",
                                                             self.keyfile, "--skip-free-space"), hit=3) as paused:
            for number in range(257):
                os.symlink("srv/data/file1", self.path(f"link{number}"))
        self.assertIn("more than 256 symlinks", paused.done.expect_error_line(husk.REFUSED).err)
        self.assertEncrypted(self.tree, False)
        self.call("protect", "--abort", "--vault", "v", expect=husk.DONE)
        self.assertIn("file2", os.listdir(self.tree))


if __name__ == "__main__":
    unittest.main()
