"""husk unlock, lock and status: which keys are tried, what stops an unlock, files in use, a rescue system."""

import json
import os
import shutil
import subprocess
import unittest

import disk
import document
import husk
import sys_calls
from job import Job, needs_faults


class UnlockTest(Job):
    def setUp(self):
        super().setUp()
        self.protect()
        self.other = husk.keyfile(self.d.directory, "other")

    def error(self, *words, expect=husk.REFUSED, **options):
        return self.json("unlock", *words, expect=expect, **options)["error"]

    def test_any_of_several_keys_opens(self):
        self.lock()
        with open(self.beside("pass"), "w") as file:
            file.write("not the passphrase\n")
        found = self.json("unlock", "v", "--keyfile", self.other, "--passphrase-file", self.beside("pass"),
                          "--keyfile", self.keyfile)
        self.assertEqual(found["result"]["vaults"], [{"name": "v", "state": "unlocked", "opened_by": "keyfile"}])

    def test_a_wrong_key_is_refused_and_nothing_is_opened(self):
        self.lock()
        for words in [("--keyfile", self.other), ("--passphrase-file", "-")]:
            error = self.error("v", *words, stdin=b"a wrong passphrase\n")
            self.assertEqual(error["code"], "wrong-key")
            self.call("unlock", "v", *words, stdin=b"a wrong passphrase\n").expect_error_line(husk.REFUSED)
        self.assertEqual(self.state(), "locked")

    def test_keys_are_tried_where_it_is_open_already(self):
        """Who asks whether a key opens the vault, before another goes, is not deceived."""
        slots = os.listdir(self.path(".husk/vaults/v/keyslots"))
        self.assertEqual(self.error("v", "--keyfile", self.other)["code"], "wrong-key")
        found = self.json("unlock", "v", "--keyfile", self.other, "--keyfile", self.keyfile)
        self.assertFalse(found["changed"])
        self.assertEqual(found["result"]["vaults"], [{"name": "v", "state": "unlocked", "opened_by": "keyfile"}])
        self.assertIn("unlocked already, and the keyfile that was given opens it", found["result"]["truths"][0])
        self.assertIsNone(self.json("unlock", "v")["result"]["vaults"][0]["opened_by"])
        self.assertEqual(os.listdir(self.path(".husk/vaults/v/keyslots")), slots)

    @needs_faults
    def test_an_unfinished_conversion_is_told(self):
        second = self.make_tree("second")
        self.assertTrue(self.protect(second, expect=None, fault="convert.exchanged:crash").crashed)
        self.d.remount()
        for _ in range(2):
            found = self.json("unlock", "v", "--keyfile", self.keyfile)
            self.assertIn("conversion-under-way", document.kinds(found))
        self.protect(second)
        self.assertEqual(self.json("unlock", "v")["findings"], [])

    def test_without_vault_json_or_keyslots_what_is_to_be_put_back_has_its_path(self):
        self.lock()
        home, beside = self.path(".husk/vaults/v"), self.beside("kept")
        (slot,) = os.listdir(os.path.join(home, "keyslots"))
        for name, put_back in (("vault.json", f"{home}/vault.json"), (f"keyslots/{slot}", f"{home}/keyslots/ID")):
            shutil.move(os.path.join(home, name), beside)
            error = self.error("v", "--keyfile", self.keyfile, expect=husk.FAILED)
            self.assertIn(put_back, error["remedy"])
            shutil.copy(beside, os.path.join(home, name))
            self.json("unlock", "v", "--keyfile", self.keyfile)
            self.lock()

    def test_a_wrong_key_is_named_as_people_call_it(self):
        self.lock()
        error = self.error("v", "--passphrase-file", "-", stdin=b"a wrong passphrase\n")
        self.assertEqual(error["message"], "the only keyslot of the vault v does not open with standard input")

    def test_a_mistyped_recovery_key_says_how_one_looks(self):
        self.lock()
        error = self.error("v", "--recovery-key-file", "-", stdin=b"husk-ABCDE\n", expect=husk.USAGE)
        self.assertIn("5 letters instead of 65", error["message"])
        self.assertIn("thirteen groups of five", error["remedy"])

    def test_no_key_names_the_options(self):
        self.lock()
        error = self.error()
        for option in ("--keyfile", "--passphrase-file", "--recovery-key-file"):
            self.assertIn(option, error["remedy"])

    def test_a_name_that_is_no_vault(self):
        self.assertEqual(self.error("w", "--keyfile", self.keyfile, expect=husk.FAILED)["code"], "not-found")
        self.assertEqual(self.json("status", "w", expect=husk.FAILED)["error"]["code"], "not-found")
        self.assertEqual(self.json("lock", "w", expect=husk.FAILED)["error"]["code"], "not-found")

    def test_without_a_vault(self):
        with disk.ext4(size_mib=32) as empty:
            at = ("--at", empty.path)
            self.assertIn("no vault", husk.ok("status", *at).out)
            self.assertEqual(document.run("status", *at, expect=husk.DONE)[1]["result"], {"vaults": []})
            husk.run("unlock", *at).expect_error_line(husk.FAILED)
            self.assertFalse(document.run("unlock", "--all", *at, expect=husk.DONE)[1]["changed"])
            self.assertFalse(document.run("lock", "--all", *at, expect=husk.DONE)[1]["changed"])
            self.assertNotIn(".husk", os.listdir(empty.path))

    def test_a_directory_that_was_replaced_stops_it_and_is_named(self):
        self.call("keyslot", "add", "v", "--passphrase-file", "-", "--with-keyfile", self.keyfile,
                  stdin=b"correct horse", expect=husk.DONE)
        self.lock()
        os.rename(self.tree, self.tree + ".old")
        os.mkdir(self.tree)
        found = self.json("unlock", "v", "--keyfile", self.keyfile, expect=husk.REFUSED)
        self.assertEqual(found["error"]["code"], "changed")
        self.assertIn(self.tree, json.dumps(found["findings"]))
        self.assertIn("--accept-changes", found["error"]["remedy"])
        self.assertIn("put it back", found["error"]["remedy"])
        self.assertEqual(self.state(), "locked")
        # A keyfile cannot accept it, nor can the keyfile that is recorded.
        self.assertEqual(self.error("v", "--accept-changes", "--keyfile", self.keyfile)["code"], "denied")
        self.assertEqual(self.state(), "locked")
        found = self.json("unlock", "v", "--accept-changes", "--passphrase-file", "-", stdin=b"correct horse")
        self.assertTrue(found["changed"])
        self.lock()
        self.json("unlock", "v", "--keyfile", self.keyfile)

    def test_a_rescue_system_reads_a_disk_that_has_become_read_only(self):
        self.d.remount("ro")
        self.assertEqual(self.state(), "locked")
        self.json("unlock", "v", "--keyfile", self.keyfile)
        self.assertIn("file2", os.listdir(self.tree))
        self.json("lock", "v")
        self.assertNotIn("file2", os.listdir(self.tree))

    def test_secrets_are_in_no_output(self):
        with open(self.keyfile, "rb") as file:
            secret = file.read()
        self.lock()
        for done in (self.call("unlock", "v", "--keyfile", self.keyfile, json=True), self.call("status", json=True)):
            for form in (secret.hex(), secret[:16].hex()):
                self.assertNotIn(form, done.out + done.err)


class RecordedKeyfileTest(Job):
    def setUp(self):
        super().setUp()
        self.keyfile = husk.keyfile(self.d.path)
        self.protect()

    def test_one_that_is_lost_or_another(self):
        self.lock()
        os.remove(self.keyfile)
        error = self.json("unlock", "v", "--keyfile", self.keyfile, expect=husk.FAILED)["error"]
        self.assertIn("put the keyfile back", error["remedy"])
        self.keyfile = husk.keyfile(self.d.path)
        error = self.json("unlock", "v", expect=husk.REFUSED)["error"]
        self.assertEqual(error["message"], "no keyfile that this host records opens vault v")
        self.assertIn("--recovery-key-file", error["remedy"])

    def test_an_unprotect_that_is_refused_says_that_it_unlocked(self):
        self.lock()
        user = subprocess.Popen(["sleep", "60"], cwd=self.tree)
        try:
            found = self.json("unprotect", "v", expect=husk.REFUSED)
        finally:
            user.kill()
            user.wait()
        self.assertTrue(found["changed"])
        self.assertEqual(found["result"]["truths"], ["vault v is unlocked, by its keyfile"])
        self.assertEqual(self.state(), "unlocked")

    def test_an_unprotect_without_directories_says_so(self):
        stays = ("the vault v stays, with its keyslots and no directory: "
                 f"husk erase --at {self.d.path} v --confirm v destroys it, and with it what was moved out of its "
                 "directories before: that is encrypted still, and nothing tells where it lies")
        self.assertEqual(self.json("unprotect", "v")["result"]["truths"][-1], stays)
        found = self.json("unprotect", "v")
        self.assertFalse(found["changed"])
        self.assertEqual(found["result"]["truths"], ["the vault v protects no directory", stays])
        self.assertIn("  directory   none\n", self.call("status", "v").out)


class LockTest(Job):
    def setUp(self):
        super().setUp()
        self.protect()

    def test_files_in_use_are_named_and_the_state_is_told_truly(self):
        with open(os.path.join(self.tree, "file2"), "rb") as held:
            found = self.json("lock", "v", expect=husk.INCOMPLETE)
            self.assertTrue(found["changed"])
            self.assertEqual(found["error"]["code"], "incomplete")
            self.assertIn(str(os.getpid()), json.dumps(found["findings"]))
            self.assertIn("file2", json.dumps(found["findings"]))
            self.assertEqual(found["result"]["vaults"], [{"name": "v", "state": "busy"}])
            self.assertEqual(self.state(), "busy")
            self.assertEqual(len(held.read()), 200)
            self.call("lock", "v").expect_error_line(husk.INCOMPLETE)
        self.assertTrue(self.json("lock", "v")["result"]["vaults"][0]["state"] == "locked")
        self.assertEqual(self.state(), "locked")

    def test_a_busy_vault_can_be_unlocked_again(self):
        with open(os.path.join(self.tree, "file2"), "rb"):
            self.call("lock", "v", expect=husk.INCOMPLETE)
            self.json("unlock", "v", "--keyfile", self.keyfile)
            self.assertEqual(self.state(), "unlocked")
            self.assertIn("file2", os.listdir(self.tree))


class DamageTest(Job):
    """A vault whose files are damaged: status tells, unlock refuses, the others go on."""

    def setUp(self):
        super().setUp()
        self.protect()
        self.lock()
        self.header = self.path(".husk/vaults/v/vault.json")

    def test_where_there_is_only_a_keyfile_it_accepts_the_loss_of_a_directory(self):
        self.lock()
        os.rename(self.tree, self.path("kept-aside"))
        self.assertEqual(self.json("unlock", "v", "--keyfile", self.keyfile, expect=husk.REFUSED)["error"]["code"],
                         "changed")
        self.json("unlock", "v", "--accept-changes", "--keyfile", self.keyfile)
        self.lock()
        self.json("unlock", "v", "--keyfile", self.keyfile)
        self.lock()

    def test_a_header_that_cannot_be_read(self):
        shutil.copytree(self.path(".husk/vaults/v"), self.path(".husk/vaults/w"), symlinks=True,
                        ignore=shutil.ignore_patterns("private"))
        with open(self.header) as file:
            whole = file.read()
        for text, code in [(whole[:100], "corrupt"), ("", "corrupt"), (whole.replace('"version":1', '"version":2', 1),
                                                                       "too-new")]:
            with open(self.header, "w") as file:
                file.write(text)
            found = self.json("status", expect=husk.INCOMPLETE)
            self.assertIn("vault-unreadable", document.kinds(found))
            status = husk.REFUSED if code == "too-new" else husk.FAILED
            for verb in ("status", "keyslot list"):
                self.assertEqual(self.json(verb, "v", expect=status)["error"]["code"], code)
            self.json("lock", "v")
            self.assertEqual(self.json("unlock", "v", "--keyfile", self.keyfile, expect=status)["error"]["code"], code)

    def test_a_manifest_that_was_changed_is_not_believed(self):
        with open(self.header) as file:
            outside = json.load(file)
        body = outside["body"].replace('"born_encrypted":false', '"born_encrypted":true')
        self.assertNotEqual(body, outside["body"])
        with open(self.header, "w") as file:
            json.dump(dict(outside, body=body), file)
        found = self.json("unlock", "v", "--keyfile", self.keyfile, expect=husk.REFUSED)
        self.assertEqual(found["error"]["code"], "changed")
        self.assertEqual(self.state(), "locked")

    def test_damaged_keyslots_are_told_and_the_others_tried(self):
        self.call("keyslot", "add", "v", "--passphrase-file", "-", "--with-keyfile", self.keyfile,
                  stdin=b"correct horse", expect=husk.DONE)
        slots = self.keyslots()
        path = self.path(".husk/vaults/v/keyslots", slots["keyfile"])
        with open(path, "rb") as file:
            whole = file.read()
        for damaged in (whole[:4095], b"", b"X" + whole[1:], whole[:8] + b"\2" + whole[9:]):
            with open(path, "wb") as file:
                file.write(damaged)
            listed = self.json("keyslot list", "v")
            self.assertIn("keyslot-unreadable", document.kinds(listed))
            self.assertEqual(sorted(slot["kind"] for slot in listed["result"]["keyslots"]),
                             ["passphrase", "unreadable"])
            self.json("unlock", "v", "--keyfile", self.keyfile, expect=husk.REFUSED)
            self.json("unlock", "v", "--passphrase-file", "-", stdin=b"correct horse")
            self.lock()
        # A bit of what is authenticated: it can be read and opens nothing.
        for at in (70, 100, 160):
            with open(path, "wb") as file:
                file.write(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
            self.json("unlock", "v", "--keyfile", self.keyfile, expect=husk.REFUSED)


class EncryptedDirectoryTest(Job):
    def test_a_locked_tree_can_be_unlocked_after_it_was_moved_to_another_machine(self):
        """The same image on another mount: what is recorded is relative to the filesystem."""
        self.protect()
        self.d.unmount()
        elsewhere = self.beside("elsewhere")
        os.mkdir(elsewhere)
        disk.run("mount", self.d.device, elsewhere)
        try:
            husk.ok("unlock", "v", "--keyfile", self.keyfile, "--at", elsewhere)
            self.assertIn("file2", os.listdir(f"{elsewhere}/srv/data"))
            vault = document.run("status", "--at", elsewhere, expect=husk.DONE)[1]["result"]["vaults"][0]
            self.assertEqual(vault["directories"], [f"{elsewhere}/srv/data"])
        finally:
            disk.unmount(elsewhere)
        self.d.mount()


if __name__ == "__main__":
    unittest.main()
