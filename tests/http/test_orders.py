"""Orders under a running agent, key copies it tells of, and a ledger that went back."""

import json
import os
import shutil
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cli"))

import disk
import document
import husk
import turns
from job import needs_faults
from test_host import HostTest

WAIT_S = 20


class OrderCase(HostTest):
    def setUp(self):
        super().setUp()
        self.agents = []

    def start_agent(self, fault=None, at=None):
        log = open(self.beside("agent.log"), "ab")
        environment = {**os.environ, **({"HUSK_FAULT": fault} if fault else {})}
        process = subprocess.Popen([husk.PROGRAM, "agent", "--at", at or self.d.path], stdout=subprocess.DEVNULL, stderr=log,
                                   env=environment)
        log.close()
        self.addCleanup(self.end_agent, process)
        return process

    def end_agent(self, process):
        if process.poll() is None:
            process.terminate()
        process.wait(WAIT_S)

    def log(self):
        with open(self.beside("agent.log"), errors="replace") as file:
            return file.read()

    def until(self, holds, what):
        limit = time.monotonic() + WAIT_S
        while time.monotonic() < limit:
            found = holds()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"{what}: {self.log()}")

    def host(self):
        return self.authority.admin("host show", "web-1")["hosts"][0]

    def order(self, number=0):
        return self.host()["orders"][number]

    def until_order_is(self, state):
        return self.until(lambda: self.order() if self.order()["state"] == state else None, f"the order is not {state}")

    def until_polling(self):
        self.until(lambda: self.host()["last_seen"] and os.path.exists(self.path(".husk/lineage")), "no heartbeat")
        time.sleep(0.3)


class OrderTest(OrderCase):
    def test_a_held_poll_is_woken_and_the_vaults_are_locked(self):
        self.ready()
        self.start_agent()
        self.until_polling()
        begun = time.monotonic()
        self.assertTrue(self.authority.document("host", "lock", "web-1")["changed"])
        order = self.until_order_is("done")
        self.assertLess(time.monotonic() - begun, 5)
        self.assertEqual(self.state(), "locked")
        self.assertEqual(order["report"]["vaults"], [{"name": "v", "state": "locked"}])
        self.assertEqual((order["report"]["status"], order["action"]), (0, "lock"))
        kinds = [entry["kind"] for entry in self.authority.admin("ledger show")["entries"]]
        self.assertIn("order", kinds)
        self.assertEqual(kinds[-1], "done")

    def test_files_in_use_are_reported(self):
        self.ready()
        self.start_agent()
        with open(os.path.join(self.tree, "file2"), "rb"):
            self.authority.admin("host lock", "web-1")
            order = self.until_order_is("done")
            self.assertEqual(self.state(), "busy")
        self.assertEqual(order["report"]["status"], husk.INCOMPLETE)
        self.assertIn(str(os.getpid()), json.dumps(order["report"]["findings"]))
        told = self.authority.ok("host", "show", "web-1").out
        self.assertIn("the host reports of its order to lock", told)
        self.assertRegex(told, rf"kind: .*{os.getpid()}")
        self.assertIn("name: v; state: busy", told)

    def test_an_order_waits_for_the_agent_and_is_made_once(self):
        self.ready()
        self.assertIn("its agent takes it when it next asks", self.authority.ok("host", "lock", "web-1").out)
        self.assertFalse(self.authority.document("host", "lock", "web-1")["changed"])
        self.assertEqual(self.order()["state"], "waiting")
        self.start_agent()
        self.until_order_is("done")
        self.assertEqual((self.state(), len(self.host()["orders"])), ("locked", 1))
        self.assertIn("orders", self.authority.ok("host", "show", "web-1").out)

    def test_one_that_was_done_is_not_done_again(self):
        self.ready()
        self.start_agent()
        self.authority.admin("host lock", "web-1")
        self.until_order_is("done")
        self.unlock()
        time.sleep(1)
        self.assertEqual(self.state(), "unlocked")
        self.authority.admin("host lock", "web-1")
        self.until(lambda: self.state() == "locked", "not locked a second time")

    def test_only_the_system_that_runs_here_can_be_powered_off(self):
        """Not the host at a directory: the machine of this test stays on. tests/vm/test_units.py powers one off."""
        self.ready()
        self.assertTrue(self.authority.document("host", "power-off", "web-1")["changed"])
        self.assertFalse(self.authority.document("host", "power-off", "web-1")["changed"])
        self.start_agent()
        order = self.until_order_is("done")
        self.assertEqual((order["action"], order["outcome"]), ("power-off", "failed"))
        self.assertIn("this machine stays on", order["report"]["error"]["message"])
        self.assertEqual(self.state(), "unlocked")

    @needs_faults
    def test_a_power_off_is_noted_before_and_told_once_in_whatever_boot(self):
        self.ready()
        for forget, outcome in ((False, "failed"), (True, "done")):
            with self.subTest(outcome):
                agent = self.start_agent(fault="agent.order.noted:crash")
                self.until_polling()
                self.authority.admin("host power-off", "web-1")
                self.until(lambda: agent.poll() is not None, "the order is not noted")
                self.assertEqual(self.order()["state"], "given")
                if forget:
                    self.forget_boot()
                agent = self.start_agent()
                # In the same boot it is tried again, which this machine refuses; in a later one it has happened.
                self.assertEqual(self.until_order_is("done")["outcome"], outcome)
                self.end_agent(agent)

    def test_an_order_to_erase_ends_the_host(self):
        self.ready()
        snapshot = self.beside("snapshot")
        shutil.copytree(self.path(".husk"), snapshot, ignore=shutil.ignore_patterns("private"))
        agent = self.start_agent()
        self.until_polling()
        self.authority.admin("host erase", "web-1", "--confirm", "web-1")
        order = self.until_order_is("done")
        self.assertEqual((order["action"], self.state()), ("erase", "erased"))
        self.until(lambda: not os.path.exists(self.path(".husk/host.key")), "the identity is still there")
        self.until(lambda: agent.poll() is not None, "the agent goes on")
        self.assertEqual(agent.returncode, husk.DONE, self.log())
        # A copy of the disk from before, with its identity: for ever.
        self.d.remount()
        self.forget_boot()
        shutil.rmtree(self.path(".husk"))
        shutil.copytree(snapshot, self.path(".husk"))
        self.assertEqual(self.unlock(expect=husk.REFUSED)["error"]["code"], "erased")

    def test_an_erase_that_meets_open_files_is_reported_and_finished_later(self):
        self.ready()
        self.start_agent()
        self.until_polling()
        with open(os.path.join(self.tree, "file2"), "rb"):
            self.authority.admin("host erase", "web-1", "--confirm", "web-1")
            self.until(lambda: self.order()["report"], "nothing is reported")
            order = self.order()
            self.assertEqual((order["state"], order["outcome"], order["report"]["status"]),
                             ("given", "incomplete", husk.INCOMPLETE))
            time.sleep(2.5)  # tried again, and nothing new to tell
            kinds = [entry["kind"] for entry in self.authority.admin("ledger show")["entries"]]
            self.assertLess(kinds.count("done"), 4)
            self.assertIn(str(os.getpid()), json.dumps(order["report"]["findings"]))
            self.assertTrue(os.path.exists(self.path(".husk/host.key")))
            told = self.authority.ok("host", "show", "web-1").out
            self.assertRegex(told, rf"order to erase[^$]*key_destruction: INCOMPLETE;[^$]*{os.getpid()}")
        self.until_order_is("done")
        self.assertEqual(self.state(), "erased")
        (vault,) = self.host()["erased_vaults"]
        self.assertEqual((vault["name"], vault["key_destruction"], vault["plaintext_before"]),
                         ("v", "UNKNOWN", "UNKNOWN"))
        self.assertRegex(self.authority.ok("host", "show", "web-1").out, "(?m)^v .* UNKNOWN +UNKNOWN")

    @needs_faults
    def test_an_erase_that_fails_is_told_and_tried_again(self):
        self.ready()
        agent = self.start_agent(fault="erase.mark:eio")
        self.until_polling()
        self.authority.admin("host erase", "web-1", "--confirm", "web-1")
        self.until(lambda: self.order()["outcome"] == "failed", "nothing is told")
        self.assertEqual((self.order()["state"], self.order()["report"]["status"]), ("given", husk.FAILED))
        self.end_agent(agent)
        self.start_agent()
        self.until_order_is("done")
        self.assertEqual(self.state(), "erased")

    def test_what_is_not_signed_for_this_host_or_older_is_refused(self):
        """The file of the highest sequence says what was seen; the authority's clock makes its sequences."""
        self.ready()
        (name,) = [name for name in os.listdir(self.path(".husk/authorities")) if name.endswith(".json")]
        with open(self.path(".husk/authorities", name[:32] + ".orders"), "w") as file:
            json.dump({"version": 1, "sequence": 2 ** 62, "orders": []}, file)
        self.start_agent()
        self.authority.admin("host lock", "web-1")
        self.until(lambda: "an order is not carried out" in self.log(), "nothing is refused")
        self.assertEqual((self.state(), self.order()["state"]), ("unlocked", "given"))

    @needs_faults
    def test_a_killed_agent_goes_on_where_it_was(self):
        self.ready()
        for point in ("client.orders.write", "client.orders.written", "agent.order", "agent.order.noted"):
            with self.subTest(point):
                self.unlock()
                agent = self.start_agent(fault=f"{point}:crash")
                self.until_polling()
                self.authority.admin("host lock", "web-1")
                self.until(lambda: agent.poll() is not None, f"{point} is not passed")
                self.start_agent()
                self.until_order_is("done")
                self.assertEqual(self.state(), "locked")


class CopyTest(OrderCase):
    """Copies of the disk speak as the host does, and get its orders as well."""

    def setUp(self):
        super().setUp()
        self.ready()
        self.first, self.second = (self.enterContext(disk.copy(self.d)) for _ in range(2))
        for _ in range(2):  # the host moves on
            self.end_agent(self.beaten())

    def beaten(self):
        before = turns.read(self.path(".husk/lineage")) if os.path.exists(self.path(".husk/lineage")) else None
        agent = self.start_agent()
        self.until(lambda: os.path.exists(self.path(".husk/lineage")) and turns.read(self.path(".husk/lineage")) != before,
                   "no heartbeat")
        return agent

    def kinds(self):
        return [entry["kind"] for entry in self.authority.admin("ledger show")["entries"]]

    def test_what_an_old_copy_locked_the_host_has_still_to_lock(self):
        self.authority.admin("host lock", "web-1")
        copy = self.start_agent(at=self.first.path)
        self.until(lambda: "done-by-copy" in self.kinds(), "the copy said nothing")
        self.assertEqual((self.order()["state"], self.state()), ("given", "unlocked"))
        self.end_agent(copy)
        self.start_agent()
        self.until_order_is("done")
        self.assertEqual(self.state(), "locked")

    def test_an_erase_reaches_the_host_and_every_copy_that_speaks(self):
        def erased(of):
            return not os.path.exists(f"{of.path}/.husk/host.key") and os.path.exists(f"{of.path}/.husk/vaults/v/erased")

        self.authority.admin("host erase", "web-1", "--confirm", "web-1")
        for of, state in ((self.first, "given"), (self.d, "done"), (self.second, "done")):
            self.assertFalse(erased(of))
            self.start_agent(at=of.path)
            self.until(lambda of=of: erased(of), "it is not erased")
            self.assertEqual(self.order()["state"], state)


class KeyCopyTest(OrderCase):
    def copies(self):
        return self.authority.admin("keycopy list")["keycopies"]

    def test_what_else_opens_the_vaults_is_told_and_declared_destroyed(self):
        self.ready()
        self.start_agent()
        copies = self.until(self.copies, "no key copy is told")
        recovery = self.keyslots()["recovery"]
        self.assertEqual([(copy["kind"], copy["place"], copy["state"], copy["host"]) for copy in copies],
                         [("recovery", f"vault v, keyslot {recovery}", "reported", "web-1")])
        copy = copies[0]["id"]
        self.assertTrue(self.authority.document("keycopy", "destroyed", copy[:8])["changed"])
        self.assertFalse(self.authority.document("keycopy", "destroyed", copy)["changed"])
        self.assertEqual(self.copies()[0]["state"], "destroyed")
        self.assertIn("keycopy-destroyed", [entry["kind"] for entry in self.authority.admin("ledger show")["entries"]])
        self.assertIn(recovery, self.authority.ok("keycopy", "list").out)
        self.authority.run("keycopy", "destroyed", "ffffffff").expect(husk.FAILED)

    def not_reported(self):
        return [host["host"] for host in self.authority.admin("keycopy list")["not_reported"]]

    def test_a_host_that_never_told_is_listed_as_that(self):
        self.ready()
        self.assertEqual((self.copies(), self.not_reported()), ([], ["web-1"]))
        self.assertRegex(self.authority.ok("keycopy", "list").out, "web-1 .*not reported yet")
        self.start_agent()
        self.until(self.copies, "no key copy is told")
        self.assertEqual(self.not_reported(), [])

    def test_nothing_to_tell_is_told_too(self):
        self.authority.unlock_by("auto")
        self.enroll()
        self.protect(key=("--authority",), expect=husk.DONE)
        self.start_agent()
        self.until(lambda: not self.not_reported(), "an empty list is not told")
        self.assertEqual(self.copies(), [])

    def test_an_erase_at_the_authority_names_what_the_host_told_until_it_is_declared_destroyed(self):
        self.ready()
        agent = self.start_agent()
        (copy,) = self.until(self.copies, "no key copy is told")
        self.end_agent(agent)
        words = ("host", "erase", "web-1", "--confirm", "web-1")
        left = ["order-not-answered", "key-copy-authority-image"]
        self.assertEqual(document.kinds(self.authority.document(*words)), left + ["key-copy-of-host"])
        self.assertIn("1 key copy of kind recovery", self.authority.ok(*words).out)
        self.authority.ok("keycopy", "destroyed", copy["id"])
        self.assertEqual(document.kinds(self.authority.document(*words)), left)

    def test_changes_are_told_and_nothing_is_forgotten(self):
        self.ready()
        key = self.path("key")
        shutil.copy(self.keyfile, key)
        self.end_agent(self.start_agent_and_wait())
        self.json("keyslot add", "v", "--keyfile", key, "--allow-bypass")
        self.json("keyslot export", "v", self.keyslots()["keyfile"], self.beside("exported"))
        self.json("keyslot remove", "v", self.keyslots()["keyfile"])
        self.start_agent()
        self.until(lambda: len(self.copies()) >= 3, "the change is not told")
        self.assertEqual(sorted(copy["kind"] for copy in self.copies()), ["export", "keyfile", "recovery"])

    def start_agent_and_wait(self):
        process = self.start_agent()
        self.until(self.copies, "no key copy is told")
        return process


class LedgerTest(OrderCase):
    def test_an_authority_put_back_to_an_earlier_day_is_noticed_on_both_sides(self):
        self.ready()
        self.authority.end()
        shutil.copytree(self.authority.path, self.beside("earlier"))
        self.authority.start()
        self.end_agent_after_heartbeat()
        self.lock()
        self.unlock()
        self.assertNotIn("ledger-differs", document.kinds(self.json("status")))
        self.authority.end()
        shutil.rmtree(self.authority.path)
        shutil.copytree(self.beside("earlier"), self.authority.path)
        self.authority.start()
        self.start_agent()
        self.until(lambda: "is not the one it was" in self.log(), "the host does not notice")
        self.assertIn("ledger-differs", document.kinds(self.json("status")))
        self.until(lambda: "huskd_ledger_alarms 1" in self.authority.ok("metrics").out, "no alarm at the authority")
        self.assertIn("ledger-differs", [entry["kind"] for entry in self.authority.admin("ledger show")["entries"]])
        kept = self.kept()
        done = self.authority.run("ledger", "verify", "--checkpoint", kept)
        self.assertNotEqual(done.status, husk.DONE)

    def kept(self):
        (name,) = [name for name in os.listdir(self.path(".husk/authorities")) if name.endswith(".ledger")]
        path = self.beside("checkpoint")
        checkpoint = json.loads(turns.read(self.path(".husk/authorities", name)))["kept"][-1]
        with open(path, "w") as file:
            file.write(checkpoint)
        return checkpoint

    def end_agent_after_heartbeat(self):
        process = self.start_agent()
        self.until_polling()
        self.end_agent(process)

    def test_a_restarted_authority_raises_no_alarm(self):
        self.ready()
        self.start_agent()
        self.until_polling()
        for _ in range(3):
            self.authority.end()
            self.authority.start()
            self.lock()
            self.unlock()
        self.assertNotIn("ledger-differs", document.kinds(self.json("status")))
        self.assertIn("huskd_ledger_alarms 0", self.authority.ok("metrics").out)


if __name__ == "__main__":
    unittest.main()
