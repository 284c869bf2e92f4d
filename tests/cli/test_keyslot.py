"""husk keyslot: adding with a key that opens, removing but for the last, exporting, ids."""

import os
import unittest

import document
import husk
from job import Job, needs_faults


class KeyslotTest(Job):
    def setUp(self):
        super().setUp()
        self.protect()
        self.second = husk.keyfile(self.d.directory, "second")

    def add(self, *words, expect=husk.DONE, **options):
        return self.json("keyslot add", "v", *words, expect=expect, **options)

    def add_second(self):
        return self.add("--keyfile", self.second, "--with-keyfile", self.keyfile)

    def ids(self):
        return [slot["id"] for slot in self.json("keyslot list", "v")["result"]["keyslots"]]


class AddTest(KeyslotTest):
    def test_which_key_is_new_and_which_one_opens(self):
        self.assertEqual(self.call("keyslot", "add", "v", "--with-keyfile", self.keyfile).expect(husk.USAGE).out, "")
        self.assertEqual(self.add("--keyfile", self.second, expect=husk.REFUSED)["error"]["code"], "wrong-key")
        error = self.add("--keyfile", self.second, "--with-keyfile", self.second, expect=husk.REFUSED)["error"]
        self.assertEqual(error["code"], "wrong-key")
        self.assertEqual(len(self.ids()), 1)
        error = self.add("--keyfile", self.second, expect=husk.REFUSED)["error"]
        self.assertIn("--with-keyfile", error["remedy"])
        found = self.add_second()
        self.assertIn("local-keyslot", document.kinds(found))
        self.assertEqual(len(found["result"]["keyslots"]), 2)
        self.lock()
        self.json("unlock", "v", "--keyfile", self.second)

    def test_who_gives_only_the_new_key_is_told_that_one_that_opens_is_missing(self):
        with open(self.beside("new"), "w") as file:
            file.write("correct horse battery")
        for _ in range(2):
            found = self.json("keyslot add", "v", "--passphrase-file", self.beside("new"), expect=husk.REFUSED)
            self.assertEqual(found["error"]["message"], "no key that opens vault v was given")
            self.assertIn("--with-keyfile F", found["error"]["remedy"])
            self.lock()

    def test_an_erased_vault_has_none(self):
        self.call("erase", "v", "--confirm", "v", expect=husk.DONE)
        self.assertIn("\n  none\n", self.call("keyslot", "list", "v", expect=husk.DONE).out)

    def test_a_key_that_opens_already_gets_no_second_keyslot(self):
        self.add_second()
        self.assertFalse(self.add("--keyfile", self.second)["changed"])
        self.assertTrue(self.add("--passphrase-file", "-", "--with-keyfile", self.second, stdin=b"correct horse")["changed"])
        self.assertFalse(self.add("--passphrase-file", "-", stdin=b"correct horse\n")["changed"])
        self.assertEqual(len(self.ids()), 3)

    def test_a_locked_vault_is_opened_for_it_and_locked_again(self):
        self.lock()
        (slot,) = self.add_second()["result"]["added"]
        self.assertEqual(self.state(), "locked")
        self.json("keyslot export", "v", slot, self.beside("export"), "--with-keyfile", self.keyfile)
        self.assertEqual(self.state(), "locked")
        self.json("keyslot remove", "v", slot, expect=husk.REFUSED)
        self.json("keyslot remove", "v", slot, "--with-keyfile", self.keyfile)
        self.assertEqual(self.state(), "locked")

    @needs_faults
    def test_one_that_could_not_be_added_is_not_left_in_free_blocks(self):
        """What no manifest tells of would open the vault with the key that was refused."""
        for fault in ("file.rename:eio", "vault.manifest.write:enospc"):
            with self.subTest(fault):
                self.add("--passphrase-file", "-", "--with-keyfile", self.keyfile, stdin=b"correct horse",
                         expect=husk.FAILED, fault=fault)
                self.assertEqual(len(self.ids()), 1)
        self.d.unmount()
        with open(self.d.device, "rb") as disk:
            self.assertEqual(disk.read().count(b"HUSKSLOT"), 1)
        self.d.mount()

    def test_several_keys_at_once(self):
        first = self.ids()
        found = self.add("--keyfile", self.second, "--passphrase-file", "-", "--recovery-out", self.beside("recovery"),
                         "--with-keyfile", self.keyfile, stdin=b"correct horse\n")
        self.assertEqual(len(found["result"]["added"]), 3)
        self.assertEqual(sorted(found["result"]["added"] + first), self.ids())
        for words in [("--keyfile", self.second), ("--passphrase-file", "-"),
                      ("--recovery-key-file", self.beside("recovery"))]:
            self.lock()
            self.json("unlock", "v", *words, stdin=b"correct horse")
        # A second time nothing is to be done, the file of the recovery key included.
        again = self.add("--keyfile", self.second, "--recovery-out", self.beside("recovery"))
        self.assertFalse(again["changed"])

    def test_a_recovery_key_opens_for_a_new_one(self):
        self.add("--recovery-out", self.beside("recovery"), "--with-keyfile", self.keyfile)
        found = self.add("--recovery-out", self.beside("recovery2"), "--with-recovery-key-file",
                         self.beside("recovery"))
        self.assertEqual(len(found["result"]["added"]), 1)
        self.assertEqual(self.add("--recovery-out", self.keyfile, "--with-keyfile", self.keyfile,
                                  expect=husk.REFUSED)["error"]["code"], "exists")


class RemoveTest(KeyslotTest):
    def test_each_step_is_reported_and_the_key_opens_no_more(self):
        first = self.ids()[0]
        self.add_second()
        done = self.call("keyslot", "remove", "v", first, expect=husk.DONE)
        for step in ("overwritten", "re-read", "unlinked"):
            self.assertRegex(done.out, rf"(?m)^  {step} +done$")
        self.assertIn("snapshots", done.out)
        self.assertFalse(os.path.exists(self.path(".husk/vaults/v/keyslots", first)))
        self.lock()
        self.json("unlock", "v", "--keyfile", self.keyfile, expect=husk.REFUSED)
        self.json("unlock", "v", "--keyfile", self.second)

    def test_the_last_recovery_key_goes_with_a_warning(self):
        added = [self.add("--recovery-out", self.beside(name), "--with-keyfile", self.keyfile)["result"]["added"][0]
                 for name in ("recovery", "recovery2")]
        told = [document.kinds(self.json("keyslot remove", "v", slot)).count("no-recovery-key") for slot in added]
        self.assertEqual(told, [0, 1])

    def test_the_last_one_stays(self):
        (last,) = self.ids()
        found = self.json("keyslot remove", "v", last, expect=husk.REFUSED)
        self.assertIn(f"husk erase --at {self.d.path} v --confirm v", found["error"]["remedy"])
        self.assertIn(f"husk keyslot add --at {self.d.path} v --recovery-out F", found["error"]["remedy"])
        self.assertEqual(self.ids(), [last])

    def test_the_last_one_that_can_be_read_stays(self):
        first = self.ids()[0]
        added = self.add_second()["result"]["added"][0]
        with open(self.path(".husk/vaults/v/keyslots", added), "wb") as file:
            file.write(b"damaged")
        self.json("keyslot remove", "v", first, expect=husk.REFUSED)
        self.json("keyslot remove", "v", added)
        self.assertEqual(self.ids(), [first])

    def test_a_damaged_ciphertext_is_no_keyslot_that_opens(self):
        first = self.ids()[0]
        added = self.add_second()["result"]["added"][0]
        path = self.path(".husk/vaults/v/keyslots", added)
        with open(path, "rb") as file:
            whole = file.read()
        for at in (64, 130, 160, 199):  # salt, nonce, ciphertext, tag
            with open(path, "wb") as file:
                file.write(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
            found = self.json("keyslot remove", "v", first, expect=husk.REFUSED)
            self.assertIn("not damaged", found["error"]["message"])
            self.assertIn("keyslot-damaged", document.kinds(self.json("keyslot list", "v")))
        self.json("keyslot remove", "v", added)
        self.assertEqual(self.ids(), [first])
        self.lock()
        self.json("unlock", "v", "--keyfile", self.keyfile)

    def test_damaged_padding_and_a_damaged_checksum_open_all_the_same(self):
        path = self.path(".husk/vaults/v/keyslots", self.ids()[0])
        with open(path, "r+b") as file:
            file.seek(200)
            file.write(bytes(1000))
        self.lock()
        self.json("unlock", "v", "--keyfile", self.keyfile)
        self.assertIn("keyslot-damaged", document.kinds(self.json("keyslot list", "v")))

    def test_ids_can_be_shortened(self):
        self.add_second()
        first, second = self.ids()
        self.assertEqual(self.json("keyslot remove", "v", first[:3], expect=husk.USAGE)["error"]["code"], "usage")
        self.assertEqual(self.json("keyslot remove", "v", "0" * 33, expect=husk.FAILED)["error"]["code"], "not-found")
        self.assertEqual(self.json("keyslot remove", "v", "zzzz", expect=husk.FAILED)["error"]["code"], "not-found")
        self.json("keyslot remove", "v", first[:8])
        self.assertEqual(self.ids(), [second])
        again = self.json("keyslot remove", "v", first[:8])
        self.assertFalse(again["changed"])

    def test_the_place_of_a_keyfile_is_forgotten_with_its_last_keyslot(self):
        recorded = husk.keyfile(self.d.path, "recorded")
        self.add("--keyfile", recorded, "--passphrase-file", "-", "--with-keyfile", self.keyfile,
                 stdin=b"correct horse")
        self.lock()
        self.json("unlock", "v")
        told = self.json("keyslot list", "v")["result"]
        self.assertEqual(told["keyfiles"], ["/recorded"])
        for slot in told["keyslots"]:
            if slot["kind"] == "keyfile":
                self.json("keyslot remove", "v", slot["id"])
        with open(self.path(".husk/host.json")) as file:
            self.assertNotIn("recorded", file.read())
        with open(self.path(".husk/host.json"), "w") as file:
            file.write("{")
        found = self.json("keyslot list", "v")
        self.assertEqual((len(found["result"]["keyslots"]), found["result"]["keyfiles"]), (1, []))
        self.assertIn("host-unreadable", document.kinds(found))


class ExportTest(KeyslotTest):
    def test_an_exported_keyslot_is_the_file_and_is_remembered(self):
        (slot,) = self.ids()
        target = self.beside("exported")
        found = self.json("keyslot export", "v", slot, target)
        self.assertTrue(found["changed"])
        with open(target, "rb") as copy, open(self.path(".husk/vaults/v/keyslots", slot), "rb") as kept:
            self.assertEqual(copy.read(), kept.read())
        self.assertEqual(os.stat(target).st_mode & 0o777, 0o600)
        self.assertFalse(self.json("keyslot export", "v", slot, target)["changed"])
        self.assertRegex(self.json("keyslot list", "v")["result"]["keyslots"][0]["exported"], r"^20\d\d-")
        self.assertRegex(self.call("keyslot", "list", "v").out, f"{slot}  keyfile .*  exported 20[-0-9T:]+Z\n")
        erased = self.json("erase", "v", "--confirm", "v")
        self.assertIn("key-copy-export", document.kinds(erased))

    def test_removing_it_names_the_file_that_stays(self):
        self.add_second()
        first, second = self.ids()
        self.json("keyslot export", "v", first, self.beside("exported"))
        self.assertIn("key-copy-export", document.kinds(self.json("keyslot remove", "v", first,
                                                                  "--with-keyfile", self.keyfile)))

    def test_on_a_read_only_filesystem_nothing_is_tried(self):
        self.d.remount("ro")
        for verb, *words in (("keyslot add", "v", "--passphrase-file", "-"), ("keyslot remove", "v", "abcd"),
                             ("keyslot export", "v", "abcd", self.beside("copy"))):
            error = self.json(verb, *words, "--with-keyfile", self.keyfile, stdin=b"correct horse",
                              expect=husk.REFUSED)["error"]
            self.assertIn(f"mount -o remount,rw {self.d.path}", error["remedy"], verb)

    def test_no_file_is_overwritten(self):
        (slot,) = self.ids()
        self.assertEqual(self.json("keyslot export", "v", slot, self.keyfile, expect=husk.REFUSED)["error"]["code"],
                         "exists")
        self.assertEqual(os.stat(self.keyfile).st_size, 64)
        os.symlink(self.beside("nowhere"), self.beside("dangling"))
        self.json("keyslot export", "v", slot, self.beside("no/such"), expect=husk.FAILED)
        self.json("keyslot export", "v", slot, "/dev/full", expect=husk.REFUSED)


if __name__ == "__main__":
    unittest.main()
