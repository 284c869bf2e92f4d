"""Two hosts and their authority, each in a network of its own, and copies of a host's disk that ask too."""
# runs long

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cli"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import authority
import disk
import husk
import known_address
import network

PORT = 4875
ANSWER_S = 15  # how long husk waits for an answer that comes at once


class Host:
    """A disk of 32 MiB in a network; its vault v is bound to the authority alone."""

    def __init__(self, test, d, where):
        self.test, self.d, self.where = test, d, where
        status = os.stat(d.path)
        self.runtime = f"/run/husk/{status.st_dev:x}-{status.st_ino:x}"
        test.addCleanup(self.forget_boot)

    def forget_boot(self):
        """What a boot does: what was in memory is gone."""
        shutil.rmtree(self.runtime, ignore_errors=True)

    def call(self, *words, expect=husk.DONE, **options):
        return husk.run(*words, "--at", self.d.path, json=True, preexec_fn=self.where.enter, **options).expect(expect)

    def enroll(self, name):
        self.call("enroll", self.test.server.url, "--token", self.test.server.token(), "--name", name)
        tree = os.path.join(self.d.path, "data")
        os.mkdir(tree)
        self.call("protect", tree, "--vault", "v", "--authority", "--skip-free-space")
        with open(os.path.join(tree, "letter"), "w", encoding="ascii") as file:
            file.write("Dear bank")
        return self

    def unlock(self, expect=husk.DONE, **options):
        return self.call("unlock", "v", expect=expect, **options)

    def boot(self, expect=husk.DONE, **options):
        """Off, on, and its vault is asked for."""
        self.off()
        return self.unlock(expect, **options)

    def off(self):
        self.call("lock", "v")
        self.forget_boot()

    def state(self):
        return self.call("status", "v").document["result"]["vaults"][0]["state"]

    @contextlib.contextmanager
    def agent(self):
        """Its agent, after its first heartbeat was answered."""
        lineage = os.path.join(self.d.path, ".husk/lineage")
        before = self.read(lineage)
        process = subprocess.Popen([husk.PROGRAM, "agent", "--at", self.d.path], preexec_fn=self.where.enter,
                                   stderr=subprocess.PIPE, text=True)
        try:
            self.test.wait_for(lambda: self.read(lineage) != before)
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=10)

    @staticmethod
    def read(path):
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            return file.read()

    def copy(self, where=None):
        """Another machine with a copy of its disk."""
        return Host(self.test, self.test.enterContext(disk.copy(self.d)), where or self.where)


@unittest.skipIf(authority.missing(), authority.missing() or "")
class NetworkTest(unittest.TestCase):
    def setUp(self):
        self.hub = self.enterContext(network.Namespace())
        self.places = [self.enterContext(self.hub.spoke(number)) for number in (1, 2)]
        self.server = self.enterContext(known_address.running(network.HUB, PORT, preexec_fn=self.hub.enter))
        self.server.unlock_by("auto")

    def pause(self):
        """The authority is started again: it has heard of no boot since, and asks for one."""
        self.server.end()
        self.server.start(preexec_fn=self.hub.enter)

    def host(self, place=0, name="web-1"):
        made = Host(self, self.enterContext(disk.ext4(size_mib=32)), self.places[place]).enroll(name)
        self.pause()
        return made

    def wait_for(self, condition):
        until = time.monotonic() + 15
        while not condition():
            self.assertLess(time.monotonic(), until)
            time.sleep(0.02)

    def flags(self):
        """Of the request that waits for a decision."""
        (request,) = self.server.requests("pending")
        return set(request["flags"])

    def flagged_ever(self):
        return [one["flags"] for one in self.server.requests() if one["flags"]]


class PlacesTest(NetworkTest):
    def test_each_host_is_let_in_where_it_may_be(self):
        first, second = self.host(0, "web-1"), self.host(1, "web-2")
        self.server.admin("group set", "default", "--sources", "10.77.1.0/24")
        first.boot()
        second.boot(expect=husk.NOT_NOW)
        (request,) = self.server.requests("pending")
        self.assertEqual((request["host"], request["address"], request["flags"]), ("web-2", "10.77.2.2", []))
        self.assertIn("sources", "".join(request["reasons"]))
        self.server.admin("request approve", request["id"])
        second.unlock()
        self.assertEqual((first.state(), second.state()), ("unlocked", "unlocked"))

        # A disk that was carried elsewhere asks from there.
        stolen = first.copy(self.places[1])
        stolen.unlock(expect=husk.NOT_NOW)
        self.assertEqual(self.server.requests("pending")[0]["address"], "10.77.2.2")
        self.assertEqual(stolen.state(), "locked")

    def test_a_network_that_goes_away_while_people_decide_is_no_harm(self):
        self.server.unlock_by("approve")
        host = self.host()
        host.off()
        process = subprocess.Popen([husk.PROGRAM, "unlock", "v", "--at", host.d.path, "--wait", "60", "--json"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=host.where.enter)
        request = self.server.wait_for_request()
        time.sleep(0.5)  # it is held now
        with host.where.cut():
            self.server.admin("request approve", request["id"], "--code", request["code"])
            time.sleep(2)
            self.assertIsNone(process.poll())
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, husk.DONE, err)
        self.assertEqual(json.loads(out)["result"]["vaults"][0]["opened_by"], "authority")
        # The grant it took is the one; the next boot fits.
        self.server.unlock_by("auto")
        host.boot()
        self.assertEqual(self.flagged_ever(), [])

    def test_an_answer_that_is_lost_makes_no_second_request(self):
        self.server.unlock_by("approve")
        host = self.host()
        host.off()
        self.server.process.send_signal(signal.SIGSTOP)
        process = subprocess.Popen([husk.PROGRAM, "unlock", "v", "--at", host.d.path, "--wait", "120"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=host.where.enter)
        self.addCleanup(process.communicate)
        time.sleep(ANSWER_S + 2)  # it has given up once, and what it sent is read afterwards
        self.server.process.send_signal(signal.SIGCONT)
        request = self.server.wait_for_request()
        time.sleep(1)
        self.assertEqual(len(self.server.requests("pending")), 1)
        self.server.admin("request approve", request["id"])
        self.assertEqual(process.wait(60), husk.DONE)

    def test_without_a_network_it_is_not_now(self):
        host = self.host()
        host.off()
        with host.where.cut():
            done = host.unlock(expect=husk.NOT_NOW)
        self.assertEqual(done.document["error"]["code"], "unreachable")
        host.unlock()


class CopyTest(NetworkTest):
    def test_one_that_asks_while_the_host_runs_is_flagged_twice_over(self):
        host = self.host()
        copy = host.copy()
        host.boot()
        with host.agent():
            copy.unlock(expect=husk.NOT_NOW)
            self.assertEqual(self.flags(), {"stale-lineage", "other-boot-answers"})
            # Identical to the last byte it is a copy still, because the host answers.
            twin = host.copy(self.places[1])
            self.server.admin("request deny", self.server.requests("pending")[0]["id"])
            twin.unlock(expect=husk.NOT_NOW)
            self.assertIn("other-boot-answers", self.flags())
        self.assertEqual((copy.state(), twin.state(), host.state()), ("locked", "locked", "unlocked"))

    def test_one_whose_agent_speaks_before_it_asks_is_flagged(self):
        host = self.host()
        host.boot()
        with host.agent():
            twin = host.copy(self.places[1])
            with twin.agent():
                twin.unlock(expect=husk.NOT_NOW)
                self.assertEqual(self.flags(), {"other-boot-answers"})
        self.assertEqual((twin.state(), host.state()), ("locked", "unlocked"))

    def test_one_that_asks_right_after_a_restart_of_the_authority_is_flagged(self):
        host = self.host()
        host.boot()
        with host.agent():
            twin = host.copy(self.places[1])
            self.pause()
            twin.unlock(expect=husk.NOT_NOW)
            self.assertEqual(self.flags(), {"other-boot-answers"})

    def test_one_that_asks_after_the_host_moved_on_is_flagged_although_nobody_answers(self):
        host = self.host()
        copy = host.copy()
        for _ in range(2):
            host.boot()
            self.pause()
        host.off()
        copy.unlock(expect=husk.NOT_NOW)
        self.assertEqual(self.flags(), {"stale-lineage"})
        self.server.admin("request deny", self.server.requests("pending")[0]["id"])
        self.pause()
        host.unlock()

    def test_of_one_that_asks_before_and_lives_on_the_host_is_told(self):
        host = self.host()
        host.off()
        copy = host.copy()
        copy.unlock()  # who asks first is the host, for all that can be known
        with copy.agent():
            host.unlock(expect=husk.NOT_NOW)
            self.assertEqual(self.flags(), {"stale-lineage", "other-boot-answers"})
        self.assertEqual(host.state(), "locked")

    def test_one_that_asks_at_the_same_time_flags_both(self):
        self.server.unlock_by("approve")
        host = self.host()
        host.boot(expect=husk.NOT_NOW)
        copy = host.copy(self.places[1])
        copy.unlock(expect=husk.NOT_NOW)
        pending = self.server.requests("pending")
        self.assertEqual([one["flags"] for one in pending], [["two-requests"]] * 2)
        (of_host,) = (one for one in pending if one["address"] == "10.77.1.2")
        self.server.admin("request approve", of_host["id"], "--code", of_host["code"])
        host.unlock()
        self.assertEqual(copy.state(), "locked")

    def test_erasing_the_host_reaches_every_copy(self):
        host = self.host()
        copies = [host.copy()]
        host.boot()
        copies.append(host.copy(self.places[1]))
        self.server.admin("host erase", "web-1", "--confirm", "web-1")
        host.off()
        for one in (host, *copies):
            self.assertEqual(one.unlock(expect=husk.REFUSED).document["error"]["code"], "erased")
            self.assertEqual(one.state(), "locked")


@unittest.skipUnless(husk.list_faults(), "a build with fault points (-Dfaults=true)")
class CrashTest(NetworkTest):
    def test_a_crash_anywhere_around_the_lineage_is_never_taken_for_a_copy(self):
        host = self.host()
        for point in ("client.lineage.write", "client.lineage.written", "client.lineage.written", "fscrypt.add-key"):
            with self.subTest(point):
                host.off()
                self.pause()
                self.assertTrue(host.unlock(fault=f"{point}:crash", expect=-signal.SIGKILL).crashed)
                self.pause()
                host.boot()
        with host.agent():
            host.unlock()
        self.assertEqual(self.flagged_ever(), [])


if __name__ == "__main__":
    unittest.main()
