"""A small server, as Debian makes its initramfs by itself (MODULES=most): memory for passphrases is left in its boot."""
# runs alone

import base64
import struct
import unittest

from protected_guest import PATIENT, only_in_the_long_form
from root_guest import PATIENCE_S, RootGuest, build_package

OF_ITS_OWN = "staple horse battery"


class SmallGuest(RootGuest):
    INITRAMFS = "MODULES=most\n"


def setUpModule():
    only_in_the_long_form()
    SmallTest.guest = guest = unittest.enterModuleContext(SmallGuest("small", memory_mb=512, append=PATIENT))
    guest.install(build_package())
    with guest.attached() as root:
        guest.protect(root, "--passphrase-file", guest.passphrase, "--recovery-out", guest.recovery)


class SmallTest(unittest.TestCase):
    guest = None

    def opens_by(self, passphrase):
        guest = self.guest
        guest.boot()
        guest.expect("passphrase or recovery key of vault root: ")
        guest.console.send("not the passphrase\n")
        guest.expect("that does not open vault root")
        guest.expect("passphrase or recovery key of vault root: ")
        guest.console.send(passphrase + "\n")
        guest.is_opened("its passphrase")

    def argon2_mib(self):
        """What trying each passphrase takes; see husk-vault(5)."""
        told = self.guest.check("for slot in /.husk/vaults/root/keyslots/*; do head -c 32 $slot | tail -c 16; done | base64")
        slots = struct.iter_unpack("<IIQ", base64.b64decode(told))
        return sorted(memory >> 20 for _, passes, memory in slots if passes)

    def test_passphrases_made_on_a_rescue_machine_and_on_itself(self):
        """The first was made on a machine that may have been larger, the other takes a quarter of this one."""
        guest = self.guest
        self.addCleanup(guest.kill)
        self.opens_by(guest.PASSPHRASE)
        self.assertLess(int(guest.check("awk '/^MemTotal/ { print $2 }' /proc/meminfo")), 512 << 10)
        guest.put(guest.recovery, "/run/recovery")
        guest.check("husk keyslot add root --passphrase-file - --with-recovery-key-file /run/recovery", PATIENCE_S,
                    stdin=OF_ITS_OWN.encode())
        least, quarter = self.argon2_mib()
        self.assertEqual(least, 64)
        self.assertGreater(quarter, 100)
        guest.power_off(PATIENCE_S)
        self.opens_by(OF_ITS_OWN)
        guest.power_off(PATIENCE_S)


if __name__ == "__main__":
    unittest.main(verbosity=2)
