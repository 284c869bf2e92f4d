"""What users of the machine may do where they may write: it keeps no vault from being opened, locked or erased."""

import os
import subprocess
import unittest

import disk
import document
import husk
from job import Job

USER = 1000


class UserTest(Job):
    def setUp(self):
        super().setUp()
        os.chmod(self.d.directory, 0o755)
        os.chmod(self.d.path, 0o1777)

    def user(self, *argv):
        subprocess.run(argv, user=USER, group=USER, extra_groups=[], check=True)

    def opens_again(self):
        self.lock()
        return self.json("unlock", "v", "--keyfile", self.keyfile)

    def test_their_symlinks_into_a_vault_are_theirs(self):
        self.user("ln", "-s", "srv/data", self.path("mine"))
        os.symlink("srv/data", self.path("roots"))
        self.protect()
        self.user("rm", self.path("mine"))
        self.opens_again()
        os.remove(self.path("roots"))
        self.lock()
        found = self.json("unlock", "v", "--keyfile", self.keyfile, expect=husk.REFUSED)
        self.assertEqual(found["error"]["code"], "changed")

    def test_any_number_of_their_symlinks_is_fine(self):
        self.user("sh", "-c", f"cd {self.d.path}; for i in $(seq 300); do ln -s srv/data/$i l$i; done")
        self.protect()
        self.opens_again()

    def movable(self, path):
        return [(finding["cause"], finding["remedy"]) for finding in self.json("check", path)["findings"]
                if finding["kind"] == "movable"]

    def test_a_directory_that_others_can_move_away_is_told(self):
        self.assertEqual(self.movable(self.tree), [])
        os.chown(self.path("srv"), USER, USER)
        told = "others than root can rename {} on this filesystem"
        for path, part in ((self.path("srv"), "srv"), (self.tree, "srv")):
            ((cause, _),) = self.movable(path)
            self.assertIn(told.format(part), cause)
        os.chmod(self.d.path, 0o755)
        self.assertEqual(self.movable(self.path("srv")), [])
        ((cause, remedy),) = self.movable(self.tree)
        self.assertIn(told.format("srv/data"), cause)
        self.assertIn("only root", remedy)
        self.protect()
        self.user("mv", self.tree, self.path("srv/elsewhere"))
        self.lock()
        self.json("unlock", "v", "--keyfile", self.keyfile, expect=husk.REFUSED)

    def other_disk(self):
        """Another filesystem, mounted in this one, whose root users may write to."""
        os.mkdir(self.path("tmp"))
        other = self.enterContext(disk.ext4(size_mib=16))
        os.chmod(other.path, 0o1777)
        subprocess.run(["mount", "--bind", other.path, self.path("tmp")], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", self.path("tmp")], check=True)

    def test_a_husk_directory_of_theirs_is_told_and_stands_in_nobodys_way(self):
        self.protect()
        self.other_disk()
        self.user("mkdir", "-p", self.path("tmp/.husk/vaults/v"), self.path("tmp/.husk/vaults/w.new"))
        self.json("lock", "v")
        for words in (("unlock", "--keyfile", self.keyfile), ("lock",), ("unlock", "--all", "--keyfile", self.keyfile)):
            self.assertIn("directory-foreign", document.kinds(self.json(*words)))

    def test_where_all_are_locked_or_erased_it_is_not_passed_over(self):
        """Somebody may have changed the owner of all there is on a disk, and of the vaults on it."""
        self.protect()
        self.other_disk()
        os.mkdir(self.path("tmp/data"))
        self.json("protect", self.path("tmp/data"), "--vault", "w", "--keyfile", self.keyfile, "--skip-free-space")
        subprocess.run(["chown", "-R", "1000:1000", self.path("tmp/.husk")], check=True)
        for words in (("lock", "--all"), ("erase", "--all", "--confirm", self.d.path)):
            found = self.json(*words, expect=husk.INCOMPLETE)
            self.assertIn("directory-foreign", document.kinds(found))
        self.assertEqual(self.state(), "erased")
        subprocess.run(["chown", "-R", "0:0", self.path("tmp/.husk")], check=True)
        self.json("erase", "--all", "--confirm", self.d.path)
        self.assertEqual(self.state("w"), "erased")


if __name__ == "__main__":
    unittest.main()
