"""The other ways in: a second authority when the first is gone, and a keyfile when none answers. And the end: a server that
its authorities erased while it ran boots never again, and says why.

One server, followed through: the tests run in the order of their names, each on what the one before left.
"""
# runs alone

import json
import os
import time
import unittest

from protected_guest import HOST, THIS_MACHINE, ProtectedGuest, only_in_the_long_form
from root_guest import PATIENCE_S


def setUpModule():
    only_in_the_long_form()
    KeysTest.guest = guest = unittest.enterModuleContext(ProtectedGuest("keys"))
    KeysTest.first, KeysTest.second = guest.server, guest.new_server()
    guest.prepare()


class KeysTest(unittest.TestCase):
    guest = first = second = None

    def test_1_a_second_authority_when_the_first_is_gone(self):
        guest = self.guest
        guest.boots()
        guest.check("until test -e /.husk/network.json; do sleep 1; done", PATIENCE_S)
        url = f"http://{THIS_MACHINE}:{self.second.port}"
        told = json.loads(guest.check(["husk", "enroll", url, "--token", self.second.token(), "--name", HOST, "--json"]))
        guest.check(["husk", "keyslot", "add", "root", f"--authority={told['result']['authority']}"], PATIENCE_S)
        guest.power_off()
        self.first.end()
        guest.boots()

    def test_2_a_keyfile_when_none_answers(self):
        guest = self.guest
        guest.check("umask 077; head -c 64 /dev/urandom >/boot/husk.key\n"
                    "husk keyslot add root --keyfile /boot/husk.key --allow-bypass", PATIENCE_S)
        guest.power_off()
        self.second.end()
        guest.boots("its keyfile")
        self.assertNotIn("cannot connect", guest.console.text())

    def test_3_erased_while_it_runs_it_boots_never_again(self):
        guest = self.guest
        self.assertIn("boots no more", guest.check("husk erase root 2>&1 || true"))
        for server in self.first, self.second:
            server.start()
            server.admin("host erase", HOST, "--confirm", HOST)
        for server in self.first, self.second:
            self.is_told(server)
        # Nothing can be run there any more; its provider switches it off.
        guest.kill()
        with guest.attached() as root:
            self.assertEqual(os.listdir(f"{root}/.husk/vaults/root/keyslots"), [])
            self.assertFalse(os.path.exists(f"{root}/.husk/plaintext/root"), "the old trees of the conversion are there")
        guest.boot()
        self.addCleanup(guest.kill)
        guest.expect("vault root of this host is erased")
        guest.expect("the identity of this host is destroyed")
        guest.expect("this host does not boot")
        for server in self.first, self.second:
            (order,) = server.admin("host show", HOST)["hosts"][0]["orders"]
            self.assertEqual((order["state"], order["outcome"]), ("done", "done"))
        guest.console.send(guest.recovery.read_text())
        guest.expect("this host does not boot")
        self.assertNotIn("is open", guest.console.text())

    def is_told(self, server):
        """By the agent, that the key is destroyed, and that a root that runs keeps files open."""
        until = time.monotonic() + PATIENCE_S
        while True:
            (host,) = server.admin("host show", HOST)["hosts"]
            (order,) = host["orders"]
            if order["outcome"]:
                self.assertEqual((order["outcome"], host["keyslots"]), ("incomplete", 0))
                return
            self.assertLess(time.monotonic(), until, host)
            time.sleep(1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
