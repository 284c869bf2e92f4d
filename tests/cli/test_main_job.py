"""The whole life of a vault, once from end to end: what the pages promise an administrator."""

import os
import unittest

import disk
import document
import husk
import manifest
import sys_calls
import torture
from job import Job


class MainJobTest(Job):
    size_mib = 160

    def setUp(self):
        super().setUp()
        torture.build(self.path("srv/torture"), "small", 50)
        self.torture = self.path("srv/torture")

    def test_a_vault_from_the_first_check_to_the_erase(self):
        before = {path: manifest.take(path) for path in (self.tree, self.torture)}
        recovery = self.beside("recovery")

        plan = self.json("check", self.tree, self.torture)["result"]
        self.assertEqual([entry["action"] for entry in plan["directories"]], ["copy", "copy"])
        self.assertFalse(os.path.exists(self.path(".husk")), "a read changed something")

        done = self.json("protect", self.tree, self.torture, "--vault", "v", "--keyfile", self.keyfile,
                         "--recovery-out", recovery)
        self.assertTrue(done["changed"])
        for path, was in before.items():
            self.assertEncrypted(path)
            manifest.same(was, manifest.take(path))
        self.assertEqual(os.stat(recovery).st_mode & 0o777, 0o600)
        self.assertFalse(os.path.exists(recovery + ".new"))
        again = self.json("protect", self.tree, "--vault", "v")
        self.assertFalse(again["changed"])
        self.assertEqual(again["findings"], [])
        again = self.json("protect", self.tree, "--vault", "v", "--recovery-out", self.beside("another"))
        self.assertFalse(again["changed"])
        self.assertEqual([finding["kind"] for finding in again["findings"]], ["keys-not-tried"])
        self.assertFalse(os.path.exists(self.beside("another")))

        self.check_status()
        self.check_lock_and_unlock(recovery)
        self.check_keyslots()
        for path, was in before.items():
            manifest.same(was, manifest.take(path), ["atime"])  # the test has listed it
            before[path] = manifest.take(path)

        self.assertTrue(self.json("unprotect", "v")["changed"])
        for path, was in before.items():
            self.assertEncrypted(path, False)
            manifest.same(was, manifest.take(path))
        self.assertFalse(self.json("unprotect", "v")["changed"])
        self.assertTrue(self.json("protect", self.tree, "--vault", "v")["changed"])

        self.check_erase(recovery)
        self.d.fsck()

    def check_status(self):
        vault = self.status()
        self.assertEqual(list(vault), ["name", "id", "state", "filesystem", "directories", "keyslots", "conversion",
                                       "born_encrypted", "protected_since"])
        self.assertEqual((vault["name"], vault["state"], vault["filesystem"]), ("v", "unlocked", self.d.path))
        self.assertEqual(vault["directories"], sorted([self.tree, self.torture]))
        self.assertEqual(sorted(slot["kind"] for slot in vault["keyslots"]), ["keyfile", "recovery"])
        self.assertEqual((vault["conversion"], vault["born_encrypted"]), (None, False))
        for moment in [vault["protected_since"], *(slot["created"] for slot in vault["keyslots"])]:
            self.assertRegex(moment, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        text = self.call("status", expect=husk.DONE).out
        for words in ["vault v: unlocked", self.tree, vault["id"], vault["keyslots"][0]["id"]]:
            self.assertIn(words, text)

    def check_lock_and_unlock(self, recovery):
        names = os.listdir(self.tree)
        self.assertTrue(self.json("lock", "v")["changed"])
        self.assertFalse(self.json("lock", "v")["changed"])
        self.assertNotIn("file2", os.listdir(self.tree))
        for key in [("--keyfile", self.keyfile), ("--recovery-key-file", recovery)]:
            done = self.json("unlock", "v", *key)
            self.assertTrue(done["changed"])
            self.assertEqual(done["result"]["vaults"][0]["state"], "unlocked")
            self.assertCountEqual(os.listdir(self.tree), names)
            self.assertFalse(self.json("unlock", "v", *key)["changed"])
            self.json("lock", "v")
        self.json("unlock", "v", "--keyfile", self.keyfile)

    def check_keyslots(self):
        added = self.json("keyslot add", "v", "--passphrase-file", "-", "--with-keyfile", self.keyfile,
                          stdin=b"correct horse\n")
        self.assertEqual(len(added["result"]["added"]), 1)
        slots = self.keyslots()
        self.assertEqual(sorted(slots), ["keyfile", "passphrase", "recovery"])
        exported = self.json("keyslot export", "v", slots["passphrase"], self.beside("exported"))
        self.assertIn("key-copy", document.kinds(exported))
        self.assertEqual(os.stat(self.beside("exported")).st_size, 4096)
        removed = self.json("keyslot remove", "v", slots["passphrase"])
        self.assertIn("keyslot-in-snapshots", document.kinds(removed))
        self.assertEqual(removed["result"]["steps"][0], {"step": "overwritten", "outcome": "done"})
        self.assertFalse(self.json("keyslot remove", "v", slots["passphrase"])["changed"])
        self.assertEqual(sorted(self.keyslots()), ["keyfile", "recovery"])

    def check_erase(self, recovery):
        report = self.beside("report")
        self.call("erase", "v", "--certificate", report, expect=husk.USAGE)
        self.assertEqual(self.state(), "unlocked")
        erased = self.json("erase", "v", "--confirm", "v", "--certificate", report)
        self.assertTrue(erased["changed"])
        self.assertNotEqual(erased["result"]["vaults"][0]["plaintext_before"], "COMPLETE")
        self.assertTrue(os.path.exists(report))
        self.assertEqual(self.state(), "erased")
        for key in [("--keyfile", self.keyfile), ("--recovery-key-file", recovery)]:
            self.assertEqual(self.json("unlock", "v", *key, expect=husk.REFUSED)["error"]["code"], "erased")
        self.d.remount()
        self.assertEqual(self.json("unlock", "v", "--keyfile", self.keyfile, expect=husk.REFUSED)["error"]["code"],
                         "erased")
        self.assertFalse(self.json("erase", "v", "--confirm", "v")["changed"])


class SeveralVaultsTest(Job):
    """Two vaults on one filesystem and one on another below the same host."""

    def setUp(self):
        super().setUp()
        self.other = self.enterContext(disk.ext4(size_mib=32))
        os.mkdir(self.path("mnt"))
        disk.run("mount", "--bind", self.other.path, self.path("mnt"))
        self.addCleanup(disk.unmount, self.path("mnt"))
        self.second = self.make_tree("srv/second")
        self.third = self.make_tree("mnt/third")
        self.keys = {name: husk.keyfile(self.d.directory, name) for name in ("one", "two", "three")}
        for name, path in (("one", self.tree), ("two", self.second), ("three", self.third)):
            self.call("protect", path, "--vault", name, "--keyfile", self.keys[name], "--skip-free-space",
                      expect=husk.DONE)

    def states(self):
        return {vault["name"]: vault["state"] for vault in self.json("status")["result"]["vaults"]}

    def test_one_of_several_has_to_be_named(self):
        self.assertEqual(list(self.states()), ["one", "three", "two"])
        done = self.call("lock", expect=husk.USAGE)
        self.assertIn("one, three, two", done.err)
        self.assertEqual(set(self.states().values()), {"unlocked"})
        self.call("lock", "two", expect=husk.DONE)
        self.assertEqual(self.states(), {"one": "unlocked", "two": "locked", "three": "unlocked"})
        found = self.json("unlock", "two", "--keyfile", self.keys["one"], expect=husk.REFUSED)
        self.assertEqual(found["error"]["code"], "wrong-key")

    def test_all_goes_on_where_one_fails(self):
        locked = self.json("lock", "--all")
        self.assertEqual({vault["name"] for vault in locked["result"]["vaults"]}, {"one", "two", "three"})
        self.assertEqual(set(self.states().values()), {"locked"})
        found = self.json("unlock", "--all", "--keyfile", self.keys["one"], "--keyfile", self.keys["three"],
                          expect=husk.INCOMPLETE)
        self.assertEqual([finding["subject"] for finding in found["findings"]], ["two"])
        self.assertEqual(self.states(), {"one": "unlocked", "two": "locked", "three": "unlocked"})
        self.json("unlock", "--all", *(word for key in self.keys.values() for word in ("--keyfile", key)))
        self.assertEqual(set(self.states().values()), {"unlocked"})

    def test_a_vault_stays_on_one_filesystem(self):
        path = self.make_tree("mnt/more")
        found = self.json("protect", path, "--vault", "one", expect=husk.REFUSED)
        self.assertIn("one filesystem", found["error"]["remedy"])
        self.json("check", path, self.tree, expect=husk.USAGE)
        self.assertFalse(sys_calls.is_encrypted(path))

    def test_all_are_erased_with_the_name_of_the_host(self):
        os.mkdir(self.path("etc"))
        with open(self.path("etc/hostname"), "w") as file:
            file.write("given-back\n")
        self.call("erase", "--all", "--confirm", "one", expect=husk.USAGE)
        report = self.beside("report")
        found = self.json("erase", "--all", "--confirm", "given-back", "--certificate", report)
        self.assertEqual(len(found["result"]["reports"]), 3)
        self.assertEqual(set(self.states().values()), {"erased"})
        with open(report) as file:
            self.assertEqual(len(file.read().splitlines()), 3)
        found = self.json("erase", "--all", "--confirm", "given-back")
        self.assertFalse(found["changed"])


if __name__ == "__main__":
    unittest.main()
