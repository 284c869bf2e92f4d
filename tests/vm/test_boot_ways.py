"""The ways by which a server with an encrypted root opens over its life, in the order of their names on one machine: tickets,
a new kernel, an authority that is away, holds, denies and allows, a second one, a keyfile, and at last an erase.
"""
# runs alone

import os
import re
import subprocess
import time
import unittest

import husk
from protected_guest import HOST, ProtectedGuest, only_in_the_long_form
from root_guest import PATIENCE_S

AWAY_S = 150
NEXT_KERNEL = "/root/next-kernel.deb"


def fetch_next_kernel(directory, running):
    """The newest kernel of the guest's kind but the one it has: its version, and the package."""
    listed = subprocess.run(["apt-cache", "pkgnames", "linux-image-6.1.0-"], capture_output=True, text=True, check=True)
    found = {int(match[1]): match[0] for match in re.finditer(r"(?m)^linux-image-6\.1\.0-(\d+)-cloud-amd64$", listed.stdout)}
    found = {number: name for number, name in found.items() if not name.endswith(running)}
    if not found:
        raise unittest.SkipTest("apt knows no second kernel")
    name = found[max(found)]
    subprocess.run(["apt-get", "-q", "download", name], cwd=directory, check=True, stdout=subprocess.DEVNULL)
    return name.removeprefix("linux-image-"), next(directory.glob(f"{name}_*.deb"))


def setUpModule():
    only_in_the_long_form()
    WaysTest.guest = guest = unittest.enterModuleContext(ProtectedGuest("ways"))
    WaysTest.server = guest.server

    def furnish(root, run):
        version = run("ls /boot").split("vmlinuz-")[1].split()[0]
        WaysTest.next_kernel, package = fetch_next_kernel(guest.scratch, version)
        run(f"test ! -e /boot/vmlinuz-{WaysTest.next_kernel}")
        subprocess.run(["cp", package, root + NEXT_KERNEL], check=True)

    guest.prepare(furnish=furnish)


class WaysTest(unittest.TestCase):
    guest = server = second = None

    def setUp(self):
        self.guest.kill()
        self.addCleanup(self.guest.kill)

    def stays_shut(self):
        self.assertNotIn("is open", self.guest.console.text())

    def is_open(self, by="its authority"):
        self.guest.expect(f"vault root is open, by {by}")
        self.guest.expect("the root is open")

    def opens(self, by="its authority"):
        self.guest.boot()
        self.is_open(by)

    def keyslots(self, root):
        return husk.run("keyslot", "list", "root", "--at", root, json=True).document["result"]["keyslots"]

    def kinds(self, root):
        return [keyslot["kind"] for keyslot in self.keyslots(root)]

    def test_1_a_ticket_after_a_kernel_upgrade_and_its_reboot(self):
        """As unattended upgrades do it: apt installs the kernel, whose scripts build its initramfs, and there is a reboot."""
        guest = self.guest
        guest.boots()
        guest.check("until test -e /.husk/network.json; do sleep 1; done", PATIENCE_S)
        self.server.admin("group set", "default", "--unlock", "ticket", "--ticket-ttl", "1h")
        guest.check(f"DEBIAN_FRONTEND=noninteractive apt-get -y install {NEXT_KERNEL}", PATIENCE_S)
        guest.ends_by_reboot()
        guest.take_kernel(self.next_kernel)
        self.opens()
        self.assertIn(f"Linux version {self.next_kernel} ", guest.console.text())
        self.assertEqual(self.server.requests("pending"), [])

    def test_2_a_boot_that_nobody_ordered_waits(self):
        """Its power was cut: the ticket is used up."""
        guest = self.guest
        guest.boot()
        guest.expect("waiting for approval, code ")
        self.server.admin("request approve", self.server.wait_for_request()["id"])
        self.is_open()

    def test_3_away_for_minutes_then_back_held_released_denied_and_allowed(self):
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

    def test_4_the_second_authority_when_the_first_is_gone(self):
        guest = self.guest
        WaysTest.second = second = guest.new_server()
        with guest.opened() as root:
            guest.enrol(root, second)
            for pin in os.listdir(f"{root}/.husk/authorities"):
                if pin.endswith(".json"):
                    husk.ok("keyslot", "add", "root", f"--authority={pin.removesuffix('.json')}", "--at", root,
                            "--with-recovery-key-file", guest.recovery)
            self.assertEqual(self.kinds(root).count("authority"), 2)
        self.server.end()
        self.opens()
        self.assertEqual(len(second.requests("granted")), 1)

    def test_5_a_keyfile_when_no_authority_is_there(self):
        guest = self.guest
        self.second.end()
        with guest.opened() as root:
            husk.keyfile(f"{root}/boot", "husk.key")
            done = husk.ok("keyslot", "add", "root", "--keyfile", f"{root}/boot/husk.key", "--allow-bypass", "--at", root,
                           "--with-recovery-key-file", guest.recovery)
            self.assertIn("snapshot", done.out + done.err)
        self.opens("its keyfile")
        self.assertNotIn("cannot connect", guest.console.text())
        with guest.opened() as root:
            (keyfile,) = [slot for slot in self.keyslots(root) if slot["kind"] == "keyfile"]
            husk.ok("keyslot", "remove", "root", keyfile["id"], "--at", root)
        self.server.start()
        self.second.start()

    def test_6_erased_at_the_authorities_it_never_boots_again_and_says_why(self):
        guest = self.guest
        for server in self.server, self.second:
            server.unlock_by("auto")
            server.admin("host erase", HOST, "--confirm", HOST)
        for _ in range(2):
            guest.boot()
            guest.expect("erased")
            guest.expect("this host does not boot|recovery key of vault root")
            self.stays_shut()
            guest.kill()


if __name__ == "__main__":
    unittest.main(verbosity=2)
