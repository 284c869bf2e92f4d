"""The other ways in: a second authority when the first is gone, and a keyfile when none answers.

One server, followed through: the tests run in the order of their names, each on what the one before left.
"""
# runs alone

import json
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


if __name__ == "__main__":
    unittest.main(verbosity=2)
