"""A directory that another vault has, or is in the middle of having."""

import os
import unittest

import document
import husk
from job import Job, needs_faults


class OtherVaultTest(Job):
    def other(self, *paths, **options):
        return self.json("protect", *paths, "--vault", "w", "--keyfile", self.keyfile, "--skip-free-space", **options)

    def test_the_vault_that_protects_it_is_named(self):
        self.protect()
        for found in (self.json("check", self.tree, expect=husk.REFUSED), self.other(self.tree, expect=husk.REFUSED)):
            self.assertEqual(found["error"]["message"], f"{self.tree}: is protected already, by the vault v")
            self.assertIn("husk unprotect v", found["error"]["remedy"])
        self.json("erase", "v", "--confirm", "v")
        self.assertIn("the vault v, which is erased", self.other(self.tree, expect=husk.REFUSED)["error"]["message"])

    @needs_faults
    def test_one_that_another_vault_is_converting_is_left_to_it(self):
        inside = os.path.join(self.tree, "below")
        self.assertTrue(self.protect(fault="convert.copied:crash", expect=None).crashed)
        for path in (self.tree, inside, os.path.dirname(self.tree)):
            for found in (self.json("check", path, expect=husk.REFUSED), self.other(path, expect=husk.REFUSED)):
                self.assertIn("converting-already", document.kinds(found), path)
                self.assertIn("husk protect --abort --vault v", found["error"]["remedy"])
        self.assertIn("husk protect --abort --vault v", self.call("status", "v").out)
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


if __name__ == "__main__":
    unittest.main()
