"""Other releases of Debian than the one that the rest boots, and one of Ubuntu, each with its own kernel and initramfs, open
their root by themselves: first by DHCP, for nothing is recorded yet; then over the network as it was while the host ran.
"""
# runs alone

import subprocess
import unittest

import guest as guest_module
from protected_guest import ProtectedGuest, only_in_the_long_form
from root_guest import PATIENCE_S

UNREACHABLE = 4  # by guest-image


def setUpModule():
    only_in_the_long_form()


class ReleasesTest(unittest.TestCase):
    def boots(self, release, version):
        guest = self.enterContext(ProtectedGuest(release, image=guest_module.find_image(release)))
        guest.prepare()
        guest.boot()
        guest.expect("trying DHCP")
        guest.is_opened()
        self.assertEqual(guest.check(". /etc/os-release; echo $VERSION_ID").strip(), version)
        self.assertEqual(guest.check("systemctl is-system-running --wait || systemctl --failed --no-legend",
                                     PATIENCE_S).strip(), "running")
        # Nothing of that DHCP is left for cloud-init or netplan to take for the host's own.
        self.assertEqual(guest.check("ls /run/net*-*.conf /run/netplan/* 2>/dev/null || :"), "")
        guest.check("until test -e /.husk/network.json; do sleep 1; done; husk check --boot", PATIENCE_S)
        guest.check("husk protect --root --commit --skip-free-space; test ! -e /.husk/plaintext/root", PATIENCE_S)
        guest.power_off(PATIENCE_S)

        guest.boots()
        self.assertNotIn("DHCP", guest.console.text().split("husk:", 1)[1].split("is open", 1)[0])
        # The system's own configuration has the card: what the boot had set is gone.
        guest.check("until networkctl --no-legend list ens2 | grep -qw configured; do sleep 1; done", PATIENCE_S)
        self.assertIn("10.0.2.15/24", guest.check("ip -br addr show dev ens2"))
        self.assertEqual(guest.check("systemctl is-system-running --wait || systemctl --failed --no-legend",
                                     PATIENCE_S).strip(), "running")
        guest.power_off(PATIENCE_S)

    def test_debian_11(self):
        self.boots("bullseye", "11")

    def test_debian_13(self):
        self.boots("trixie", "13")

    def test_ubuntu_24_04(self):
        try:
            guest_module.find_image("noble")
        except subprocess.CalledProcessError as error:
            if error.returncode == UNREACHABLE:
                self.skipTest("Ubuntu's archive cannot be reached")
            raise
        self.boots("noble", "24.04")


if __name__ == "__main__":
    unittest.main(verbosity=2)
