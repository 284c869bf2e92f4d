"""huskd killed at each fault point of its erases, and started again: what was erased stays so, nothing else is lost."""

import os
import unittest

import authority

# Each is passed by the erase of a host; authority.commit by everything.
POINTS = ["authority.commit", "authority.erase.begun", "authority.erase.destroyed", "authority.erase.done",
          "authority.erase.resealed", "authority.keyring.destroy", "authority.keyring.written"]

ELSEWHERE = ("authority.backup.", "authority.restore.",  # test_moving.py
             "authority.request.",  # test_authority_erase.c
             "authority.done.")  # test_boot.py


def beat(host):
    host.result({"type": "heartbeat", "boot": "@boot", "lineage": "@id", "facts": authority.FACTS,
                 "descriptor_sequence": 1})


def bind(host):
    keyslot = os.urandom(16).hex()
    host.result({"type": "bind", "keyslot": keyslot, "vault": os.urandom(16).hex(), "vault_name": "data",
                 "blinded": ["@point", "@point"]})
    return keyslot


class FaultsTest(unittest.TestCase):
    def setUp(self):
        if "authority.commit" not in authority.run("--list-faults").out.split():
            self.skipTest("huskd has no fault points: not a test build")

    def test_these_are_all_there_are(self):
        told = [name for name in authority.run("--list-faults").out.split() if name.startswith("authority.")]
        self.assertEqual([name for name in told if not name.startswith(ELSEWHERE)], POINTS)

    def test_an_erase_killed_anywhere_is_finished_later(self):
        """At the first, second, third ... pass of each point, until the erase gets through without it."""
        for point in POINTS:
            for hit in range(1, 20):
                with self.subTest(point, hit=hit):
                    passed = self.erase_with(f"{point}:crash:{hit}")
                if not passed:
                    break
            else:
                self.fail(f"{point} is passed for ever")

    def erase_with(self, fault):
        """Whether the point was passed."""
        with authority.running() as server:
            for name in ("stays", "goes"):
                host = server.host(name)
                beat(host)
                bind(host)
                host.close()
            server.end()
            died = False
            try:
                server.start(env={"HUSK_FAULT": fault})
                died = server.run("host", "erase", "goes", "--confirm", "goes").status != 0
            except authority.Ended:
                died = True
            if died:
                self.assertEqual(server.process.wait(20), -9)
            else:
                died = server.end() != 0  # at its last words
            server.start()
            server.ok("host", "erase", "goes", "--confirm", "goes")
            hosts = {found["name"]: found for found in server.document("host", "list")["result"]["hosts"]}
            self.assertEqual((hosts["goes"]["state"], hosts["goes"]["keyslots"]), ("erased", 0))
            self.assertEqual((hosts["stays"]["state"], hosts["stays"]["keyslots"]), ("active", 1))
            server.ok("ledger", "verify")
            keyrings = [name for name in os.listdir(server.path) if name.startswith("keyring.")]
            self.assertEqual(len(keyrings), 1, keyrings)
            self.assertNotEqual(keyrings, ["keyring.1"])
            return died


if __name__ == "__main__":
    unittest.main()
