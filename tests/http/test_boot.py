"""husk boot and a real huskd on loopback: away and back, an approval, a prompt beside."""

import contextlib
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "cli"))
sys.path.insert(0, HERE)

import authority
import husk
import known_address
from host_root import HostRoot
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
        self.protect_root("--authority")
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
            console.expect("recovery key of vault root: ").expect("cannot connect").expect("recovery key of vault root: ")
            self.authority.start()
            console.expect("vault root is open, by its authority")

    def test_it_waits_for_an_approval_and_shows_the_code(self):
        self.authority.unlock_by("approve")
        with self.boot() as console:
            console.expect("waiting for approval, code ")
            self.authority.admin("request approve", self.authority.wait_for_request()["id"])
            console.expect("vault root is open, by its authority")

    def test_who_types_first_wins_and_nothing_goes_on_asking(self):
        self.authority.unlock_by("approve")
        with open(self.recovery, encoding="ascii") as file:
            recovery = file.read().strip()
        with self.boot() as console:
            console.expect("waiting for approval").expect("recovery key of vault root: ").line(recovery)
            console.expect("vault root is open, by its recovery key")
        self.assertEqual(len(self.authority.requests("pending")), 1)


if __name__ == "__main__":
    unittest.main()
