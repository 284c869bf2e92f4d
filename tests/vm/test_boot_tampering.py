"""Who changed the disk while the server was off is found out at its boot, which stops and says what was changed.

The authority gives its leave all the time: it is the manifest that the boot stops at.
"""
# runs alone

import os
import unittest

from protected_guest import ProtectedGuest, unless_missing


def setUpModule():
    unless_missing()
    TamperingTest.guest = guest = unittest.enterModuleContext(ProtectedGuest("tampering"))
    guest.prepare()
    guest.keep()


class TamperingTest(unittest.TestCase):
    guest = None

    def setUp(self):
        self.guest.put_back()
        self.addCleanup(self.guest.kill)

    def stops(self, subject, cause):
        guest = self.guest
        guest.boot()
        guest.expect(f"{subject}: {cause}")
        guest.expect("vault root is not as it was left")
        guest.prompted()
        guest.console.send("shell\n")
        guest.expect("The root is not open")
        guest.expect("initramfs")
        self.assertNotIn("vault root is open", guest.console.text())
        # The names that are there are not those of the files.
        guest.console.send("\ntest -d /root/etc && test ! -e /root/etc/passwd && echo shut-$((40 + 2))\n")
        guest.expect("shut-42")

    def test_a_protected_directory_replaced_by_a_plain_one(self):
        with self.guest.attached() as root:
            os.rename(f"{root}/srv", f"{root}/moved-away")
            os.mkdir(f"{root}/srv", 0o755)
        self.stops("/srv", "it is not encrypted: what is read and written there is in the clear")

    def test_a_symlink_that_leads_elsewhere(self):
        with self.guest.attached() as root:
            os.unlink(f"{root}/bin")
            os.symlink("srv/bin", f"{root}/bin")
        self.stops("bin", "it is not the symlink to usr/bin that was recorded")

    def test_another_directory_of_the_vault_until_a_person_accepts_it(self):
        guest = self.guest
        with guest.attached() as root:
            for old, new in ("srv", "moved"), ("opt", "srv"), ("moved", "opt"):
                os.rename(f"{root}/{old}", f"{root}/{new}")
        guest.boot()
        guest.expect("/opt: it is another directory of this vault than the one recorded")
        guest.expect("/srv: it is another directory of this vault than the one recorded")
        guest.prompted()
        # The right key alone accepts nothing.
        guest.type_recovery_key()
        guest.expect("trying it")
        guest.expect("vault root is not as it was left")
        guest.expect("type accept")
        guest.prompted()
        self.assertNotIn("vault root is open", guest.console.text())
        guest.console.send("accept\n")
        guest.expect("will be recorded once a person opens the vault")
        guest.prompted()
        guest.type_recovery_key()
        guest.is_opened("its recovery key")
        guest.power_off()
        guest.boots()

    def test_another_authority_in_the_place_of_its_own(self):
        guest = self.guest
        other = guest.new_server()
        with guest.attached() as root:
            pins = f"{root}/.husk/authorities"
            own = set(os.listdir(pins))
            guest.enrol(root, other)
            for name in own:
                os.unlink(f"{pins}/{name}")
            self.assertEqual(len([name for name in os.listdir(pins) if name.endswith(".json")]), 1)
        guest.boot()
        guest.prompted()
        guest.type_recovery_key()
        guest.expect("this host trusts another one instead")
        guest.expect("vault root is not as it was left")
        guest.prompted()
        self.assertNotIn("vault root is open", guest.console.text())


if __name__ == "__main__":
    unittest.main(verbosity=2)
