"""A host and its authority: a real vault on a real ext4, a real huskd on loopback."""
# runs long

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cli"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import authority
import disk
import document
import husk
import known_address
from job import Job, needs_faults


@unittest.skipIf(authority.missing(), authority.missing() or "")
class HostTest(Job):
    def setUp(self):
        super().setUp()
        self.authority = self.enterContext(known_address.running(holder=self.holder()))
        self.addCleanup(self.forget_boot)

    def holder(self):
        """Of its keyring."""
        return None

    def runtime(self):
        status = os.stat(self.d.path)
        return f"/run/husk/{status.st_dev:x}-{status.st_ino:x}"

    def forget_boot(self):
        """What a boot does: what was in memory is gone."""
        shutil.rmtree(self.runtime(), ignore_errors=True)

    def token_file(self, token=None):
        path = self.beside("token")
        with open(path, "w", encoding="ascii") as file:
            file.write((token or self.authority.token()) + "\n")
        return path

    def enroll(self, name="web-1", of=None, expect=husk.DONE, **options):
        at = of or self.authority
        return self.json("enroll", at.url, "--token-file", self.token_file(at.token()), "--name", name, expect=expect,
                         **options)

    def protect_by_authority(self, *words, **options):
        return self.protect(key=("--authority", "--recovery-out", self.beside("recovery"), *words), **options)

    def ready(self, how="auto"):
        """Enrolled, a vault with an authority keyslot and a recovery key, unlocked."""
        self.authority.unlock_by(how)
        self.enroll()
        self.protect_by_authority(expect=husk.DONE)

    def unlock(self, *words, expect=husk.DONE, **options):
        return self.json("unlock", "v", *words, expect=expect, **options)

    def start_unlock(self, *words):
        return subprocess.Popen([husk.PROGRAM, "unlock", "v", "--at", self.d.path, *words], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)


class EnrollTest(HostTest):
    def test_enrolling_pins_the_authority_and_makes_an_identity(self):
        found = self.enroll()
        self.assertTrue(found["changed"])
        self.assertEqual(found["result"]["name"], "web-1")
        self.assertEqual(os.listdir(self.path(".husk/authorities")), [found["result"]["authority"] + ".json"])
        self.assertEqual(os.stat(self.path(".husk/host.key")).st_mode & 0o7777, 0o600)
        hosts = self.authority.admin("host list")["hosts"]
        self.assertEqual([host["name"] for host in hosts], ["web-1"])

    def test_enrolled_already_is_no_change(self):
        token = self.authority.token()
        for changed in (True, False):
            found = self.json("enroll", self.authority.url, "--token-file", self.token_file(token), "--name", "web-1")
            self.assertEqual(found["changed"], changed)

    def test_its_name_is_by_default_that_of_the_host_at_the_directory_and_stays(self):
        os.makedirs(self.path("etc"))
        with open(self.path("etc/hostname"), "w") as file:
            file.write("kept-1\n")
        words = ("enroll", self.authority.url, "--token", self.authority.token())
        self.assertEqual(self.json(*words)["result"]["name"], "kept-1")
        self.assertEqual(self.json(*words)["findings"], [])
        found = self.json(*words, "--name", "other")
        self.assertEqual((found["result"]["name"], document.kinds(found)), ("kept-1", ["name-kept"]))
        self.assertIn("it is not called other", self.call(*words, "--name", "other", expect=husk.DONE).out)

    def test_a_token_is_for_one_host(self):
        token = self.authority.token()
        self.json("enroll", self.authority.url, "--token", token, "--name", "web-1")
        os.rename(self.path(".husk"), self.path("husk.before"))
        error = self.json("enroll", self.authority.url, "--token", token, "--name", "web-2",
                          expect=husk.REFUSED)["error"]
        self.assertEqual(error["code"], "denied")
        self.assertFalse(os.path.exists(self.path(".husk/authorities")))

    def test_another_authority_at_the_address_is_refused(self):
        with known_address.running() as other:
            error = self.json("enroll", other.url, "--token", self.authority.token(), expect=husk.REFUSED)["error"]
        self.assertIn("another authority", error["message"])
        self.assertFalse(os.path.exists(self.path(".husk/authorities")))

    def test_nobody_at_the_address_is_not_now(self):
        token = self.authority.token()
        self.authority.end()
        error = self.json("enroll", self.authority.url, "--token", token, expect=husk.NOT_NOW)["error"]
        self.assertEqual(error["code"], "unreachable")
        self.assertIn("can be reached", error["remedy"])

    def test_another_server_at_the_address_is_told_from_one_that_is_away(self):
        class Other(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                self.send_error(404)

            def log_message(self, *words):
                pass

        with http.server.HTTPServer(("127.0.0.1", 0), Other) as other:
            threading.Thread(target=other.serve_forever, daemon=True).start()
            found = self.json("enroll", f"http://127.0.0.1:{other.server_port}", "--token", self.authority.token(),
                              expect=husk.NOT_NOW)
            other.shutdown()
        self.assertIn("something else than an authority", found["error"]["message"])
        self.assertIn("not huskd", found["error"]["remedy"])

    def test_words_that_are_wrong(self):
        for words in [("--token", "husk1.00.11"), (), ("--token", "x", "--token-file", "y")]:
            self.assertEqual(self.json("enroll", self.authority.url, *words, expect=husk.USAGE)["error"]["code"],
                             "usage")
        unknown = self.authority.token().split(".")
        unknown[1] = "0" * len(unknown[1])
        error = self.json("enroll", self.authority.url, "--token", ".".join(unknown), expect=husk.REFUSED)["error"]
        self.assertIn("huskd token create", error["remedy"])
        absent = self.json("enroll", self.authority.url, "--token-file", "/nonexistent/token", expect=husk.FAILED)
        self.assertIn("huskd token create", absent["error"]["remedy"])
        for url in ("https://127.0.0.1", ):
            self.json("enroll", url, "--token", self.authority.token(), expect=husk.REFUSED)

    @needs_faults
    def test_a_crash_anywhere_is_made_up_for_by_the_same_command(self):
        for point in ("client.identity.write", "client.identity.written", "client.pin.write", "client.pin.written"):
            with self.subTest(point):
                token, words = self.authority.token(), ("--name", point.replace(".", "-"))
                shutil.rmtree(self.path(".husk"), ignore_errors=True)
                done = self.call("enroll", self.authority.url, "--token", token, *words, fault=f"{point}:crash")
                self.assertTrue(done.crashed)
                self.json("enroll", self.authority.url, "--token", token, *words)
        self.assertEqual({host["keyslots"] for host in self.authority.admin("host list")["hosts"]
                          if isinstance(host["keyslots"], int)} - {0}, set())

    @needs_faults
    def test_a_full_disk_is_told(self):
        for point in ("client.identity.write", "client.pin.write"):
            shutil.rmtree(self.path(".husk"), ignore_errors=True)
            self.assertEqual(self.json("enroll", self.authority.url, "--token", self.authority.token(), "--name",
                                       point.replace(".", "-"), expect=husk.FAILED,
                                       fault=f"{point}:enospc")["error"]["code"], "no-space")


class BindTest(HostTest):
    def test_protect_on_an_enrolled_host_makes_an_authority_keyslot(self):
        self.authority.unlock_by("auto")
        self.enroll()
        self.protect(key=("--recovery-out", self.beside("recovery")), expect=husk.DONE)
        self.assertEqual(sorted(self.keyslots()), ["authority", "recovery"])

    def test_a_keyfile_beside_an_authority_has_to_be_meant(self):
        self.authority.unlock_by("auto")
        self.enroll()
        self.protect(key=("--authority", "--keyfile", self.keyfile), expect=husk.REFUSED)
        self.assertFalse(os.path.exists(self.path(".husk/vaults/v")))
        self.protect(key=("--authority", "--keyfile", self.keyfile, "--allow-bypass"), expect=husk.DONE)
        self.assertEqual(sorted(self.keyslots()), ["authority", "keyfile"])

    def test_later_too_and_a_recovery_key_is_no_bypass(self):
        self.ready()
        error = self.json("keyslot add", "v", "--keyfile", self.keyfile, expect=husk.REFUSED)["error"]
        self.assertIn("--allow-bypass", error["remedy"])
        self.json("keyslot add", "v", "--recovery-out", self.beside("recovery2"))
        self.json("keyslot add", "v", "--keyfile", self.keyfile, "--allow-bypass")

    def test_from_a_keyfile_to_an_authority(self):
        self.authority.unlock_by("auto")
        self.protect()
        self.enroll()
        found = self.json("keyslot add", "v", "--authority", "--with-keyfile", self.keyfile)
        self.assertIn("bypass", [finding["kind"] for finding in found["findings"]])
        self.json("keyslot remove", "v", self.keyslots()["keyfile"])
        self.lock()
        self.assertEqual(self.unlock()["result"]["vaults"][0]["opened_by"], "authority")
        for number in range(8):  # so that others come after it in whatever order the disk has them
            self.json("keyslot add", "v", "--recovery-out", self.beside(f"recovery-{number}"))
        self.assertFalse(self.json("keyslot add", "v", "--authority")["changed"])

    def test_without_an_authority_there_is_none_to_bind_to(self):
        self.protect(key=("--authority",), expect=husk.FAILED)
        self.protect()
        self.assertEqual(self.json("keyslot add", "v", "--authority", expect=husk.FAILED)["error"]["code"],
                         "not-found")

    def test_an_authority_that_does_not_answer_makes_no_vault(self):
        self.enroll()
        self.authority.end()
        self.protect_by_authority(expect=husk.NOT_NOW)
        self.assertFalse(os.path.exists(self.path(".husk/vaults/v")))
        self.assertFalse(os.path.exists(self.beside("recovery")))

    def test_nor_does_it_set_the_feature_of_a_filesystem_that_has_none(self):
        plain = self.enterContext(disk.ext4("plain", size_mib=64))
        tree = os.path.join(plain.path, "data")
        os.mkdir(tree)
        url, token = self.authority.url, self.authority.token()
        husk.ok("enroll", url, "--token", token, "--name", "web-2", "--at", plain.path)
        words = ("protect", tree, "--vault", "v", "--authority", "--recovery-out", self.beside("recovery"), "--enable-feature",
                 "--skip-free-space", "--at", plain.path)
        self.authority.end()
        husk.run(*words).expect(husk.NOT_NOW)
        self.assertNotIn("encrypt", self.features(plain))
        self.authority.start()
        self.authority.admin("host hold", "web-2")
        husk.run(*words).expect(husk.NOT_NOW)
        self.assertNotIn("encrypt", self.features(plain))
        self.authority.admin("host release", "web-2")
        husk.ok(*words)
        self.assertIn("encrypt", self.features(plain))

    def features(self, of):
        told = subprocess.run(["tune2fs", "-l", of.device], stdout=subprocess.PIPE, check=True, text=True).stdout
        return re.search("(?m)^Filesystem features:(.*)", told)[1].split()

    def test_removing_the_keyslot_tells_the_authority(self):
        self.ready()
        slot = self.keyslots()["authority"]
        self.json("keyslot add", "v", "--keyfile", self.keyfile, "--allow-bypass")
        copy = self.path(".husk/vaults/v/keyslots", slot)
        shutil.copy(copy, self.beside("snapshot"))
        found = self.json("keyslot remove", "v", slot)
        self.assertTrue(any("authority" in line for line in found["result"]["truths"]), found)
        self.assertNotIn("authority", self.keyslots())

    def test_an_authority_that_cannot_be_told_is_incomplete_until_it_is(self):
        self.ready()
        slot = self.keyslots()["authority"]
        self.json("keyslot add", "v", "--keyfile", self.keyfile, "--allow-bypass")
        self.authority.end()
        found = self.json("keyslot remove", "v", slot, expect=husk.INCOMPLETE)
        self.assertIn("authority-not-told", [finding["kind"] for finding in found["findings"]])
        self.assertNotIn("authority", self.keyslots())
        self.json("keyslot remove", "v", slot, expect=husk.INCOMPLETE)
        self.authority.start()
        self.json("keyslot remove", "v", slot)


class UnlockTest(HostTest):
    def test_auto_opens_without_anybody(self):
        self.ready()
        for _ in range(3):
            self.lock()
            self.forget_boot()
            found = self.unlock()
            self.assertEqual(found["result"]["vaults"], [{"name": "v", "state": "unlocked",
                                                          "opened_by": "authority"}])
        self.assertEqual(self.authority.requests("pending"), [])

    def test_an_approval_is_waited_for_with_its_code(self):
        self.ready("approve")
        self.lock()
        process = self.start_unlock("--wait", "60")
        request = self.authority.wait_for_request()
        self.authority.admin("request approve", request["id"], "--code", request["code"])
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, husk.DONE, err)
        self.assertIn(f"waiting for approval, code {request['code']}", err)
        self.assertIn("by its authority", out)
        self.assertEqual(self.state(), "unlocked")

    def test_a_damaged_lineage_is_told_with_the_way_out(self):
        self.ready()
        for _ in range(2):  # the second presents what the first brought
            self.lock()
            self.forget_boot()
            self.unlock()
        self.lock()
        with open(self.path(".husk/lineage"), "r+b") as file:
            file.write(bytes(8192))
        error = self.unlock(expect=husk.FAILED)["error"]
        self.assertEqual(error["code"], "corrupt")
        self.assertIn("move .husk/lineage away", error["remedy"])
        os.rename(self.path(".husk/lineage"), self.path("lineage"))
        self.forget_boot()
        self.unlock(expect=husk.NOT_NOW)
        request = self.authority.wait_for_request()
        self.assertEqual(request["flags"], ["stale-lineage"])
        self.authority.admin("request approve", request["id"], "--code", request["code"], "--restored")
        for _ in range(2):
            self.unlock()
            self.lock()
            self.forget_boot()

    def test_another_vault_of_that_name_is_not_opened_by_what_was_asked_for_the_first(self):
        self.ready("approve")
        self.lock()
        process = self.start_unlock("--wait", "60", "--json")
        request = self.authority.wait_for_request()
        os.rename(self.path(".husk/vaults/v"), self.path("first"))
        os.mkdir(self.path("other"))
        self.json("protect", self.path("other"), "--vault", "v", "--keyfile", self.keyfile)
        self.json("lock", "v")
        self.authority.admin("request approve", request["id"], "--code", request["code"])
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, husk.REFUSED, err)
        self.assertEqual(json.loads(out)["error"]["code"], "changed")
        self.assertIn("another one than was asked for", json.loads(out)["error"]["message"])
        self.assertEqual(self.state(), "locked")

    def test_a_pending_request_is_taken_up_by_the_next_command(self):
        self.ready("approve")
        self.lock()
        found = self.unlock(expect=husk.NOT_NOW)
        self.assertEqual(found["error"]["code"], "pending")
        request = found["result"]["requests"][0]
        self.assertEqual([one["id"] for one in self.authority.requests("pending")], [request["request"]])
        self.unlock(expect=husk.NOT_NOW)
        self.assertEqual(len(self.authority.requests("pending")), 1)
        self.authority.admin("request approve", request["request"], "--code", request["code"])
        self.assertEqual(self.unlock()["result"]["vaults"][0]["opened_by"], "authority")

    def test_an_approval_is_of_no_use_to_another_boot(self):
        self.ready("approve")
        self.lock()
        request = self.unlock(expect=husk.NOT_NOW)["result"]["requests"][0]
        self.authority.admin("request approve", request["request"], "--code", request["code"])
        self.forget_boot()
        self.unlock(expect=husk.NOT_NOW)
        self.assertEqual(self.state(), "locked")

    def test_a_denied_request_is_refused(self):
        self.ready("approve")
        self.lock()
        process = self.start_unlock("--wait", "60", "--json")
        request = self.authority.wait_for_request()
        self.authority.admin("request deny", request["id"])
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, husk.REFUSED, err)
        self.assertEqual(json.loads(out)["error"]["code"], "denied")
        self.assertEqual(self.state(), "locked")

    def test_an_authority_that_does_not_answer_is_not_now_and_is_waited_for(self):
        self.ready()
        self.lock()
        self.authority.end()
        self.assertEqual(self.unlock(expect=husk.NOT_NOW)["error"]["code"], "unreachable")
        process = self.start_unlock("--wait", "60")
        time.sleep(1.5)
        self.authority.start()
        self.assertEqual((process.wait(60), self.state()), (husk.DONE, "unlocked"), process.stderr.read())
        process.communicate()

    def test_another_authority_at_the_address_opens_nothing(self):
        self.ready()
        self.lock()
        self.authority.end()
        with known_address.running() as other:
            other.end()
            other.listen_at(self.authority.port)
            other.start()
            error = self.unlock(expect=husk.NOT_NOW)["error"]
        self.assertIn("another authority", error["message"])
        self.assertEqual(self.state(), "locked")

    def test_an_erased_host_is_told_as_such(self):
        self.ready()
        self.lock()
        self.authority.admin("host erase", "web-1", "--confirm", "web-1")
        error = self.unlock(expect=husk.REFUSED)["error"]
        self.assertEqual(error["code"], "erased")
        self.assertIn("erased", error["message"])

    def test_a_host_on_hold_opens_later(self):
        self.ready()
        self.lock()
        self.authority.admin("host hold", "web-1")
        error = self.unlock(expect=husk.NOT_NOW)["error"]
        self.assertIn("hold", error["message"])
        self.assertIn("ask who administers the authority", error["remedy"])
        self.authority.admin("host release", "web-1")
        self.unlock()

    def test_a_hold_while_a_request_waits_is_told_and_not_asked_about_all_the_time(self):
        def heard():
            return int(re.search(r"(?m)^huskd_messages_total (\d+)$", self.authority.ok("metrics").out)[1])

        self.ready("approve")
        self.lock()
        self.unlock(expect=husk.NOT_NOW)
        self.authority.admin("host hold", "web-1")
        before = heard()
        done = self.call("unlock", "v", "--wait", "5", expect=husk.NOT_NOW)
        self.assertIn("held: the host is on hold", done.err)
        self.assertNotIn("earlier boot", done.err)
        self.assertLess(heard() - before, 8)
        self.authority.admin("host release", "web-1")
        self.assertIn("waiting for approval", self.unlock(expect=husk.NOT_NOW)["error"]["message"])

    def test_an_erased_machine_that_is_to_enrol_again_is_told_how(self):
        self.ready()
        self.json("erase", "--all", "--confirm", "web-1")
        error = self.enroll(expect=husk.FAILED)["error"]
        self.assertIn("is gone", error["message"])
        self.assertRegex(error["remedy"], "^where husk status .*every vault here is erased, remove .husk")
        shutil.rmtree(self.path(".husk"))
        self.forget_boot()
        self.enroll(name="web-2")

    def test_local_keys_come_first_and_ask_nobody(self):
        self.ready()
        key = self.path("key")
        shutil.copy(self.keyfile, key)
        self.json("keyslot add", "v", "--keyfile", key, "--allow-bypass")
        self.lock()
        self.authority.end()
        self.assertEqual(self.unlock()["result"]["vaults"][0]["opened_by"], "keyfile")
        self.lock()
        self.assertEqual(self.unlock("--authority", expect=husk.NOT_NOW)["error"]["code"], "unreachable")

    def test_a_recovery_key_opens_without_the_authority(self):
        self.ready()
        self.lock()
        self.authority.end()
        self.unlock("--recovery-key-file", self.beside("recovery"))

    def test_of_two_authorities_the_one_that_answers_opens(self):
        self.ready()
        with known_address.running() as other:
            other.unlock_by("auto")
            second = self.enroll(of=other)["result"]["authority"]
            self.json("keyslot add", "v", f"--authority={second[:8]}", "--with-recovery-key-file",
                      self.beside("recovery"))
            for here, there in ((self.authority, other), (other, self.authority)):
                self.lock()
                here.end()
                self.unlock()
                here.start()
            self.lock()
            self.authority.unlock_by("approve")
            self.unlock()

    def test_all_vaults_are_one_request(self):
        self.ready("approve")
        tree = self.make_tree("srv/more")
        self.call("protect", tree, "--vault", "w", "--skip-free-space", "--authority", expect=husk.DONE)
        self.call("lock", "--all", expect=husk.DONE)
        found = self.json("unlock", "--all", expect=husk.NOT_NOW)
        self.assertEqual(found["error"]["code"], "pending")
        request = found["result"]["requests"][0]
        self.assertEqual(len(self.authority.requests("pending")), 1)
        self.authority.admin("request approve", request["request"], "--code", request["code"])
        self.json("unlock", "--all")
        self.assertEqual((self.state("v"), self.state("w")), ("unlocked", "unlocked"))

    def test_an_old_copy_of_the_disk_is_flagged(self):
        self.ready()
        self.lock()
        before = self.beside("husk.before")
        self.unlock()
        shutil.copy(self.path(".husk/lineage"), before)
        for _ in range(2):
            self.lock()
            self.forget_boot()
            self.unlock()
        self.lock()
        self.forget_boot()
        shutil.copy(before, self.path(".husk/lineage"))
        self.unlock(expect=husk.NOT_NOW)
        self.assertIn("stale-lineage", self.authority.requests("pending")[-1]["flags"])

    @needs_faults
    def test_a_crash_around_the_lineage_raises_no_alarm(self):
        self.ready()
        # The second file that is written in turns is the lineage; the first is the checkpoint.
        for fault in ("client.lineage.write:crash", "client.lineage.written:crash", "client.turns.sync:crash",
                      "client.turns.sync:crash:2"):
            for _ in range(2):
                self.lock()
                self.assertTrue(self.call("unlock", "v", fault=fault).crashed)
                self.forget_boot()
                self.unlock()
        for fault in ("client.lineage.write:enospc", "client.turns.sync:eio:2"):
            self.lock()
            found = self.unlock(fault=fault)
            self.assertIn("lineage-not-written", [finding["kind"] for finding in found["findings"]])
        self.lock()
        self.forget_boot()
        self.unlock()
        self.assertEqual([one["flags"] for one in self.authority.requests() if one["flags"]], [])

    def test_a_swapped_authority_stops_it_and_a_recovery_key_accepts_it(self):
        self.ready()
        self.lock()
        with known_address.running() as other:
            shutil.rmtree(self.path(".husk/authorities"))
            self.enroll(of=other)
        found = self.unlock("--recovery-key-file", self.beside("recovery"), expect=husk.REFUSED)
        self.assertIn("authority-changed", [finding["kind"] for finding in found["findings"]])
        self.unlock("--recovery-key-file", self.beside("recovery"), "--accept-changes")
        self.lock()
        self.unlock("--recovery-key-file", self.beside("recovery"))


class TicketTest(HostTest):
    def test_a_ticket_lets_the_next_boot_pass_once(self):
        self.ready("ticket")
        self.lock()
        request = self.unlock(expect=husk.NOT_NOW)["result"]["requests"][0]
        self.authority.admin("request approve", request["request"], "--code", request["code"])
        self.unlock()
        found = self.json("ticket")
        self.assertEqual(len(found["result"]["tickets"]), 1)
        self.lock()
        self.forget_boot()
        self.unlock()
        self.lock()
        self.forget_boot()
        self.unlock(expect=husk.NOT_NOW)

    def test_without_an_answer_it_is_not_now_and_without_an_authority_it_fails(self):
        self.assertEqual(self.json("ticket", expect=husk.FAILED)["error"]["code"], "not-found")
        self.enroll()
        self.authority.end()
        self.assertEqual(self.json("ticket", expect=husk.NOT_NOW)["error"]["code"], "unreachable")


class AgentTest(HostTest):
    def start_agent(self):
        process = subprocess.Popen([husk.PROGRAM, "agent", "--at", self.d.path], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.end_agent, process)
        return process

    def end_agent(self, process):
        """It ends at once by a signal, with success."""
        process.terminate()
        err = process.communicate(timeout=10)[1]
        self.assertEqual(process.returncode, husk.DONE, err)
        return err

    def wait_for_lineage(self):
        until = time.monotonic() + 10
        while not os.path.exists(self.path(".husk/lineage")):
            self.assertLess(time.monotonic(), until, "no heartbeat was answered")
            time.sleep(0.02)

    def test_a_heartbeat_moves_the_lineage_and_the_next_boot_fits(self):
        self.ready()
        self.start_agent()
        self.wait_for_lineage()
        self.lock()
        self.unlock()
        self.assertEqual([one["flags"] for one in self.authority.requests() if one["flags"]], [])

    def test_a_copy_that_wants_to_open_while_the_host_runs_is_flagged(self):
        self.ready()
        self.start_agent()
        self.wait_for_lineage()
        self.lock()
        time.sleep(0.5)
        # The copy boots, with a memory of its own; the agent goes on as the host.
        os.rename(self.runtime(), self.runtime() + ".host")
        self.addCleanup(shutil.rmtree, self.runtime() + ".host")
        found = self.unlock(expect=husk.NOT_NOW)
        self.assertEqual(found["error"]["code"], "pending")
        self.assertIn("other-boot-answers", self.authority.requests("pending")[-1]["flags"])

    def test_an_authority_that_goes_and_comes_back_is_told_once_each(self):
        self.ready()
        process = self.start_agent()
        self.wait_for_lineage()
        self.authority.end()
        time.sleep(2)
        self.authority.start()
        time.sleep(4)
        err = self.end_agent(process)
        self.assertEqual(len(err.splitlines()), 2, err)
        self.assertIn("answers again", err)

    def test_without_an_authority_there_is_nothing_to_do(self):
        self.assertEqual(self.json("agent", expect=husk.FAILED)["error"]["code"], "not-found")


if __name__ == "__main__":
    unittest.main()
