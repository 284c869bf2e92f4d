"""A server with an encrypted root waits at its boot: for a person's leave, and for an authority that is away, holds or denies."""
# runs alone

import time
import unittest

from protected_guest import HOST, ProtectedGuest, unless_missing

AWAY_S = 150


def setUpModule():
    unless_missing()
    WaysTest.guest = guest = unittest.enterModuleContext(ProtectedGuest("ways"))
    WaysTest.server = guest.server
    guest.prepare()


class WaysTest(unittest.TestCase):
    guest = server = None

    def setUp(self):
        self.guest.kill()
        self.addCleanup(self.guest.kill)

    def stays_shut(self):
        self.assertNotIn("is open", self.guest.console.text())

    def is_open(self, by="its authority"):
        self.guest.expect(f"vault root is open, by {by}")
        self.guest.expect("the root is open")

    def test_a_boot_that_nobody_ordered_waits(self):
        """As after a power cut: there is no ticket for it."""
        guest = self.guest
        self.server.unlock_by("ticket")
        guest.boot()
        guest.expect("waiting for approval, code ")
        self.server.admin("request approve", self.server.wait_for_request()["id"])
        self.is_open()

    def test_away_for_minutes_then_back_held_released_denied_and_allowed(self):
        guest, server = self.guest, self.server
        server.unlock_by("approve")
        server.end()
        begun = time.monotonic()
        guest.boot()
        guest.expect("cannot connect|no answer|refused|timed out")
        guest.prompted()
        time.sleep(max(0, AWAY_S - (time.monotonic() - begun)))
        self.stays_shut()
        server.start()
        server.admin("host hold", HOST)
        guest.expect("the host is on hold")
        self.stays_shut()
        server.admin("host release", HOST)
        guest.expect("waiting for approval, code ")
        server.admin("request deny", server.wait_for_request()["id"])
        guest.expect("denies the request: it was denied")
        self.stays_shut()
        guest.expect("waiting for approval, code ")
        server.admin("request approve", server.wait_for_request()["id"])
        self.is_open()


if __name__ == "__main__":
    unittest.main(verbosity=2)
