"""A copy of the disk does not boot by itself: not while its host runs, and not after that ran on; unless an administrator
says that it is the host now, after which the disk it was copied from does not.

The policy is auto: what keeps a copy from opening is that it is known as one. The tests run in the order of their names.
"""
# runs alone

import time
import unittest

from protected_guest import HOST, ProtectedGuest, only_in_the_long_form
from root_guest import PATIENCE_S


def setUpModule():
    only_in_the_long_form()
    CopiesTest.guest = guest = unittest.enterModuleContext(ProtectedGuest("copies"))
    guest.prepare()
    guest.boots()
    guest.check("systemctl is-active husk-agent; until test -e /.husk/network.json; do sleep 1; done; sync", PATIENCE_S)
    CopiesTest.copy = guest.copy_disk("copies-copy")


class CopiesTest(unittest.TestCase):
    guest = copy = None

    def setUp(self):
        self.addCleanup(self.copy.kill)

    def flagged(self, machine, flag, meaning):
        """It asks, is flagged, and does not boot; the request, denied."""
        server = self.guest.server
        machine.spawn()
        machine.console.wait("waiting for approval, code ", PATIENCE_S)
        machine.console.wait(meaning, PATIENCE_S)
        request = server.wait_for_request()
        self.assertIn(flag, request["flags"])
        self.assertTrue(any(meaning in reason for reason in request["reasons"]), request)
        machine.console.wait("recovery key of vault root: ", PATIENCE_S)
        server.admin("request deny", request["id"])
        machine.console.wait("denies the request", PATIENCE_S)
        # It asks anew after a while, and is not let in either.
        machine.console.wait("waiting for approval, code ", PATIENCE_S)
        self.assertNotIn("is open", machine.console.text())
        machine.kill()
        for request in server.requests("pending"):
            server.admin("request deny", request["id"])

    def test_1_while_the_host_runs(self):
        self.flagged(self.copy, "other-boot-answers", "this is a copy of a host that runs")
        self.guest.check("systemctl is-active husk-agent; husk status --json | grep '\"state\":\"unlocked\"'")

    def test_2_after_the_host_ran_on(self):
        before = self.guest.check("cat /.husk/lineage")
        self.guest.check("systemctl restart husk-agent")
        until = time.monotonic() + PATIENCE_S
        while self.guest.check("cat /.husk/lineage") == before:
            self.assertLess(time.monotonic(), until, "the agent was never heard")
        self.guest.power_off()
        self.flagged(self.copy, "stale-lineage", "this is an old copy of the host's disk")

    def test_3_a_restored_one_that_is_accepted(self):
        self.guest.server.admin("host accept-restore", HOST)
        self.copy.spawn()
        self.copy.console.wait("vault root is open, by its authority", PATIENCE_S)
        self.copy.console.wait("the root is open", PATIENCE_S)
        self.copy.kill()

    def test_4_then_the_disk_from_before_is_the_copy(self):
        self.flagged(self.guest, "stale-lineage", "this is an old copy of the host's disk")


if __name__ == "__main__":
    unittest.main(verbosity=2)
