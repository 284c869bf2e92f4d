"""A keyring that was to be destroyed and cannot be: huskd serves, no erase is done, and everybody is told."""

import os
import shutil
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import disk
import husk
import prometheus
from test_bad_conditions import Opening


class OldKeyringTest(Opening):
    """One that cannot be destroyed: it is mounted read-only, as a medium that takes no writes."""

    def place(self):
        return self.enterContext(disk.ext4(size_mib=32)).path

    def metric(self, name):
        return prometheus.parse(self.server.document("metrics")["result"]["text"])[name]

    def alarms(self):
        return [finding["kind"] for finding in self.server.document("host", "list")["findings"]]

    def test_hosts_are_let_in_and_no_erase_is_done_until_it_is_destroyed(self):
        self.fresh()  # a second bucket, so that the next host needs no other keyring
        self.server.end()
        keyring = self.keyring()
        old = keyring.rsplit(".", 1)[0] + ".99"
        shutil.copy(keyring, old)
        disk.run("mount", "--bind", old, old)
        self.addCleanup(disk.run, "sh", "-c", f"! mountpoint -q {old} || umount {old}")
        disk.run("mount", "-o", "remount,ro,bind", old)
        # It is not tried with every batch: hosts would wait while a bad medium takes its time.
        self.server.start({"HUSK_FAULT": "authority.keyring.destroy:crash:12"})
        for _ in range(25):
            self.metric("huskd_keyrings_undestroyed")
        self.assertRegex(self.server.log(), "an earlier keyring is not destroyed, and no erase is done")
        self.fresh()
        self.assert_granted()
        self.assertEqual((self.alarms(), self.metric("huskd_keyrings_undestroyed")), (["keyring-not-destroyed"], 1))
        erase = ("host", "erase", self.host.name, "--confirm", self.host.name)
        self.assertEqual(self.server.run(*erase).status, husk.INCOMPLETE)
        self.assertEqual(self.ask()["object"]["error"]["code"], "erased")
        self.assertEqual((self.metric("huskd_erases_unfinished"), os.path.exists(old)), (1, True))
        self.assertEqual(sum(name.startswith("keyring.") for name in os.listdir(self.server.path)), 2)
        self.server.end()
        self.server.start()
        self.assertEqual(self.metric("huskd_erases_unfinished"), 1)
        disk.run("umount", old)
        self.server.ok(*erase)
        self.assertFalse(os.path.exists(old))
        self.assertEqual((self.alarms(), self.metric("huskd_keyrings_undestroyed"),
                          self.metric("huskd_erases_unfinished")), ([], 0, 0))
        self.assertRegex(self.server.log(), "the earlier keyring is destroyed")
        self.keyring()


if __name__ == "__main__":
    unittest.main()
