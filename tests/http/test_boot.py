"""husk boot and a real huskd on loopback: away and back, an approval, a prompt beside."""
# runs long

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "cli"))
sys.path.insert(0, HERE)

import authority
import husk
import known_address
import network
from host_root import HostRoot
from job import needs_faults
from terminal import on_terminal


@unittest.skipIf(authority.missing(), authority.missing() or "")
class BootTest(HostRoot):
    def setUp(self):
        super().setUp()
        self.authority = self.enterContext(known_address.running())
        token = self.beside("token")
        with open(token, "w", encoding="ascii") as file:
            file.write(self.authority.token())
        self.json("enroll", self.authority.url, "--token-file", token, "--name", "web-1")
        told = self.protect_root("--authority")
        self.assertIn("network-not-recorded", [finding["kind"] for finding in told["findings"]])
        self.call("lock", "root", expect=husk.DONE)
        self.d.remount("ro")

    @contextlib.contextmanager
    def boot(self):
        with on_terminal("boot", "--at", self.d.path, "--console", "/dev/tty") as terminal:
            yield terminal
            self.assertEqual(terminal.end(), husk.DONE, terminal)
        self.assertEqual(self.state("root"), "unlocked")
        self.assertTrue(os.statvfs(self.d.path).f_flag & os.ST_RDONLY)

    def test_an_authority_that_is_away_is_asked_until_it_is_back(self):
        self.authority.unlock_by("auto")
        self.authority.end()
        with self.boot() as console:
            console.expect("recovery key of vault root: ").expect("cannot connect").expect("see that the authority runs")
            console.expect("recovery key of vault root: ")
            self.authority.start()
            console.expect("vault root is open, by its authority")

    def test_what_is_found_while_asking_is_said_once_with_what_to_do(self):
        self.d.remount("rw")
        shutil.rmtree(self.path(".husk/authorities"))
        self.d.remount("ro")
        with self.boot() as console:
            console.expect("bound to an authority this host is not enrolled at - husk enroll, where this is meant")
            time.sleep(5)  # it is asked again after 1.5 and 4.5 s at the latest
            console.expect("recovery key of vault root: ").line(self.recovery_key())
        self.assertEqual(console.seen.count("this host is not enrolled at"), 1, console)
        self.assertEqual(console.seen.count("opens the vault root - open it with one of its other keys"), 1, console)

    def lose(self, keyslot):
        """As where an authority is restored from a backup of before it was bound."""
        self.authority.end()
        with contextlib.closing(sqlite3.connect(f"{self.authority.path}/authority.db")) as database, database:
            for table, column in ("scalars", "keyslot"), ("keyslots", "id"):
                self.assertEqual(database.execute(f"DELETE FROM {table} WHERE {column} = ?",
                                                  [bytes.fromhex(keyslot)]).rowcount, 1)
        self.authority.start()

    def test_a_keyslot_its_authority_lost_keeps_no_other_vault_from_opening(self):
        self.authority.unlock_by("auto")
        self.d.remount("rw")
        self.make_tree("lib32")
        recovery = self.beside("more-recovery")
        self.call("protect", self.path("lib32"), "--vault", "more", "--authority", "--recovery-out", recovery,
                  "--skip-free-space", expect=husk.DONE)
        (lost,) = (slot["id"] for slot in self.json("keyslot list", "more")["result"]["keyslots"]
                   if slot["kind"] == "authority")
        self.call("lock", "more", expect=husk.DONE)
        self.d.remount("ro")
        self.lose(lost)
        with self.boot() as console:
            console.expect("does not have its part of a keyslot of vault more - open it with another of its keys")
            console.expect("vault root is open, by its authority").expect("recovery key of vault more: ")
            with open(recovery, encoding="ascii") as file:
                console.line(file.read().strip()).expect("vault more is open")
        subprocess.run(["mount", "-o", "remount,rw", self.d.path], check=True)
        self.call("lock", "more", expect=husk.DONE)
        error = self.json("unlock", "more", "--authority", expect=husk.FAILED)["error"]
        self.assertIn(f"more {lost[:8]}, husk keyslot add", error["remedy"])
        self.call("unlock", "more", "--recovery-key-file", recovery, expect=husk.DONE)
        self.json("keyslot remove", "more", lost)
        self.json("keyslot add", "more", "--authority", "--with-recovery-key-file", recovery)
        self.call("lock", "more", expect=husk.DONE)
        self.call("unlock", "more", "--authority", expect=husk.DONE)

    def test_a_host_erased_while_it_was_off_says_so_and_only_who_has_its_recovery_key_opens_it(self):
        self.authority.unlock_by("auto")
        self.authority.admin("host erase", "web-1", "--confirm", "web-1")
        with self.boot() as console:
            console.expect("the host is erased").expect("keys of other kinds may still open this disk")
            console.expect("recovery key of vault root: ")
            time.sleep(5)  # asked again meanwhile
            self.assertEqual(self.state("root"), "locked")
            console.line(self.recovery_key()).expect("vault root is open, by its recovery key")
        self.assertEqual(console.seen.count("the host is erased"), 1, console)
        # What was ordered while it was off waits for its agent.
        self.d.remount("rw")
        with subprocess.Popen([husk.PROGRAM, *self.at("agent")], stderr=subprocess.DEVNULL) as agent:
            limit = time.monotonic() + 60
            while self.state("root") != "erased" and time.monotonic() < limit:
                time.sleep(0.2)
            agent.terminate()
        self.assertEqual(self.state("root"), "erased")

    def test_it_waits_for_an_approval_and_shows_the_code(self):
        self.authority.unlock_by("approve")
        with self.boot() as console:
            console.expect("waiting for approval, code ")
            self.authority.admin("request approve", self.authority.wait_for_request()["id"])
            console.expect("vault root is open, by its authority")

    def test_a_host_on_hold_says_so_once_and_opens_when_it_is_released(self):
        self.authority.unlock_by("auto")
        self.authority.admin("host hold", "web-1")
        with self.boot() as console:
            console.expect("the host is on hold").expect("recovery key of vault root: ")
            time.sleep(25)  # for longer than a turn
            self.assertEqual(self.state("root"), "locked")
            self.authority.admin("host release", "web-1")
            console.expect("vault root is open, by its authority")
        self.assertEqual(console.seen.count("on hold"), 1, console)

    def test_a_host_put_on_hold_twice_while_it_waits_says_so_twice(self):
        self.authority.unlock_by("approve")
        with self.boot() as console:
            console.expect("waiting for approval, code ")
            request = self.authority.wait_for_request()["id"]
            self.authority.admin("host hold", "web-1")
            console.expect("the host is on hold").send("")
            self.authority.admin("host release", "web-1")
            console.expect("waiting for approval, code ").send("")
            self.authority.admin("host hold", "web-1")
            console.expect("the host is on hold")
            told = self.authority.ok("request", "approve", request).out
            self.assertRegex(told, "nothing opens until its hold is ended: huskd host release .*web-1")
            time.sleep(2)
            self.assertEqual(self.state("root"), "locked")
            self.authority.admin("host release", "web-1")
            console.expect("vault root is open, by its authority")

    def test_who_types_first_wins_and_nothing_goes_on_asking(self):
        self.authority.unlock_by("approve")
        with self.boot() as console:
            console.expect("waiting for approval").expect("recovery key of vault root: ").line(self.recovery_key())
            console.expect("vault root is open, by its recovery key")
        self.assertEqual(len(self.authority.requests("pending")), 1)


class Placed(HostRoot):
    """The host in a network of its own, a cable away from its authority."""

    PORT, NAMED_PORT = 4876, 4877
    NAME = "authority.test"  # no name server knows it

    def setUp(self):
        super().setUp()
        self.hub = self.enterContext(network.Namespace())
        self.place = self.enterContext(self.hub.spoke(1))
        self.authority = self.enterContext(known_address.running(
            network.HUB, self.PORT, [f"http://{self.NAME}:{self.NAMED_PORT}"], preexec_fn=self.hub.enter))
        self.here = {"preexec_fn": self.place.enter}
        self.json("enroll", self.authority.url, "--token", self.authority.token(), "--name", "web-1", **self.here)
        self.protect_root("--authority", **self.here)

    def ip(self, words):
        return subprocess.run(["ip", *words.split()], stdout=subprocess.PIPE, check=True, text=True, **self.here).stdout

    def record(self, **more):
        """The network of the host, as its agent would have recorded it."""
        link = {"name": "hub", "mac": re.search("link/ether (\\S+)", self.ip("link show hub"))[1], "mtu": 1500,
                "addresses": [f"{self.place.address}/24"],
                "routes": [{"to": "0.0.0.0/0", "via": "10.77.1.1", "onlink": False, "metric": 0}]}
        self.write(".husk/network.json", json.dumps({"version": 1, "links": [link], "name_servers": [], **more}))

    def switch_off(self):
        self.call("lock", "root")
        self.d.remount("ro")
        self.ip("address flush dev hub")
        self.ip("link set hub down")

    def is_down(self):
        return "UP" not in self.ip("link show hub") and "inet" not in self.ip("address show dev hub")

    @contextlib.contextmanager
    def boot(self, *words, expect=husk.DONE, fault=None):
        with on_terminal("boot", "--at", self.d.path, "--console", "/dev/tty", *words, enter=self.place.enter,
                         fault=fault) as console:
            yield console
            self.assertEqual(console.end(), expect, console)
        self.assertTrue(os.statvfs(self.d.path).f_flag & os.ST_RDONLY)


@unittest.skipIf(authority.missing(), authority.missing() or "")
class ErasingTest(Placed):
    """An erase that was cut short after its mark, so that the authority still has its part."""

    def setUp(self):
        super().setUp()
        self.assertTrue(self.call("erase", "root", "--confirm", "root", fault="erase.marked:crash").crashed)

    def keyslots_there(self):
        return self.authority.admin("host list")["hosts"][0]["keyslots"]

    def check_erased(self, console):
        console.expect("has destroyed what it had").expect("vault root of this host is erased").expect("does not boot")
        self.assertEqual(self.state("root"), "erased")
        self.assertEqual(self.keyslots_there(), 0)

    @needs_faults
    def test_the_network_that_was_recorded_brings_the_authority_to_destroy_its_part(self):
        self.record()
        self.switch_off()
        with self.boot("--network", expect=husk.REFUSED) as console:
            self.check_erased(console)
            self.assertNotIn("not finished", console.seen)
            console.line("shell")
        self.assertTrue(self.is_down())

    @needs_faults
    def test_without_one_dhcp_does(self):
        script = self.beside("dhcp")
        with open(script, "w", encoding="ascii") as file:
            file.write("#!/bin/sh -e\nip address add 10.77.1.2/24 dev hub\nip link set hub up\n"
                       "ip route add default via 10.77.1.1\n")
        os.chmod(script, 0o700)
        self.switch_off()
        with self.boot("--network", "--dhcp", script, expect=husk.REFUSED) as console:
            console.expect("no network was recorded").expect("trying DHCP")
            self.check_erased(console)
            console.line("shell")
        self.assertTrue(self.is_down())

    @needs_faults
    def test_while_no_authority_answers_it_stays_erasing_and_opens_for_nobody(self):
        self.record()
        self.authority.end()
        self.switch_off()
        with self.boot("--network", expect=husk.REFUSED) as console:
            console.expect("stays erasing").expect("does not boot")
            self.assertNotIn("is erased", console.seen)
            self.assertEqual(os.listdir(self.path(".husk/vaults/root/keyslots")), [])
            self.assertEqual(self.state("root"), "erasing")
            refused = self.json("unlock", "root", "--recovery-key-file", self.recovery, expect=husk.REFUSED)
            self.assertEqual(refused["error"]["code"], "erased")
            self.authority.start(preexec_fn=self.hub.enter)
            self.check_erased(console)
            console.line("shell")


@unittest.skipIf(authority.missing(), authority.missing() or "")
class OrderedTest(Placed):
    """An authority ordered the host erased while it ran, and something kept files of the root open."""

    def order(self):
        return self.authority.admin("host show", "web-1")["hosts"][0]["orders"][0]

    def until(self, holds, what):
        limit = time.monotonic() + 30
        while not holds():
            self.assertLess(time.monotonic(), limit, what)
            time.sleep(0.05)

    def agent(self, fault=None):
        environment = {**os.environ, **({"HUSK_FAULT": fault} if fault else {})}
        agent = subprocess.Popen([husk.PROGRAM, "agent", "--at", self.d.path], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, env=environment, **self.here)
        self.addCleanup(lambda: (agent.kill(), agent.wait()))
        return agent

    def orders_file(self):
        (name,) = [name for name in os.listdir(self.path(".husk/authorities")) if name.endswith(".orders")]
        return self.path(".husk/authorities", name)

    def kept(self):
        with open(self.orders_file(), encoding="ascii") as file:
            return json.load(file)

    def erase_by_order(self, again=None, is_silent=True):
        """Then it is off: what was in memory is gone, and the authority has not heard of it for long enough."""
        self.record()
        with open(self.path("etc/fstab"), "rb"):
            agent = self.agent()
            self.authority.admin("host erase", "web-1", "--confirm", "web-1")
            self.until(lambda: self.order()["outcome"] == "incomplete", "the agent says nothing")
            agent.kill()
            agent.wait()
            if again:
                again()
        status = os.stat(self.d.path)
        shutil.rmtree(f"/run/husk/{status.st_dev:x}-{status.st_ino:x}")
        self.authority.end()
        self.authority.start(env={"HUSK_FAULT": "authority.done.silent:eio"} if is_silent else None,
                             preexec_fn=self.hub.enter)
        self.switch_off()

    def check_ended(self):
        host = self.authority.admin("host show", "web-1")["hosts"][0]
        self.assertEqual((host["orders"][0]["state"], host["orders"][0]["outcome"]), ("done", "done"))
        self.assertEqual([vault["plaintext_before"] for vault in host["erased_vaults"]], ["UNKNOWN"])
        self.assertFalse(os.path.exists(self.path(".husk/host.key")))
        self.assertTrue(self.is_down())

    def boot_finishes_it(self, fault=None):
        with self.boot("--network", expect=husk.REFUSED, fault=fault) as console:
            console.expect("vault root of this host is erased").expect("setting up the network")
            console.expect("has erased this host for good").expect("the identity of this host is destroyed")
            console.expect("does not boot").line("shell")
        self.check_ended()

    @needs_faults
    def test_the_next_boot_finishes_it_and_tells_the_authority(self):
        self.erase_by_order()
        self.boot_finishes_it()
        with self.boot("--network", expect=husk.REFUSED) as console:  # nobody is to be told any more
            console.expect("vault root of this host is erased").expect("does not boot").line("shell")
            self.assertNotIn("network", console.seen)

    @needs_faults
    def test_one_that_reaches_no_authority_leaves_that_to_a_later_boot(self):
        self.erase_by_order()
        self.authority.end()
        with self.boot("--network", expect=husk.REFUSED) as console:
            console.expect("vault root of this host is erased").expect("could not be told of it").expect("does not boot")
            console.line("shell")
        self.assertTrue(os.path.exists(self.path(".husk/host.key")))
        self.authority.start(env={"HUSK_FAULT": "authority.done.silent:eio"}, preexec_fn=self.hub.enter)
        self.assertEqual(self.order()["state"], "given")
        self.boot_finishes_it()

    @needs_faults
    def test_an_end_that_was_cut_short_is_finished(self):
        self.erase_by_order()
        with self.boot("--network", expect=husk.REFUSED, fault="erase.identity:eio") as console:
            console.expect("has erased this host for good").expect("cannot destroy host.key").expect("does not boot")
            console.line("shell")
        self.assertTrue(os.path.exists(self.path(".husk/host.key")))
        with self.boot("--network", expect=husk.REFUSED) as console:
            console.expect("the identity of this host is destroyed").expect("does not boot").line("shell")
        self.check_ended()

    @needs_faults
    def test_an_answer_that_could_not_be_kept_is_given_again_in_the_same_boot(self):
        self.erase_by_order()
        self.boot_finishes_it(fault="client.orders.write:eio")

    def test_while_an_earlier_boot_may_still_run_it_is_not_believed(self):
        """A copy of the disk, booted beside the host, would say that what is in the host's memory is gone."""
        self.erase_by_order(is_silent=False)
        with self.boot("--network", expect=husk.REFUSED) as console:
            console.expect("an earlier boot of this host may still run").expect("does not boot").line("shell")
            self.assertNotIn("DHCP", console.seen)
        self.assertEqual(self.order()["state"], "given")
        self.assertTrue(os.path.exists(self.path(".husk/host.key")))

    @needs_faults
    def test_what_its_agent_was_ended_at_tells_nothing_less(self):
        def end_it():
            agent = self.agent(fault="erase.marked:crash")
            time.sleep(3)
            self.assertIsNone(agent.poll())
            agent.kill()
            agent.wait()

        self.erase_by_order(again=end_it)
        (order,) = self.kept()["orders"]
        self.assertEqual((order["outcome"], order["report"]["left"]),
                         ("incomplete", [{"name": "root", "filesystem": self.d.path}]))
        self.boot_finishes_it()

    @needs_faults
    def test_an_agent_says_that_it_runs_as_long_as_an_erase_takes(self):
        def seen():
            return self.authority.admin("host show", "web-1")["hosts"][0]["last_seen"]

        agent = self.agent(fault="erase.marked:pause")
        self.authority.admin("host erase", "web-1", "--confirm", "web-1")
        self.until(lambda: self.state("root") == "erasing", "nothing is carried out")
        begun = seen()
        limit = time.monotonic() + 45
        while seen() < begun + 20:
            self.assertLess(time.monotonic(), limit, "the agent says nothing")
            time.sleep(1)
        (erase,) = subprocess.run(["pgrep", "-P", str(agent.pid)], stdout=subprocess.PIPE, check=True, text=True).stdout.split()
        os.kill(int(erase), signal.SIGCONT)
        self.until(lambda: self.order()["state"] == "done", "it does not go on")

    def test_what_was_left_elsewhere_as_well_is_not_called_done(self):
        self.erase_by_order(is_silent=False)
        orders = self.kept()
        orders["orders"][0]["report"]["left"].append({"name": "data", "filesystem": "/srv"})
        self.d.remount("rw")
        with open(self.orders_file(), "w", encoding="ascii") as file:
            json.dump(orders, file)
        self.d.remount("ro")
        with self.boot("--network", expect=husk.REFUSED) as console:
            console.expect("is more than the vaults of the root, or not known").expect("does not boot").line("shell")
        self.assertEqual(self.order()["state"], "given")
        self.assertTrue(os.path.exists(self.path(".husk/host.key")))

    def test_a_file_of_orders_that_is_damaged_keeps_no_host_from_its_end(self):
        self.erase_by_order(is_silent=False)
        self.d.remount("rw")
        with open(self.orders_file(), "w", encoding="ascii") as file:
            file.write("{")
        self.d.remount("ro")
        with self.boot("--network", expect=husk.REFUSED) as console:
            console.expect("vault root of this host is erased").expect("does not boot").line("shell")
            self.assertNotIn("more than the vaults", console.seen)
        self.d.remount("rw")
        self.ip(f"address add {self.place.address}/24 dev hub")
        self.ip("link set hub up")
        self.ip("route add default via 10.77.1.1")
        self.json("erase", "--all", "--confirm", "web-1", **self.here)
        self.ip("link set hub down")
        self.ip("address flush dev hub")
        self.check_ended()


@unittest.skipIf(authority.missing(), authority.missing() or "")
class AgainTest(Placed):
    """What brought no network is tried again; the second of these passes comes behind the first DHCP."""

    AGAIN = "boot.network.again:eio:2,boot.network.again:eio:3,boot.network.again:eio:4"

    def dhcp(self, script):
        path = self.beside("dhcp")
        with open(path, "w", encoding="ascii") as file:
            file.write(f"#!/bin/sh -e\necho x >>{self.beside('runs')}\n{script}")
        os.chmod(path, 0o700)
        return "--network", "--dhcp", path

    def runs(self):
        with open(self.beside("runs"), encoding="ascii") as file:
            return len(file.readlines())

    @needs_faults
    def test_a_dhcp_server_that_is_back_later_is_found(self):
        self.authority.unlock_by("auto")
        words = self.dhcp(f"[ -e {self.beside('back')} ]\nip address add 10.77.1.2/24 dev hub\nip link set hub up\n"
                          "ip route add default via 10.77.1.1\n")
        self.switch_off()
        with self.boot(*words, fault=self.AGAIN) as console:
            console.expect("no network was recorded").expect("trying DHCP").expect("found no network")
            with open(self.beside("back"), "wb"):
                pass
            console.expect("trying DHCP").expect("DHCP has ended").expect("vault root is open, by its authority")
        self.assertEqual(self.runs(), 2)
        self.assertTrue(self.is_down())

    @needs_faults
    def test_a_network_that_is_there_is_left_alone_while_the_authority_is_away(self):
        self.authority.unlock_by("auto")
        self.record()
        words = self.dhcp("exit 1\n")
        self.authority.end()
        self.switch_off()
        with self.boot(*words, fault=self.AGAIN) as console:
            console.expect("trying DHCP").expect("found no network")
            time.sleep(8)  # asked again after 1.5 and 4.5 s at the latest
            self.authority.start(preexec_fn=self.hub.enter)
            console.expect("vault root is open, by its authority")
        self.assertEqual(self.runs(), 1)

    def test_a_carrier_that_comes_while_it_asks_is_asked_over_before_dhcp(self):
        """As of a switch that lets a port through after half a minute."""
        self.authority.unlock_by("auto")
        self.record()
        words = self.dhcp("exit 1\n")
        self.switch_off()
        with contextlib.ExitStack() as cut:
            cut.enter_context(self.place.cut())
            with self.boot(*words) as console:
                console.expect("has no carrier")
                time.sleep(4)  # of the five that it waits for a connection; its last try in these was after three
                cut.close()
                console.expect("vault root is open, by its authority")
                self.assertNotIn("trying DHCP", console.seen)
        self.assertFalse(os.path.exists(self.beside("runs")))

    def test_dhcp_that_leads_nowhere_does_not_take_the_place_of_what_was_recorded(self):
        """The authority is away for as long as it takes to try DHCP, as when a whole rack gets its power back."""
        self.authority.unlock_by("auto")
        self.record()
        words = self.dhcp("ip address flush dev hub\nip address add 10.99.0.5/24 dev hub\n"
                          "ip route add default via 10.99.0.1\n")
        self.authority.end()
        self.switch_off()
        with self.boot(*words) as console:
            console.expect("trying DHCP")
            self.authority.start(preexec_fn=self.hub.enter)
            console.expect("vault root is open, by its authority")
        self.assertEqual(self.runs(), 1)
        self.assertTrue(self.is_down())

    def is_outrun(self, script):
        """A person is faster than the DHCP client of this script, which writes down the process that is to end then."""
        written = self.beside("process")
        words = self.dhcp(script.format(f"echo $! >{written}.new; mv {written}.new {written}"))
        self.switch_off()
        with self.boot(*words) as console:
            console.expect("trying DHCP")
            limit = time.monotonic() + 60
            while not os.path.exists(written) and time.monotonic() < limit:
                time.sleep(0.1)
            with open(written, encoding="ascii") as file:
                process = file.read().strip()
            self.addCleanup(subprocess.run, ["kill", "-KILL", process], stderr=subprocess.DEVNULL)
            console.line(self.recovery_key()).expect("vault root is open, by its recovery key")
        self.assertIn(subprocess.run(["ps", "-o", "stat=", process], stdout=subprocess.PIPE, text=True).stdout[:1], ("", "Z"))

    def test_a_dhcp_client_in_the_background_is_ended_by_the_one_that_waits_for_it(self):
        """So is Ubuntu's made: out of the group, and ended where its launcher is told to end."""
        self.is_outrun("trap 'kill $!; exit 1' TERM\nsetsid sleep 1000 &\n{}\nwait\n")

    def test_a_dhcp_client_that_does_not_end_when_told_to_is_killed(self):
        self.is_outrun("trap '' TERM\nsleep 1000 &\n{}\nwait\n")


@unittest.skipIf(authority.missing(), authority.missing() or "")
class NamesTest(Placed):
    def test_where_no_name_server_answers_it_is_asked_at_the_address_that_was_recorded(self):
        self.authority.unlock_by("auto")
        self.authority.end()
        self.authority.listen_at(self.NAMED_PORT)
        self.authority.start(preexec_fn=self.hub.enter)
        # Of what is no address nothing comes.
        self.record(authorities={self.NAME: ["no address", 7, network.HUB], "other.test": "192.0.2.1"})
        self.switch_off()
        with self.boot("--network") as console:
            console.expect("vault root is open, by its authority")
        self.assertTrue(self.is_down())


@unittest.skipIf(authority.missing(), authority.missing() or "")
class RecordTest(unittest.TestCase):
    """A host whose root is a directory, so that what it records is its own, and so is /etc/hosts."""

    def test_what_the_name_of_an_authority_stands_for_is_recorded_and_of_use_without_name_servers(self):
        self.root = self.enterContext(tempfile.TemporaryDirectory(prefix="husk-test-"))
        for name in ".husk", "etc", "run":
            os.mkdir(os.path.join(self.root, name), 0o700)
        shutil.copy(husk.PROGRAM, os.path.join(self.root, "husk"))
        self.write("etc/hosts", f"{network.HUB} authority.test\n")
        self.write("etc/resolv.conf", f"nameserver {network.HUB}\n")  # nobody listens there
        hub = self.enterContext(network.Namespace())
        self.place = self.enterContext(hub.spoke(1))
        server = self.enterContext(known_address.running(network.HUB, 4876, ["http://authority.test:4877"],
                                                         preexec_fn=hub.enter))
        self.husk("enroll", server.url, "--token", server.token(), "--name", "web-1")
        self.assertEqual(self.recorded()["authorities"], {})
        self.assertEqual(self.recorded()["links"][0]["addresses"], ["10.77.1.2/24"])

        server.end()
        server.listen_at(4877)  # from now on at its other address
        server.start(preexec_fn=hub.enter)
        self.husk("ticket")
        self.assertEqual(self.recorded()["authorities"], {"authority.test": [network.HUB]})
        before = os.stat(self.path(".husk/network.json"))
        self.write("etc/hosts", "")
        self.husk("ticket")
        self.assertEqual(os.stat(self.path(".husk/network.json")).st_ino, before.st_ino)

    def path(self, name):
        return os.path.join(self.root, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="ascii") as file:
            file.write(text)

    def enter(self):
        self.place.enter()
        os.chroot(self.root)
        os.chdir("/")

    def husk(self, *words):
        done = subprocess.run(["/husk", *words], preexec_fn=self.enter, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              text=True, timeout=60)
        self.assertEqual(done.returncode, husk.DONE, done.stderr)

    def recorded(self):
        with open(self.path(".husk/network.json"), encoding="utf-8") as file:
            return json.load(file)


if __name__ == "__main__":
    unittest.main()
