"""The authority moves: keys and addresses change under hosts, a backup is restored elsewhere, hosts follow."""

import glob
import json
import os
import re
import shutil
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cli"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import authority
import husk
import known_address
from job import Job


BROKEN = (husk.FAILED, husk.REFUSED)


def beat(host, sequence=1):
    return host.result({"type": "heartbeat", "boot": "@boot", "lineage": "@id", "facts": authority.FACTS,
                        "descriptor_sequence": sequence})


class Moving:
    """Verbs of a server (self.authority) with files beside it."""

    def file(self, name):
        return os.path.join(self.authority.directory, name)

    def rotate(self, *words, keep=None, server=None):
        server = server or self.authority
        names = [self.file(f"{kind}.{time.monotonic_ns()}") for kind in ("text", "signed")]
        server.ok("descriptor", "prepare", "--out", names[0], *words)
        server.ok("descriptor", "sign", names[0], "--root", self.authority.root, "--out", names[1])
        return server.document("descriptor", "install", names[1], *(["--keep", keep] if keep else []))

    def backup(self, name, *words, expect=husk.DONE):
        return self.authority.run("backup", "--out", self.file(name + ".bulk"), "--envelope-out",
                                  self.file(name + ".envelope"), *words, json=True).expect(expect).document

    def restore(self, name, *words, key="backup.key", expect=(husk.DONE,), to=None):
        """Into a server of its own, which is not started."""
        other = to or known_address.Server(os.path.join(self.authority.directory, f"new.{time.monotonic_ns()}"))
        os.makedirs(other.directory, exist_ok=True)
        other.restored = authority.run(
            "restore", "--dir", other.path, "--bulk", self.file(name + ".bulk"), "--envelope",
            self.file(name + ".envelope"), "--backup-key", self.file(key), "--out", other.directory + "/text",
            "--address", other.url, *words, json=True).expect(*expect).document
        self.addCleanup(other.end)
        return other

    def install(self, other):
        text, signed = other.directory + "/text", other.directory + "/signed"
        other.ok("descriptor", "sign", text, "--root", self.authority.root, "--out", signed)
        return other.document("descriptor", "install", signed)


@unittest.skipIf(authority.missing(), authority.missing() or "")
class HostTest(Moving, Job):
    """husk itself on a vault, its authority rotated and moved."""

    def setUp(self):
        super().setUp()
        self.authority = self.enterContext(known_address.running())
        self.authority.unlock_by("auto")
        self.addCleanup(self.forget_boot)
        with open(self.beside("token"), "w", encoding="ascii") as file:
            file.write(self.authority.token() + "\n")
        self.json("enroll", self.authority.url, "--token-file", self.beside("token"), "--name", "web-1")
        self.protect(key=("--authority", "--recovery-out", self.beside("recovery")), expect=husk.DONE)

    def forget_boot(self):
        status = os.stat(self.d.path)
        shutil.rmtree(f"/run/husk/{status.st_dev:x}-{status.st_ino:x}", ignore_errors=True)

    def boot(self, expect=husk.DONE):
        self.json("lock", "v")
        self.forget_boot()
        return self.json("unlock", "v", expect=expect)

    def sequence(self):
        directory = self.path(".husk/authorities")
        name = [name for name in os.listdir(directory) if name.endswith(".json")][0]
        with open(f"{directory}/{name}", encoding="utf-8") as file:
            text = bytes.fromhex(json.load(file)["descriptor"])[64:]
        return json.loads(text)["sequence"]

    def test_a_host_follows_rotations_it_hears_of_and_those_it_slept_through(self):
        self.rotate()
        self.boot()
        self.assertEqual(self.sequence(), 2)
        for _ in range(3):
            self.rotate(keep="0s")
        self.boot()
        self.assertEqual(self.sequence(), 5)

    def test_a_host_follows_to_another_address(self):
        before = self.authority.port
        self.authority.listen_at(known_address.free_port())
        after = self.authority.url
        self.rotate("--same-keys", "--address", f"http://127.0.0.1:{before}", "--address", after)
        self.boot()  # hears of it at the old one
        self.assertEqual(self.authority.end(), 0)
        self.authority.start()  # listens at the new one alone
        self.boot()

    def test_a_descriptor_without_an_address_to_use_is_not_signed(self):
        text = self.file("text")
        self.authority.ok("descriptor", "prepare", "--out", text, "--address", "http://husk.example")
        with open(text, "rb") as file:
            changed = file.read().replace(b"http://husk.example", b"https://husk.example")
        with open(text, "wb") as file:
            file.write(changed)
        done = self.authority.run("descriptor", "sign", text, "--root", self.authority.root, "--out",
                                  self.file("signed")).expect(husk.REFUSED)
        self.assertIn("--address http://", done.err)
        self.assertFalse(os.path.exists(self.file("signed")))

    def test_a_host_follows_to_a_restored_authority_and_waits_there_for_people(self):
        self.backup("b", "--backup-key-out", self.file("backup.key"))
        address = self.authority.url
        self.boot()  # its lineage goes on
        self.authority.end()
        other = self.restore("b", "--address", address)
        other.listen_at(self.authority.port)  # what hosts know
        other.start()
        self.json("lock", "v")
        self.forget_boot()
        self.json("unlock", "v", "--wait", "0", expect=husk.NOT_NOW)  # the root has not signed
        self.install(other)
        told = self.json("unlock", "v", "--wait", "0", expect=husk.NOT_NOW)
        self.assertIn("hold", told["error"]["message"])
        other.ok("host", "release", "web-1")
        # The boot of the backup is over: nobody knows whether this is an old copy.
        self.json("unlock", "v", "--wait", "0", expect=husk.NOT_NOW)
        request = other.requests("pending")[-1]
        self.assertEqual(request["flags"], ["stale-lineage"])
        other.ok("request", "approve", request["id"], "--restored", "--code", request["code"])
        self.json("unlock", "v")
        self.boot()
        other.ok("ledger", "verify")

    def test_a_copy_as_old_as_the_backup_is_an_old_copy_to_the_restored_authority_too(self):
        self.boot()
        self.backup("b", "--backup-key-out", self.file("backup.key"))
        with open(self.path(".husk/lineage"), "rb") as file:
            old = file.read()
        for _ in range(3):
            self.boot()
        self.authority.ok("ledger", "export", "--out", self.file("export"))
        self.authority.end()
        other = self.restore("b", "--address", self.authority.url, "--record", self.file("export"))
        other.listen_at(self.authority.port)
        other.start()
        self.install(other)
        self.assertEqual(other.admin("host list")["hosts"][0]["state"], "active")
        with open(self.path(".husk/lineage"), "wb") as file:
            file.write(old)
        self.json("lock", "v")
        self.forget_boot()
        self.json("unlock", "v", expect=husk.NOT_NOW)
        self.assertEqual(other.requests("pending")[-1]["flags"], ["stale-lineage"])

    def enroll(self, url, expect=husk.DONE):
        return self.json("enroll", url, "--token-file", self.beside("token"), "--name", "web-1", expect=expect)

    def test_a_host_is_told_where_its_authority_is_by_enrolling_again(self):
        self.backup("b", "--backup-key-out", self.file("backup.key"))
        old = self.authority.url
        self.authority.end()
        other = self.restore("b")
        other.start()
        # The root has not signed yet, and the old address is silent.
        self.enroll(other.url, expect=husk.NOT_NOW)
        self.assertEqual(self.sequence(), 1)
        self.install(other)
        with known_address.running() as stranger:
            told = self.enroll(stranger.url, expect=husk.REFUSED)
            self.assertIn("not signed by the authority root pinned here", told["error"]["message"])
        self.assertEqual(self.sequence(), 1)
        self.json("lock", "v")
        self.forget_boot()
        self.json("unlock", "v", "--wait", "0", expect=husk.NOT_NOW)
        self.assertEqual(other.requests(), [])
        self.enroll(old, expect=husk.NOT_NOW)
        self.assertTrue(self.enroll(other.url)["changed"])
        self.assertGreater(self.sequence(), 1)
        self.assertFalse(self.enroll(other.url)["changed"])
        self.assertFalse(self.enroll(old)["changed"])
        other.ok("host", "release", "web-1")
        self.json("unlock", "v", expect=husk.NOT_NOW)
        request = other.requests("pending")[-1]
        other.ok("request", "approve", request["id"], "--restored", "--code", request["code"])
        self.json("unlock", "v")
        self.boot()


def bind(host):
    keyslot, vault = os.urandom(16).hex(), os.urandom(16).hex()
    host.result({"type": "bind", "keyslot": keyslot, "vault": vault, "vault_name": "data",
                 "blinded": ["@point", "@point"]})
    return keyslot, vault


@unittest.skipIf(authority.missing(), authority.missing() or "")
class BackupTest(Moving, unittest.TestCase):
    def setUp(self):
        self.authority = self.enterContext(known_address.running())
        self.authority.ok("group", "set", "default", "--unlock", "auto")

    def host(self, name):
        host = self.authority.host(name)
        self.addCleanup(host.close)
        beat(host)
        host.keyslot, host.vault = bind(host)
        return host

    def states(self, server):
        return {host["name"]: (host["state"], host["keyslots"]) for host in server.admin("host list")["hosts"]}

    def test_a_restore_at_an_address_no_host_could_use_is_refused(self):
        self.backup("b", "--backup-key-out", self.file("backup.key"))
        other = self.restore("b", "--address", "https://husk.example", expect=(husk.USAGE,))
        self.assertIn("http://", other.restored["error"]["remedy"])
        self.assertNotIn("authority.db", os.listdir(other.path))

    def test_what_to_do_after_a_restore_names_the_file_it_wrote(self):
        self.host("web1")
        self.backup("b", "--backup-key-out", self.file("backup.key"))
        other = self.restore("b")
        other.start()
        done = other.run("host", "list").expect(0)
        self.assertRegex(done.out + done.err, "sign and install, of the file that the restore wrote")
        again, signed = other.directory + "/again", other.directory + "/again.signed"
        done = other.run("descriptor", "prepare", "--out", again).expect_error_line_of("huskd", husk.USAGE)
        self.assertIn("--address", done.err)
        self.assertFalse(os.path.exists(again))
        self.install(other)
        self.assertNotIn("sign and install", other.run("host", "list").expect(0).err)
        # From then on its own addresses are those of now; and lost, the file can be made again.
        other.ok("descriptor", "prepare", "--out", again)
        with open(again, encoding="ascii") as file:
            self.assertEqual(json.load(file)["addresses"], [other.url])
        lost = self.restore("b")
        lost.start()
        lost.ok("descriptor", "prepare", "--out", lost.directory + "/again", "--address", lost.url)
        lost.ok("descriptor", "sign", lost.directory + "/again", "--root", self.authority.root, "--out", signed)
        lost.ok("descriptor", "install", signed)

    def test_both_files_are_needed_and_only_they_with_the_key(self):
        self.host("web1")
        done = self.authority.run("backup", "--out", self.file("x"), "--envelope-out", self.file("y"))
        done.expect_error_line_of("huskd", husk.REFUSED)
        self.assertIn("--backup-key-out", done.err)
        self.assertFalse(os.path.exists(self.file("x")) or os.path.exists(self.file("y")))
        self.backup("b", "--backup-key-out", self.file("backup.key"))
        self.assertEqual(os.path.getsize(self.file("b.envelope")), 4096)
        self.assertEqual(os.path.getsize(self.file("backup.key")), 32)
        with open(self.authority.path + "/authority.db", "rb") as file:
            head = file.read(16)
        with open(self.file("b.bulk"), "rb") as file:
            self.assertNotIn(head, file.read())
        self.backup("c")
        self.assertEqual([name for name in os.listdir(self.authority.path) if "backup" in name], [])
        # The envelope of another backup, and another key.
        self.authority.ok("backup", "--out", self.file("d.bulk"), "--envelope-out", self.file("d.envelope"),
                          "--backup-key-out", self.file("other.key"))
        os.rename(self.file("b.envelope"), self.file("e.envelope"))
        os.link(self.file("c.bulk"), self.file("e.bulk"))
        self.restore("e", expect=BROKEN)
        self.restore("c", key="other.key", expect=BROKEN)
        self.restore("d", expect=BROKEN)
        other = self.restore("c")
        self.assertEqual(os.listdir(other.path), sorted(os.listdir(other.path)))
        self.restore("c", to=other, expect=(husk.REFUSED,))

    def test_damage_is_found_and_leaves_no_authority(self):
        self.host("web1")
        self.backup("b", "--backup-key-out", self.file("backup.key"))
        sizes = {kind: os.path.getsize(self.file("b." + kind)) for kind in ("bulk", "envelope")}
        for kind, place in [("bulk", 3), ("bulk", 20), ("bulk", 40), ("bulk", 70), ("bulk", sizes["bulk"] // 2),
                            ("bulk", sizes["bulk"] - 1), ("envelope", 2), ("envelope", 30), ("envelope", 50),
                            ("envelope", 60), ("envelope", 100), ("envelope", 140)]:
            with self.subTest(kind, place=place):
                self.damage(kind, place)
        for kind, length in [("bulk", 0), ("bulk", 40), ("bulk", 65536), ("bulk", sizes["bulk"] - 1),
                             ("envelope", 0), ("envelope", 4095)]:
            with self.subTest(kind, length=length):
                self.damage(kind, None, length)
        self.restore("b")

    def damage(self, kind, place, length=None):
        for each in ("bulk", "envelope"):
            with open(self.file("b." + each), "rb") as file:
                data = bytearray(file.read())
            if each == kind and place is not None:
                data[place] ^= 1
            with open(self.file("bad." + each), "wb") as file:
                file.write(data[:length] if each == kind and length is not None else data)
        other = self.restore("bad", expect=BROKEN)
        self.assertNotIn("authority.db", os.listdir(other.path))
        other.words = ["--listen", "127.0.0.1:0"]
        with self.assertRaises(authority.Ended):
            other.start()

    def test_hosts_are_held_and_what_records_say_is_erased_is_destroyed(self):
        hosts = [self.host(name) for name in ("stays", "goes", "half")]
        self.backup("b", "--backup-key-out", self.file("backup.key"))
        told = self.authority.document("host", "erase", "goes", "--confirm", "goes")["result"]["erased"]
        told += hosts[2].result({"type": "erase", "vaults": [hosts[2].vault], "final": False})["erased"]
        with open(self.file("records"), "w", encoding="ascii") as file:
            file.write("\n".join(told) + "\n")
        other = self.restore("b", "--record", self.file("records"))
        self.assertEqual(other.restored["result"]["erased_since"], 2)
        other.start()
        self.assertEqual(self.states(other), {"stays": ("held", 1), "goes": ("erased", 0), "half": ("held", 0)})
        self.assertEqual(len([name for name in os.listdir(other.path) if name.startswith("keyring.")]), 1)
        # Without them they are held too, and would open when they are released.
        blind = self.restore("b")
        blind.start()
        self.assertEqual(self.states(blind), {"stays": ("held", 1), "goes": ("held", 1), "half": ("held", 1)})
        # Records nobody signed.
        with open(self.file("forged"), "w", encoding="ascii") as file:
            file.write(told[0][:-2] + "00\n")
        told = self.restore("b", "--record", self.file("records"), "--record", self.file("forged"), expect=BROKEN).restored
        self.assertIn(self.file("forged"), told["error"]["message"])

    def export(self, name="export", *words):
        self.authority.ok("ledger", "export", "--out", self.file(name), *words)
        return self.file(name)

    def test_an_export_of_the_ledger_tells_all_and_nobody_is_held(self):
        hosts = {name: self.host(name) for name in ("stays", "goes", "half", "unbound", "kept")}
        self.backup("b", "--backup-key-out", self.file("backup.key"))
        bind(hosts["stays"])
        self.rotate()
        self.authority.ok("host", "erase", "goes", "--confirm", "goes")
        hosts["half"].result({"type": "erase", "vaults": [hosts["half"].vault], "final": False})
        hosts["unbound"].result({"type": "unbind", "keyslot": hosts["unbound"].keyslot})
        self.authority.ok("host", "hold", "kept")
        self.authority.ok("group", "set", "default", "--unlock", "approve", "--approvals", "2")
        self.rotate()
        self.backup("later")
        self.host("late")
        checkpoint = self.authority.admin("ledger verify")["checkpoint"]
        export = self.export()
        other = self.restore("b", "--record", export)
        told = other.restored["result"]
        self.assertEqual((told["complete"], told["held"], told["not_in_backup"], told["keyslots_not_in_backup"]),
                         (True, 1, 1, 1))
        other.start()
        self.assertEqual(self.states(other), {"stays": ("active", 1), "goes": ("erased", 0), "half": ("active", 0),
                                              "unbound": ("active", 0), "kept": ("held", 1)})
        group = other.admin("group list")["groups"][0]
        self.assertEqual((group["unlock"], group["approvals"]), ("approve", 2))
        self.assertEqual(len([copy for copy in other.admin("keycopy list")["keycopies"]
                              if copy["kind"] == "backup"]), 2)
        # The ledger of before is there to its end, and a checkpoint of it is compared.
        other.ok("ledger", "verify", "--checkpoint", checkpoint)
        self.install(other)
        self.assertGreater(other.admin("ledger verify")["epoch"], 1000000)

    def test_an_export_tells_where_hosts_and_groups_went(self):
        self.authority.ok("group", "set", "lenient", "--unlock", "auto")
        host = authority.Host(self.authority, "moved")
        host.enroll(self.authority.document("token", "create", "--group", "lenient")["result"]["token"])
        beat(host)
        self.authority.ok("host", "power-off", "moved")
        self.host("named")
        self.backup("b", "--backup-key-out", self.file("backup.key"))
        self.authority.ok("group", "set", "strict", "--unlock", "approve", "--approvals", "2")
        self.authority.ok("host", "move", "moved", "--group", "strict")
        (order,) = self.authority.admin("host show", "moved")["hosts"][0]["orders"]
        self.authority.ok("host", "cancel", "moved", order["id"])
        self.authority.ok("host", "rename", "named", "stays")
        self.authority.ok("host", "rename", "moved", "named")
        self.authority.ok("group", "remove", "lenient")
        late = self.host("late")
        self.authority.ok("host", "move", "late", "--group", "strict")
        other = self.restore("b", "--record", self.export())
        other.start()
        hosts = {one["name"]: (one["group"], one["state"]) for one in other.admin("host list")["hosts"]}
        self.assertEqual(hosts, {"named": ("strict", "active"), "stays": ("default", "active")})
        self.assertEqual([one["name"] for one in other.admin("group list")["groups"]], ["default", "strict"])
        self.assertEqual(other.admin("host show", "named")["hosts"][0]["orders"][0]["state"], "cancelled")
        # Without it they are where they were, and held.
        blind = self.restore("b")
        blind.start()
        self.assertEqual({one["name"]: (one["group"], one["state"]) for one in blind.admin("host list")["hosts"]},
                         {"moved": ("lenient", "held"), "named": ("default", "held")})
        late.close()
        host.close()

    def test_an_export_that_was_changed_or_cut_is_refused(self):
        self.host("goes")
        self.backup("b", "--backup-key-out", self.file("backup.key"))
        late = self.host("late")
        self.authority.ok("host", "erase", "goes", "--confirm", "goes")
        with open(self.export(), encoding="utf-8") as file:
            lines = file.read().splitlines()
        self.assertIn("erase-begun", "\n".join(lines))
        at = [i for i, line in enumerate(lines) if '"erase-begun"' in line][0]
        changed = {"cut": lines[:-1], "removed": lines[:at] + lines[at + 1:], "reordered":
                   lines[:-2] + [lines[-1], lines[-2]], "altered": lines[:at] + [lines[at].replace(
                       '"final":true', '"final":false')] + lines[at + 1:], "head": [re.sub(
                           '"checkpoint":"..', '"checkpoint":"00', lines[0])] + lines[1:], "empty": lines[:1],
                   "shorter": [re.sub('"to":[0-9]+', f'"to":{at - 1}', lines[0])] + lines[1:at]}
        for name, text in changed.items():
            with self.subTest(name):
                self.assertNotEqual(text, lines)
                with open(self.file("bad"), "w", encoding="utf-8") as file:
                    file.write("\n".join(text) + "\n")
                other = self.restore("b", "--record", self.file("bad"), expect=BROKEN)
                self.assertNotIn("authority.db", os.listdir(other.path))
        missing = self.export("missing", "--from", str(len(lines) - 2))
        self.restore("b", "--record", missing, expect=BROKEN)
        self.restore("b", "--record", self.export("part", "--from", "4"))
        beat(late)

    def test_an_export_older_than_the_backup_says_so(self):
        self.host("stays")
        older = self.export("older")
        self.host("late")
        self.backup("b", "--backup-key-out", self.file("backup.key"))
        told = self.restore("b", "--record", older, expect=BROKEN).restored["error"]
        self.assertIn("this export of the ledger is older than the backup", told["message"])
        self.assertIn("made after the backup", told["remedy"])
        other = self.restore("b", "--record", self.export("same"))
        other.start()
        self.install(other)
        other.ok("ledger", "export", "--out", self.file("again"))
        told = self.restore("b", "--record", self.file("again"), expect=BROKEN).restored["error"]
        self.assertIn("a restore lies between them", told["message"])

    def test_the_envelope_is_a_key_copy_until_it_is_declared_destroyed(self):
        self.host("web1")
        made = self.backup("b", "--backup-key-out", self.file("backup.key"))["result"]
        copies = self.authority.admin("keycopy list")["keycopies"]
        self.assertEqual([(copy["id"], copy["kind"], copy["state"]) for copy in copies],
                         [(made["id"], "backup", "reported")])
        self.authority.ok("keycopy", "destroyed", made["id"][:8])
        self.assertEqual(self.authority.admin("keycopy list")["keycopies"][0]["state"], "destroyed")
        kinds = [entry["kind"] for entry in self.authority.admin("ledger show")["entries"]]
        self.assertIn("backup-key", kinds)
        self.assertIn("backup-made", kinds)

    def test_a_restored_authority_is_sealed_under_a_holder_of_its_own(self):
        self.host("web1")
        self.backup("b", "--backup-key-out", self.file("backup.key"))
        os.mkdir(self.file("medium"))
        other = self.restore("b", "--holder", self.file("medium/h"))
        self.assertEqual(len(os.listdir(self.file("medium"))), 1)
        with self.assertRaises(authority.Ended):
            other.start()
        other.words += ["--holder", self.file("medium/h")]
        other.start()
        self.install(other)

    def test_the_holder_of_another_authority_is_left_alone(self):
        self.host("web1")
        self.backup("b", "--backup-key-out", self.file("backup.key"))
        os.mkdir(self.file("medium"))
        words = "--holder", self.file("medium/h")
        other = self.restore("b", *words)
        before = os.listdir(self.file("medium"))
        drill = known_address.Server(os.path.join(self.authority.directory, "drill"))
        self.restore("b", *words, expect=(husk.REFUSED, husk.FAILED), to=drill)
        self.assertIn("another authority may need it", drill.restored["error"]["message"])
        done = authority.run("init", "--dir", self.file("second"), "--root-out", self.file("second.root"), "--address",
                             "http://127.0.0.1:4875", *words)
        self.assertIn("another authority may need it", done.err)
        self.assertFalse(os.path.exists(self.file("second.root")))
        self.assertEqual(os.listdir(self.file("medium")), before)
        other.words += words
        other.start()


@unittest.skipIf(authority.missing(), authority.missing() or "")
class CrashTest(Moving, unittest.TestCase):
    def setUp(self):
        if "authority.commit" not in authority.run("--list-faults").out.split():
            self.skipTest("huskd has no fault points: not a test build")
        self.authority = self.enterContext(known_address.running())

    def test_a_restore_killed_anywhere_is_begun_anew_by_the_same_command(self):
        for name in ("stays", "goes"):
            host = self.authority.host(name)
            beat(host)
            bind(host)
            host.close()
        self.backup("b", "--backup-key-out", self.file("backup.key"))
        self.authority.ok("host", "erase", "goes", "--confirm", "goes")
        self.authority.ok("ledger", "export", "--out", self.file("export"))
        for point in ["authority.restore.unpacked", "authority.keyring.written", "authority.commit",
                      "authority.erase.begun", "authority.erase.resealed", "authority.keyring.destroy",
                      "authority.erase.destroyed", "authority.erase.done", "authority.restore.place"]:
            with self.subTest(point):
                self.crash_restore(point)

    def crash_restore(self, point):
        other = known_address.Server(self.file("crash." + point))
        os.makedirs(other.directory)
        words = ["restore", "--dir", other.path, "--bulk", self.file("b.bulk"), "--envelope",
                 self.file("b.envelope"), "--backup-key", self.file("backup.key"), "--record",
                 self.file("export"), "--address", other.url]
        done = authority.run(*words, "--out", other.directory + "/one", env={"HUSK_FAULT": point + ":crash"})
        self.assertEqual(done.status, -9, done)
        self.assertFalse(os.path.exists(other.path + "/authority.db"))
        left = [open(path, "rb") for path in glob.glob(other.path + "/keyring.*")]
        for file in left:
            self.addCleanup(file.close)
        keys = [file.read() for file in left]
        authority.run(*words, "--out", other.directory + "/text").expect(0)
        for file, bytes_before in zip(left, keys):
            file.seek(0)
            self.assertNotIn(bytes_before[-32:], file.read(), "the keyring of the first try is not overwritten")
        self.assertEqual(sorted(name.split(".")[0] for name in os.listdir(other.path)),
                         ["authority", "keyring", "lock"])
        other.start()
        self.addCleanup(other.end)
        self.install(other)
        states = {host["name"]: (host["state"], host["keyslots"]) for host in other.admin("host list")["hosts"]}
        self.assertEqual(states, {"stays": ("active", 1), "goes": ("erased", 0)})
        other.ok("ledger", "verify")

    def test_a_backup_killed_anywhere_leaves_an_authority_that_serves(self):
        for point in ("authority.backup.copied", "authority.backup.write"):
            with self.subTest(point):
                self.authority.end()
                self.authority.start(env={"HUSK_FAULT": point + ":crash"})
                done = self.authority.run(
                    "backup", "--out", self.file(point + ".bulk"), "--envelope-out", self.file(point + ".envelope"),
                    "--backup-key-out", self.file(point + ".key")).expect(husk.NOT_NOW)
                self.assertEqual(self.authority.process.wait(20), -9)
                # It is committed, which nobody was told: the key may not be lost.
                self.assertIn(".key may be the key of backups", done.out + done.err)
                self.assertEqual(os.path.getsize(self.file(point + ".key")), 32)
                self.authority.process = None
                self.authority.start()
                self.assertNotIn("backup.new", os.listdir(self.authority.path))
                self.authority.ok("ledger", "verify")
                self.assertFalse(os.path.exists(self.file(point + ".bulk")))
                self.backup(point + ".again")
                self.restore(point + ".again", key=point + ".key")

    def test_a_key_that_is_not_in_force_is_not_left_behind(self):
        self.backup("b", "--backup-key-out", self.file("backup.key"))
        words = ("backup", "--out", self.file("c.bulk"), "--envelope-out", self.file("c.envelope"),
                 "--backup-key-out", self.file("other.key"))
        self.authority.end()
        done = self.authority.run(*words).expect(husk.NOT_NOW)  # nothing serves
        self.assertFalse(os.path.exists(self.file("other.key")), done)
        self.assertNotIn("other.key", done.out + done.err)
        # Committed, and the bulk cannot be written.
        self.authority.start(env={"HUSK_FAULT": "authority.backup.write:enospc"})
        done = self.authority.run(*words).expect(husk.FAILED)
        self.assertIn("other.key may be the key of backups", done.out + done.err)
        self.backup("d")
        self.restore("d", key="other.key")
        self.restore("d", key="backup.key", expect=BROKEN)


if __name__ == "__main__":
    unittest.main()
