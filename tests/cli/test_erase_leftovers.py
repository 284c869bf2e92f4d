"""husk erase of a vault whose conversion was cut short: what that left in the clear goes too, or is named."""

import os
import subprocess
import unittest

import disk
import document
import husk
from job import Job, needs_faults

ERASE = ("erase", "v", "--confirm", "v")
NEEDLE = b"a needle of the old plaintext, " * 300


@needs_faults
class LeftoversTest(Job):
    def setUp(self):
        super().setUp()
        self.write(self.tree, "needle")
        self.old = self.path(".husk/plaintext/v/0")

    def write(self, *names):
        with open(os.path.join(*names), "wb") as file:
            file.write(NEEDLE)

    def cut_short(self, fault, *paths, verb=None):
        done = verb and self.call(*verb, fault=fault) or self.protect(*paths, expect=None, fault=fault)
        self.assertTrue(done.crashed, done)

    def erase(self, expect=husk.DONE, fault=None):
        return self.json(*ERASE, expect=expect, fault=fault)

    def is_gone(self):
        """Nothing is left of the conversion, and of what was plain there is nothing on the device."""
        self.assertEqual(self.state(), "erased")
        for place in ("plaintext", "convert"):
            self.assertEqual(os.listdir(self.path(".husk", place)), [])
        self.assertFalse(self.erase()["changed"])
        self.d.unmount()
        self.d.sync()
        self.assertEqual(self.d.find([NEEDLE[:64]]), {})
        self.d.mount()

    # What goes

    def test_an_old_tree_that_waits_for_its_scrubbing_goes(self):
        for point in ("convert.exchanged", "convert.put-away", "convert.recorded", "convert.proven-old",
                      "destroy.unlink", "destroy.tree.sync", "convert.scrubbed", "convert.clear"):
            for locked in (False, True):
                with self.subTest(point, locked=locked):
                    self.setUp()
                    self.cut_short(f"{point}:crash")
                    if locked:
                        self.d.remount()
                    found = self.erase()
                    self.assertTrue(found["changed"])
                    self.assertEqual(found["result"]["vaults"][0]["plaintext_before"], "UNKNOWN")
                    self.assertTrue(os.path.exists(self.tree), "the encrypted directory stays")
                    self.is_gone()

    def test_all_links_of_a_file_and_sealed_files_go(self):
        os.link(os.path.join(self.tree, "needle"), os.path.join(self.tree, "below/needle too"))
        self.write(self.tree, "sealed")
        subprocess.run(["chattr", "+i", os.path.join(self.tree, "sealed")], check=True)
        self.cut_short("convert.proven-old:crash")
        self.erase()
        self.is_gone()

    def test_what_was_written_to_the_old_tree_goes_too(self):
        """Its copy cannot be read any more either: that it differs keeps nothing."""
        self.cut_short("convert.proven-old:crash")
        self.write(self.old, "late")
        self.erase()
        self.is_gone()

    def test_a_plain_twin_goes(self):
        self.protect()
        self.cut_short("convert.compared:crash", verb=("unprotect", "v"))
        self.assertTrue(os.path.exists(self.path(".husk/convert/v/0/needle")))
        self.erase()
        self.is_gone()

    def test_it_goes_with_a_damaged_header(self):
        self.cut_short("convert.proven-old:crash")
        with open(self.path(".husk/vaults/v/vault.json"), "w") as file:
            file.write("{")
        self.erase()
        self.assertEqual(os.listdir(self.path(".husk/plaintext")), [])

    def test_the_key_is_destroyed_first(self):
        self.cut_short("convert.proven-old:crash")
        with husk.paused("erase.plaintext", *self.at(*ERASE)) as paused:
            self.assertEqual(os.listdir(self.path(".husk/vaults/v/keyslots")), [])
            self.assertNotIn("needle", os.listdir(self.tree))
            self.assertEqual(self.state(), "erasing")
        paused.done.expect(husk.DONE)
        self.is_gone()

    # What is kept, and that it is said

    def test_what_is_in_use_is_named_and_goes_with_the_same_command_later(self):
        self.cut_short("convert.proven-old:crash")
        for path in (os.path.join(self.old, "below"), os.path.join(self.old, "needle")):
            fd = os.open(path, os.O_RDONLY)
            found = self.erase(expect=husk.INCOMPLETE)
            os.close(fd)
            self.assertIn(f"(pid {os.getpid()})", str(found["findings"]))
            self.assertIn("plaintext of it is left", found["error"]["message"])
            self.assertEqual(found["result"]["vaults"][0]["plaintext_before"], "INCOMPLETE")
            self.assertEqual(self.state(), "erasing")
            self.assertTrue(os.path.exists(path))
        self.erase()
        self.is_gone()

    def test_a_file_with_a_link_elsewhere_is_not_overwritten(self):
        self.cut_short("convert.proven-old:crash")
        link = self.path("srv/link")
        os.link(os.path.join(self.old, "needle"), link)
        found = self.erase(expect=husk.INCOMPLETE)
        self.assertIn("hard link outside the tree", str(found["findings"]))
        with open(link, "rb") as file:
            self.assertEqual(file.read(), NEEDLE)
        self.assertEqual(os.listdir(self.old), ["needle"])
        os.remove(link)
        self.erase()
        self.is_gone()

    def test_an_old_tree_that_no_journal_tells_of_is_named_with_the_command_that_destroys_it(self):
        self.cut_short("convert.proven-old:crash")
        os.remove(self.path(".husk/convert/v/journal.json"))
        found = self.erase(expect=husk.INCOMPLETE)
        self.assertTrue(os.path.exists(os.path.join(self.old, "needle")))
        (remedy,) = [item["remedy"] for item in found["findings"] if item["kind"] == "plaintext-left"]
        subprocess.run(["sh", "-ec", remedy.split(": ", 1)[1]], check=True)
        self.erase()
        self.is_gone()

    # Directories that are plain at their places

    def test_one_that_was_not_exchanged_is_named_until_somebody_lets_it_be(self):
        for point, state in (("convert.copied:crash", False), ("convert.exchange:crash:2", True)):
            with self.subTest(point):
                self.setUp()
                second = self.make_tree("srv/second")
                self.cut_short(point, self.tree, second)
                for _ in range(2):
                    found = self.erase(expect=husk.INCOMPLETE)
                    self.assertEqual([item["subject"] for item in found["findings"] if item["kind"] == "conversion-left"],
                                     [second] if state else [self.tree, second])
                    self.assertEqual(self.state(), "erasing")
                self.assertIn("file2", os.listdir(second))
                self.assertFalse(os.path.exists(self.old))
                self.call("protect", "--abort", "--vault", "v", expect=husk.DONE)
                self.erase()
                self.assertEqual(self.state(), "erased")
                self.assertIn("file2", os.listdir(second))

    def test_one_that_was_taken_out_of_the_vault_is_named_until_somebody_lets_it_be(self):
        self.protect()
        self.cut_short("convert.put-away:crash", verb=("unprotect", "v"))
        found = self.erase(expect=husk.INCOMPLETE)
        self.assertEqual([item["subject"] for item in found["findings"] if item["kind"] == "conversion-left"], [self.tree])
        self.call("protect", "--abort", "--vault", "v", expect=husk.DONE)
        self.erase()
        self.assertIn("needle", os.listdir(self.tree))
        self.assertEqual(self.state(), "erased")

    def let_it_be(self, found):
        """The command that lets directories in the clear be, as it is printed."""
        told = {item["remedy"] for item in found["findings"] if item["kind"] == "conversion-left"}
        (remedy,) = told
        self.assertTrue(remedy.startswith("destroy it, or protect it in another vault; or let it be: husk "), remedy)
        return remedy.split("let it be: husk ")[1].split(". Then run")[0].split()

    def test_each_remedy_of_an_erase_amid_an_unprotect_ends_it(self):
        """Whatever was exchanged by then. The twins that were not are destroyed by the first erase already."""
        for point, plain, remedy in (("convert.exchange:crash", 0, None), ("convert.exchanged:crash", 1, "let it be"),
                                     ("convert.exchange:crash:2", 1, "let it be"), ("convert.exchange:crash:2", 1, "destroy"),
                                     ("convert.exchange:crash:2", 1, "protect"), ("convert.scrubbed:crash", 2, "let it be")):
            with self.subTest(point, remedy=remedy):
                self.setUp()
                second = self.make_tree("srv/second")
                self.write(second, "needle")
                self.protect(self.tree, second)
                self.cut_short(point, verb=("unprotect", "v"))
                found = self.erase(expect=husk.INCOMPLETE if plain else husk.DONE)
                left = [item["subject"] for item in found["findings"] if item["kind"] == "conversion-left"]
                self.assertEqual(left, [self.tree, second][:plain])
                if remedy == "let it be":
                    husk.ok(*self.let_it_be(found))
                for path in left:
                    if remedy == "destroy":
                        disk.run("find", path, "-xdev", "-type", "f", "-exec", "shred", "-u", "{}", "+")
                        disk.run("rm", "-r", path)
                    if remedy == "protect":
                        self.call("protect", path, "--vault", "w", "--keyfile", self.keyfile, expect=husk.DONE)
                if plain:
                    self.erase()
                if remedy != "let it be":
                    self.is_gone()
                self.assertEqual(self.state(), "erased")
                self.assertEqual(os.listdir(self.path(".husk/convert")), [])

    # What is told meanwhile

    def test_status_names_the_command_that_goes_on(self):
        self.cut_short("convert.proven-old:crash")
        fd = os.open(os.path.join(self.old, "below"), os.O_RDONLY)
        told = self.call(*ERASE, expect=husk.INCOMPLETE)
        os.close(fd)
        self.assertNotIn("vault v is erased\n", told.out)
        status = self.call("status", "v", expect=husk.DONE).out
        self.assertIn(f"husk erase --at {self.d.path} v --confirm v", status)
        self.assertNotIn("again to go on", status)


if __name__ == "__main__":
    unittest.main()
