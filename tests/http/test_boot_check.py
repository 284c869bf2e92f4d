"""check --boot on a host in a network of its own: each thing that would keep the next boot from going its way is named,
and what makes it so is the only thing named."""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "cli"))
sys.path.insert(0, HERE)

import authority
import husk
import known_address
import network
from job import needs_faults
from test_boot import Placed


class Rehearsed(Placed):
    def setUp(self):
        super().setUp()
        self.authority.unlock_by("auto")
        self.record()

    def rehearsed(self, expect=husk.REFUSED):
        found = self.json("check", "--boot", expect=expect, **self.here)["findings"]
        return [finding["kind"] for finding in found
                if finding["kind"] != "plaintext-waits" and "fstab mounts another filesystem" not in finding["cause"]]


@unittest.skipIf(authority.missing(), authority.missing() or "")
class CheckTest(Rehearsed):
    def test_all_well(self):
        self.assertEqual(self.rehearsed(husk.DONE), [])

    def test_on_another_machine_its_network_is_not_taken_for_the_hosts(self):
        self.assertNotIn("network-not-compared", self.rehearsed(husk.DONE))
        self.here = {"preexec_fn": self.hub.enter}
        self.assertEqual(self.rehearsed(husk.DONE), ["network-not-compared"])

    def test_an_authority_that_does_not_answer(self):
        self.authority.end()
        self.assertEqual(self.rehearsed(), ["authority-unreachable"] * 2)

    def test_an_authority_that_does_not_answer_where_a_keyfile_opens_it_too(self):
        key = self.path("boot/husk.key")
        with open(key, "wb") as file:
            file.write(os.urandom(64))
        self.call("keyslot", "add", "root", "--keyfile", key, "--allow-bypass", "--with-recovery-key-file", self.recovery,
                  expect=husk.DONE)
        self.authority.end()
        self.assertEqual(self.rehearsed(husk.DONE), ["authority-unreachable"])

    def second_authority(self):
        """That trusts the host as well, and has no keyslot of its root."""
        other = self.enterContext(known_address.running(network.HUB, 4878, preexec_fn=self.hub.enter))
        self.json("enroll", other.url, "--token", other.token(), "--name", "web-1", **self.here)
        return other

    def test_another_authority_than_the_one_that_opens_it_answers(self):
        self.second_authority()
        self.assertEqual(self.rehearsed(husk.DONE), [])
        self.authority.end()
        self.assertEqual(self.rehearsed(), ["authority-unreachable"] * 2)

    def test_another_authority_than_those_that_open_it_does_not_answer(self):
        self.second_authority().end()
        self.assertEqual(self.rehearsed(husk.DONE), ["authority-unreachable"])

    def test_a_vlan_that_came_after_the_initramfs_was_built(self):
        with open(self.path(".husk/network.json"), encoding="ascii") as file:
            kept = json.load(file)
        card = kept["links"][0]["name"]
        kept["links"].append({"name": "lan", "mac": kept["links"][0]["mac"], "mtu": 1500, "addresses": [], "routes": [],
                              "kind": "vlan", "parent": card, "id": 5, "protocol": 0x8100})
        self.write(".husk/network.json", json.dumps(kept))
        self.assertEqual(self.rehearsed(), ["initramfs-without-links", "network-changed"])  # nor does it run
        self.image("initrd.img-6.1.0-1", ["husk-initramfs"], stacked=b"true")
        self.assertEqual(self.rehearsed(), ["network-changed"])

    def test_what_is_known_of_the_authority_is_damaged(self):
        (path,) = glob.glob(self.path(".husk/authorities/*.json"))
        with open(path, "wb") as file:
            file.write(b"{")
        self.assertEqual(self.rehearsed(), ["authority-unknown"])

    def test_the_authority_has_erased_this_host(self):
        self.authority.admin("host erase", "web-1", "--confirm", "web-1")
        self.assertEqual(self.rehearsed(), ["host-erased", "authority-unreachable"])

    def test_the_authority_holds_this_host(self):
        self.authority.admin("host hold", "web-1")
        self.assertEqual(self.rehearsed(), ["host-held", "authority-unreachable"])
        self.authority.admin("host release", "web-1")
        self.authority.admin("group set", "default", "--held", "yes")
        self.assertEqual(self.rehearsed(), ["host-held", "authority-unreachable"])

    def test_the_authority_asks_people(self):
        self.authority.unlock_by("approve")
        self.assertEqual(self.rehearsed(husk.DONE), ["approval-needed"])
        self.authority.unlock_by("ticket")
        self.json("ticket", **self.here)
        self.assertEqual(self.rehearsed(husk.DONE), [])
        status = os.stat(self.d.path)  # the next boot is not the one that the authority knows
        shutil.rmtree(f"/run/husk/{status.st_dev:x}-{status.st_ino:x}")
        self.assertEqual(self.rehearsed(husk.DONE), ["approval-needed"])

    def test_the_authority_is_reached_over_what_is_not_recorded(self):
        for words in ("link add card type veth peer name far", "address add 192.168.9.9/24 dev card", "link set card up",
                      "link add bridge type bridge", "address flush dev hub", "link set hub master bridge",
                      f"address add {self.place.address}/24 dev bridge", "link set bridge up",
                      "route add default via 10.77.1.1"):
            self.ip(words)
        mac = re.search("link/ether (\\S+)", self.ip("link show card"))[1]
        card = {"name": "card", "mac": mac, "mtu": 1500, "addresses": ["192.168.9.9/24"], "routes": []}
        self.write(".husk/network.json", json.dumps({"version": 1, "links": [card], "name_servers": []}))
        self.assertEqual(self.rehearsed(), ["network-not-recorded"])

    def test_no_network_is_recorded(self):
        os.remove(self.path(".husk/network.json"))
        self.assertEqual(self.rehearsed(husk.DONE), ["network-not-recorded"])  # on a disk that is attached somewhere
        shutil.copy(husk.PROGRAM, self.path("boot/husk"))
        for name, words in ("proc", ("-t", "proc", "proc")), ("dev", ("--bind", "/dev")):
            subprocess.run(["mount", *words, self.path(name)], check=True)
            self.addCleanup(subprocess.run, ["umount", "-R", self.path(name)], check=True)
        told = subprocess.run(["chroot", self.d.path, "/boot/husk", "check", "--boot"], stderr=subprocess.PIPE, text=True,
                              stdout=subprocess.PIPE, check=False, **self.here)  # on the host itself
        self.assertEqual(told.returncode, husk.REFUSED, told)
        self.assertIn("restart husk-agent.service", told.stdout)

    def test_the_network_is_another_one_than_was_recorded(self):
        self.ip("link set hub mtu 1400")
        self.assertEqual(self.rehearsed(), ["network-changed"])

    @needs_faults
    def test_an_erase_was_begun(self):
        self.assertTrue(self.call("erase", "root", "--confirm", "root", fault="erase.marked:crash").crashed)
        self.assertEqual(self.rehearsed(), ["vault-erased"])


@unittest.skipIf(authority.missing(), authority.missing() or "")
class OnlyAuthorityTest(Rehearsed):
    """A root that nothing but its authority opens."""

    def protect_root(self, *words, **options):
        alone = "protect", "--root", "--skip-free-space", *words
        refused = self.call(*alone, **options).expect_error_line(husk.REFUSED)
        self.assertFalse(os.path.exists(self.path(".husk/vaults/root")))
        self.assertIn("--no-recovery", refused.err)
        return self.json(*alone, "--no-recovery", **options)

    def test_it_is_made_where_that_is_meant_and_nobody_at_the_console_could_open_it(self):
        self.assertEqual(self.rehearsed(husk.DONE), ["no-way-in-for-people"])
        self.assertEqual([slot["kind"] for slot in self.json("keyslot list", "root")["result"]["keyslots"]], ["authority"])
        self.call("lock", "root", expect=husk.DONE)
        self.call("unlock", "root", expect=husk.DONE, **self.here)


if __name__ == "__main__":
    unittest.main()
