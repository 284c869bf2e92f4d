"""An erase between a host and its authorities: what is done where, what is not believed, what survives a kill."""

import contextlib
import json
import os
import re
import shutil
import sqlite3
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cli"))

import authority
import disk
import document
import husk
import known_address
from job import needs_faults
from test_host import HostTest


class EraseCase(HostTest):
    def holder(self):
        """On another filesystem: an image of the authority's opens nothing."""
        self.medium = self.enterContext(disk.tmpfs(1))
        return f"{self.medium.path}/holder"

    def erase(self, *words, expect=husk.DONE, **options):
        return self.json("erase", "v", "--confirm", "v", *words, expect=expect, **options)

    def erase_all(self, expect=husk.DONE, **options):
        return self.json("erase", "--all", "--confirm", "web-1", expect=expect, **options)

    def authority_only(self, how="auto"):
        """A vault that nothing but its authority opens."""
        self.authority.unlock_by(how)
        self.enroll()
        self.protect(key=("--authority",), expect=husk.DONE)

    def host(self, of=None):
        return (of or self.authority).admin("host show", "web-1")["hosts"][0]

    def verdict(self, found):
        return found["result"]["vaults"][0]["key_destruction"]

    def answers(self, found):
        return [item["answer"] for item in found["result"]["reports"][0]["done_by_authority"]]

    def second_authority(self):
        other = self.enterContext(known_address.running(holder=f"{self.medium.path}/other"))
        other.unlock_by("auto")
        second = self.enroll(of=other)["result"]["authority"]
        self.json("keyslot add", "v", f"--authority={second[:8]}")
        return other

    def put_back(self, snapshot):
        """The disk as it was: .husk of a snapshot, and a boot."""
        self.d.remount()
        self.forget_boot()
        shutil.rmtree(self.path(".husk"))
        shutil.copytree(snapshot, self.path(".husk"))

    def snapshot(self, name="snapshot"):
        path = self.beside(name)
        shutil.copytree(self.path(".husk"), path, ignore=shutil.ignore_patterns("private"))
        return path


class EraseTest(EraseCase):
    def test_with_the_authority_there_it_is_complete(self):
        self.authority_only()
        keyslot = self.keyslots()["authority"]
        found = self.erase()
        self.assertEqual(self.verdict(found), "COMPLETE")
        (answer,) = self.answers(found)
        self.assertEqual(answer["keyslots"], [keyslot])
        self.assertEqual(self.state(), "erased")
        self.assertEqual(self.host()["keyslots"], 0)
        self.assertEqual(self.host()["state"], "active")
        kinds = [entry["kind"] for entry in self.authority.admin("ledger show")["entries"]]
        self.assertEqual(kinds[-3:], ["erase-begun", "erased", "done"])
        self.assertFalse(self.erase()["changed"])

    def test_of_a_locked_vault_the_keyslots_from_before_are_not_known(self):
        self.authority_only()
        self.lock()
        found = self.erase()
        self.assertEqual((self.verdict(found), self.state()), ("UNKNOWN", "erased"))
        self.assertEqual(self.host()["keyslots"], 0)

    def test_an_authority_that_is_away_keeps_it_incomplete_and_the_next_run_goes_on(self):
        self.authority_only()
        self.authority.end()
        for _ in range(2):
            found = self.erase(expect=husk.INCOMPLETE)
            self.assertIn("authority-not-reached", document.kinds(found))
            self.assertEqual(self.verdict(found), "INCOMPLETE")
            self.assertEqual((self.answers(found), self.state()), ([None], "erasing"))
            self.assertEqual(os.listdir(self.path(".husk/vaults/v/keyslots")), [])
        self.authority.start()
        found = self.erase()
        self.assertEqual((self.verdict(found), self.state()), ("COMPLETE", "erased"))
        self.assertEqual(self.host()["keyslots"], 0)

    def test_while_an_authority_is_away_it_is_not_called_erased_and_its_copies_are_said_to_open(self):
        self.authority_only()
        snapshot = self.snapshot()
        self.authority.end()
        for _ in range(2):
            done = self.call("erase", "v", "--confirm", "v", expect=husk.INCOMPLETE)
            self.assertNotRegex(done.out, "nothing opens it|erased before|vault v is erased")
            self.assertIn("vault v is not erased yet", done.out)
            self.assertIn("its keyslots on this disk are destroyed", done.out)
            self.assertIn("copies of the disk made before still open with its leave", done.out)
        self.put_back(snapshot)
        self.authority.start()
        self.unlock()  # which is why it says so

    def test_of_two_authorities_both_have_to_answer(self):
        self.authority_only()
        other = self.second_authority()
        other.end()
        found = self.erase(expect=husk.INCOMPLETE)
        self.assertEqual(sorted(answer is None for answer in self.answers(found)), [False, True])
        self.assertEqual(self.host()["keyslots"], 0)
        other.start()
        self.assertEqual(self.host(other)["keyslots"], 1)
        found = self.erase()
        self.assertNotIn(None, self.answers(found))
        self.assertEqual(self.host(other)["keyslots"], 0)

    def test_a_copy_of_the_disk_from_before_is_refused_for_ever(self):
        self.authority_only()
        snapshot = self.snapshot()
        self.erase()
        self.put_back(snapshot)
        for _ in range(2):
            self.assertEqual(self.unlock(expect=husk.REFUSED)["error"]["code"], "erased")
            self.authority.end()
            self.authority.start()
        self.assertEqual(self.state(), "locked")

    def test_a_recovery_key_is_named_and_the_verdict_is_unknown(self):
        self.ready()
        found = self.erase()
        self.assertEqual(self.verdict(found), "UNKNOWN")
        self.assertIn("key-copy-snapshot", document.kinds(found))

    @needs_faults
    def test_a_local_keyslot_that_a_crash_kept_out_of_the_manifest_is_named_and_the_verdict_is_unknown(self):
        """It opens the vault, also in a snapshot."""
        self.authority_only()
        self.assertTrue(self.call("keyslot", "add", "v", "--keyfile", self.keyfile, "--allow-bypass",
                                  fault="vault.keyslot.written:crash").crashed)
        unnamed = set(os.listdir(self.path(".husk/vaults/v/keyslots"))) - {self.keyslots()["authority"]}
        self.assertEqual(len(unnamed), 1)
        for _ in range(2):
            found = self.erase()
            self.assertEqual(self.verdict(found), "UNKNOWN")
            named = {item["subject"] for item in found["findings"] if item["kind"] == "key-copy-snapshot"}
            self.assertEqual(named, unnamed)
            self.assertEqual(found["result"]["reports"][0]["verdicts"]["key_destruction"], "UNKNOWN")

    def test_a_file_among_the_keyslots_that_cannot_be_read_makes_it_unknown(self):
        self.authority_only()
        with open(self.path(".husk/vaults/v/keyslots/other"), "wb") as file:
            file.write(b"x" * 4096)
        found = self.erase()
        self.assertEqual(self.verdict(found), "UNKNOWN")
        self.assertIn("key-copies-unknown", document.kinds(found))

    def test_a_keyslot_removed_earlier_is_erased_wherever_it_may_be_bound(self):
        """Its removal could not be told; that the authority still has the scalar nothing here says any more."""
        self.ready()
        self.json("keyslot add", "v", "--keyfile", self.keyfile, "--allow-bypass")
        self.authority.end()
        self.json("keyslot remove", "v", self.keyslots()["authority"], expect=husk.INCOMPLETE)
        self.erase(expect=husk.INCOMPLETE)
        self.authority.start()
        self.assertEqual(self.host()["keyslots"], 1)
        self.erase()
        self.assertEqual(self.host()["keyslots"], 0)

    def keep_authority(self):
        """As it is now; what is returned puts it back to that, as a restore of its disk does."""
        places = ((self.authority.path, self.beside("earlier")), (self.medium.path, self.beside("earlier-holder")))

        def put_back():
            self.authority.end()
            shutil.rmtree(self.authority.path)
            for place, earlier in places:
                shutil.copytree(earlier, place, dirs_exist_ok=True)
            self.authority.start()

        self.authority.end()
        for place, earlier in places:
            shutil.copytree(place, earlier)
        self.authority.start()
        return put_back

    def test_nor_is_one_that_was_removed_when_the_authority_knew_nothing_of_it(self):
        self.authority.unlock_by("auto")
        self.enroll()
        (first,) = [name[:-5] for name in os.listdir(self.path(".husk/authorities")) if name.endswith(".json")]
        put_back = self.keep_authority()
        self.protect(key=("--authority",), expect=husk.DONE)
        lost = self.keyslots()["authority"]
        self.second_authority()
        put_back()
        self.assertIn("keyslot-not-at-authority", document.kinds(self.json("keyslot remove", "v", lost)))
        self.json("keyslot add", "v", "--authority=" + first)
        found = self.erase()
        self.assertEqual(self.verdict(found), "UNKNOWN")
        self.assertIn("keyslot-not-at-authority", document.kinds(found))

    def test_a_keyslot_the_authority_knows_nothing_of_is_not_called_destroyed(self):
        """An authority put back to before the binding: a copy of it from after has the scalar."""
        self.authority.unlock_by("auto")
        self.enroll()
        put_back = self.keep_authority()
        self.protect(key=("--authority",), expect=husk.DONE)
        put_back()
        found = self.erase()
        self.assertEqual(self.verdict(found), "UNKNOWN")
        self.assertIn("keyslot-not-at-authority", document.kinds(found))

    def test_an_order_no_agent_heard_of_is_answered_by_who_carries_it_out(self):
        self.authority_only()
        self.authority.admin("host erase", "web-1", "--confirm", "web-1")
        self.lock()
        self.assertEqual(self.unlock(expect=husk.REFUSED)["error"]["code"], "erased")  # who asks that takes no order
        self.assertEqual([(order["state"], order["given_at"]) for order in self.host()["orders"]], [("waiting", None)])
        self.erase_all()
        self.assertEqual([(order["state"], order["outcome"]) for order in self.host()["orders"]], [("done", "done")])

    def test_a_host_that_is_not_enrolled_any_more_cannot_complete(self):
        self.authority_only()
        shutil.rmtree(self.path(".husk/authorities"))
        found = self.erase(expect=husk.INCOMPLETE)
        self.assertIn("authority-not-reached", document.kinds(found))
        self.assertEqual(self.verdict(found), "INCOMPLETE")

    def test_all_ends_the_host_and_its_identity_goes_last(self):
        self.authority_only()
        self.authority.end()
        self.erase_all(expect=husk.INCOMPLETE)
        self.assertTrue(os.path.exists(self.path(".husk/host.key")))
        self.authority.start()
        found = self.erase_all()
        self.assertEqual(self.verdict(found), "COMPLETE")
        self.assertFalse(os.path.exists(self.path(".husk/host.key")))
        self.assertEqual(self.host()["state"], "erased")
        self.assertFalse(self.erase_all()["changed"])

    def test_an_erased_host_is_enrolled_at_no_other_authority(self):
        self.ready()
        self.erase_all()
        other = self.enterContext(known_address.running())
        refused = self.enroll(of=other, expect=husk.REFUSED)["error"]
        self.assertEqual(refused["code"], "erased")
        self.assertIn("remove .husk", refused["remedy"])
        self.assertFalse(os.path.exists(self.path(".husk/host.key")))

    def test_the_identity_stays_while_one_authority_has_not_ended_the_host(self):
        self.authority_only()
        other = self.enterContext(known_address.running())
        self.enroll(of=other)  # no keyslot there
        other.end()
        found = self.erase_all(expect=husk.INCOMPLETE)
        self.assertEqual(self.verdict(found), "COMPLETE")
        self.assertIn("authority-not-reached", document.kinds(found))
        self.assertTrue(os.path.exists(self.path(".husk/host.key")))
        other.start()
        self.erase_all()
        self.assertFalse(os.path.exists(self.path(".husk/host.key")))
        self.assertEqual((self.host()["state"], self.host(other)["state"]), ("erased", "erased"))

    @needs_faults
    def test_a_kill_anywhere_is_made_up_for_by_the_same_command(self):
        """Those of an erase that has no authority are gone through by tests/cli as well."""
        points = [name for name in husk.list_faults() if name.startswith("erase.")]
        own = [name for name in points if re.search("authority|host|identity", name)]
        self.assertEqual(len(own), 6)
        points = points if os.environ.get("HUSK_TEST_LONG") else own
        for point in points:
            with self.subTest(point):
                self.doCleanups()
                self.setUp()
                self.authority_only()
                crashed = self.call("erase", "--all", "--confirm", "web-1", fault=f"{point}:crash").crashed
                self.assertTrue(crashed, f"{point} was not passed")
                if point != "erase.mark":
                    self.assertIn(self.state(), ("erasing", "erased"))
                    self.assertEqual(self.unlock(expect=husk.REFUSED)["error"]["code"], "erased")
                found = self.erase_all()
                self.assertEqual((self.verdict(found), self.state()), ("COMPLETE", "erased"))
                self.assertEqual((self.host()["keyslots"], self.host()["state"]), (0, "erased"))
                self.assertFalse(os.path.exists(self.path(".husk/host.key")))

    @needs_faults
    def test_a_mark_that_cannot_be_written_keeps_the_keyslots_from_nothing(self):
        self.authority_only()
        found = self.erase(fault="file.write:enospc:2")
        self.assertIn("progress-not-kept", document.kinds(found))
        self.assertEqual(os.listdir(self.path(".husk/vaults/v/keyslots")), [])
        self.assertEqual(self.verdict(found), "COMPLETE")


class CopiesOfTheAuthorityTest(EraseCase):
    """What opens a vault may also lie in copies of the authority."""

    def made_with(self, holder):
        self.authority.end()
        self.authority = self.enterContext(known_address.running(holder=holder))
        self.authority_only()

    def backup(self):
        self.authority.ok("backup", "--out", self.beside("bulk"), "--envelope-out", self.beside("envelope"),
                          "--backup-key-out", self.beside("backup.key"))

    def assert_named(self, *kinds):
        """As unknown, also when the same is said again."""
        for _ in range(2):
            found = self.erase()
            self.assertEqual((self.verdict(found), self.state()), ("UNKNOWN", "erased"))
            self.assertEqual([kind for kind in document.kinds(found) if kind.startswith("key-copy")], list(kinds))
            self.assertEqual(found["result"]["reports"][0]["verdicts"]["key_destruction"], "UNKNOWN")

    def test_an_authority_without_a_holder_names_images_of_its_disk(self):
        self.made_with(None)
        self.assert_named("key-copy-authority-image")

    def test_a_holder_on_the_filesystem_of_the_keyring_is_as_good_as_none(self):
        directory = authority.make_directory()
        self.addCleanup(shutil.rmtree, directory)
        self.made_with(f"{directory}/holder")
        self.assert_named("key-copy-authority-image")

    def test_a_backup_is_named(self):
        self.authority_only()
        self.backup()
        self.assert_named("key-copy-authority-backup")

    def test_a_backup_whose_envelope_is_declared_destroyed_and_one_from_before_the_keyslot_are_no_copies(self):
        self.backup()
        time.sleep(1.1)
        self.authority_only()
        self.authority.ok("backup", "--out", self.beside("bulk2"), "--envelope-out", self.beside("envelope2"))
        newest = max(self.authority.admin("keycopy list")["keycopies"], key=lambda copy: copy["reported_at"])
        self.assertEqual(newest["kind"], "backup")
        self.authority.ok("keycopy", "destroyed", newest["id"])
        self.assertEqual(self.verdict(self.erase()), "COMPLETE")

    def restore(self, holder):
        """At the same address, in another directory, from its backup; which is declared destroyed."""
        before, text = self.authority, self.beside("text")
        port, url = before.port, before.url
        before.end()
        restored = known_address.Server(self.beside("restored"), port=port, holder=holder)
        os.makedirs(restored.directory)
        authority.run("restore", "--dir", restored.path, "--bulk", self.beside("bulk"), "--envelope",
                      self.beside("envelope"), "--backup-key", self.beside("backup.key"), "--out", text,
                      "--address", url, "--holder", holder).expect(0)
        self.authority = restored.start()
        self.addCleanup(restored.end)
        restored.ok("descriptor", "sign", text, "--root", before.root, "--out", text + ".signed")
        restored.ok("descriptor", "install", text + ".signed")
        restored.ok("host", "release", "web-1")
        (backup,) = [copy for copy in restored.admin("keycopy list")["keycopies"] if copy["kind"] == "backup"]
        restored.ok("keycopy", "destroyed", backup["id"])

    def test_images_of_the_disk_an_authority_was_on_before_it_was_restored_are_named(self):
        self.made_with(None)
        self.backup()
        time.sleep(1.1)
        self.restore(f"{self.medium.path}/restored")
        self.assert_named("key-copy-authority-image")
        self.assertIn("key-copy-authority-image", document.kinds(self.erase_host()))

    def test_so_are_they_for_a_keyslot_of_a_time_when_the_clock_was_ahead(self):
        self.made_with(None)
        with contextlib.closing(sqlite3.connect(f"{self.authority.path}/authority.db", timeout=30)) as database, database:
            database.execute("UPDATE keyslots SET created_at = created_at + 86400")
        self.backup()
        self.restore(f"{self.medium.path}/restored")
        self.assert_named("key-copy-authority-image")

    def test_an_authority_that_had_a_holder_before_it_was_restored_names_none(self):
        self.authority_only()
        self.backup()
        time.sleep(1.1)
        self.restore(f"{self.medium.path}/restored")
        self.assertEqual(self.verdict(self.erase()), "COMPLETE")
        self.assertEqual(sorted(document.kinds(self.erase_host())), ["key-copies-unknown", "order-not-answered"])

    def erase_host(self):
        return self.authority.document("host", "erase", "web-1", "--confirm", "web-1")

    def test_what_an_erase_at_the_authority_does_not_reach_is_named_there(self):
        self.made_with(None)
        self.backup()
        found = self.erase_host()
        own = ["key-copy-authority-backup", "key-copy-authority-image", "key-copies-unknown"]
        self.assertEqual(sorted(document.kinds(found)), sorted(["order-not-answered"] + own))
        self.assertEqual((found["result"]["key_destruction"], found["result"]["keyslots"]), ("INCOMPLETE", 1))
        for what, name in (("host", "web-1"), ("group", "default")):
            done = self.authority.ok(what, "erase", name, "--confirm", name)
            self.assertIn("the authority's part of 1 keyslot is destroyed", done.out)
            self.assertNotRegex(done.out, "(is|are) erased")
            for said in ("order to erase", "an image of its disk", "1 backup of this authority", "never reported"):
                self.assertIn(said, done.out)
        self.erase_all()
        found = self.erase_host()
        self.assertEqual((sorted(document.kinds(found)), found["result"]["key_destruction"]), (sorted(own), "UNKNOWN"))

    def test_with_a_holder_and_without_backups_the_authority_names_no_copies_of_itself(self):
        self.authority_only()
        self.assertEqual(sorted(document.kinds(self.erase_host())), ["key-copies-unknown", "order-not-answered"])


class OrphanTest(EraseCase):
    """A scalar at the authority is for a keyslot that is on a disk."""

    @needs_faults
    def test_a_vault_that_is_not_made_leaves_none(self):
        self.authority.unlock_by("auto")
        self.enroll()
        self.protect(key=("--authority",), expect=husk.FAILED, fault="vault.create.header:enospc")
        self.assertFalse(os.path.exists(self.path(".husk/vaults/v")))
        self.assertEqual(self.host()["keyslots"], 0)

    @needs_faults
    def test_a_keyslot_that_is_not_added_leaves_none(self):
        self.authority.unlock_by("auto")
        self.protect()
        self.enroll()
        for point in ("vault.keyslot.write", "vault.manifest.write"):
            self.json("keyslot add", "v", "--authority", "--with-keyfile", self.keyfile, expect=husk.FAILED,
                      fault=f"{point}:enospc")
            self.assertEqual((list(self.keyslots()), self.host()["keyslots"]), (["keyfile"], 0), point)

    @needs_faults
    def test_where_it_cannot_be_told_that_is_said(self):
        self.authority.unlock_by("auto")
        self.enroll()
        process = self.enterContext(husk.paused("vault.create.header", "protect", self.tree, "--vault", "v",
                                                "--authority", "--at", self.d.path, "--skip-free-space", json=True))
        self.authority.end()
        os.chmod(self.path(".husk/vaults"), 0o700)
        shutil.rmtree(self.path(".husk/vaults/v.new"))  # the next write fails
        process.go_on()
        self.assertNotEqual(process.done.status, husk.DONE)
        self.assertIn("authority-not-told", document.kinds(json.loads(process.done.out)))

    def test_of_two_authorities_the_first_is_released_when_the_second_is_away(self):
        self.ready()
        other = self.enterContext(known_address.running())
        second = self.enroll(of=other)["result"]["authority"]
        tree = self.make_tree("srv/more")
        other.end()
        first = [name[:32] for name in os.listdir(self.path(".husk/authorities"))
                 if name.endswith(".json") and name[:32] != second][0]
        self.json("protect", tree, "--vault", "w", "--skip-free-space", f"--authority={first}",
                  f"--authority={second}", expect=husk.NOT_NOW)
        self.assertEqual(self.host()["keyslots"], 1)


if __name__ == "__main__":
    unittest.main()
