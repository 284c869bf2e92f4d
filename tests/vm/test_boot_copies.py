"""A copy of a server's disk is booted elsewhere: it does not open by itself, neither while the server runs nor after it ran
on. Where the copy is what is left, its administrator says so, and it is the server from then on.

One server and one copy, followed through: the tests run in the order of their names, each on what the one before left.
"""
# runs alone

import time
import unittest

import disk
from protected_guest import HOST, PATIENT, ProtectedGuest, only_in_the_long_form
from root_guest import PATIENCE_S, RootGuest

TRIES = 10
ANSWERED_S = 5


def setUpModule():
    only_in_the_long_form()
    CopiesTest.guest = guest = unittest.enterModuleContext(ProtectedGuest("copied"))
    CopiesTest.server = guest.server
    guest.prepare()
    guest.boots()
    guest.check("until test -e /.husk/network.json; do sleep 1; done", PATIENCE_S)
    CopiesTest.copy = unittest.enterModuleContext(RootGuest("copy", like=guest, network=True, append=PATIENT))
    CopiesTest.snapshot = guest.scratch / "snapshot"
    guest.snapshot(CopiesTest.snapshot)


class CopiesTest(unittest.TestCase):
    guest = copy = server = snapshot = None

    def setUp(self):
        self.addCleanup(self.copy.kill)

    def boot_copy(self):
        disk.run("cp", "--sparse=always", self.snapshot, self.copy.disk_image)
        self.copy.boot()

    def moves_on(self):
        """The lineage of the server does, by a heartbeat."""
        self.guest.check("""
            before=$(sha256sum </.husk/lineage)
            systemctl restart husk-agent
            while [ "$(sha256sum </.husk/lineage)" = "$before" ]; do sleep 1; done""", PATIENCE_S)

    def test_1_beside_the_running_server(self):
        self.server.unlock_by("ticket")
        self.boot_copy()
        granted = len(self.server.requests("granted"))
        # The agent has three seconds to answer, which an emulated machine beside another may not be given each time. Then
        # nobody can know of it: a person is asked all the same. (tests/http has it on machines that are fast enough.)
        unflagged = 0
        while True:
            self.copy.expect("waiting for approval, code .*\n")
            time.sleep(ANSWERED_S)
            (request,) = self.server.requests("pending")
            self.assertEqual(len(self.server.requests("granted")), granted)
            if request["flags"]:
                break
            unflagged += 1
            self.assertLess(unflagged, TRIES, "the running server never answered in time")
            self.server.admin("request deny", request["id"])
        print(f"\nrequests of the copy before the running server answered in time: {unflagged}")
        self.assertEqual(request["flags"], ["other-boot-answers"])
        self.copy.expect("waiting for approval, code .*flagged: other-boot-answers")
        self.assertNotIn("is open", self.copy.console.text())
        self.server.admin("request deny", request["id"])
        self.copy.expect("denies the request")
        self.assertIn('"state":"unlocked"', self.guest.check("husk status --json"))

    def test_2_after_the_server_ran_on(self):
        self.server.unlock_by("auto")
        self.moves_on()
        self.moves_on()
        self.guest.power_off()
        self.boot_copy()
        self.copy.expect("waiting for approval, code .*flagged: stale-lineage")
        request = self.server.wait_for_request()
        self.assertEqual(request["flags"], ["stale-lineage"])
        self.copy.prompted()
        self.assertNotIn("is open", self.copy.console.text())
        # It is the snapshot that was put back.
        self.server.admin("host accept-restore", HOST)
        self.copy.is_opened()
        self.copy.reboot(PATIENCE_S)
        self.assertIn("vault root is open, by its authority", self.copy.console.text())
        self.copy.power_off()

    def test_3_the_server_as_it_was_is_the_copy_now(self):
        self.guest.boot()
        self.addCleanup(self.guest.kill)
        self.guest.expect("waiting for approval, code .*flagged: stale-lineage")
        self.guest.prompted()
        self.assertNotIn("is open", self.guest.console.text())


if __name__ == "__main__":
    unittest.main(verbosity=2)
