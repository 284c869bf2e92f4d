"""A server whose root is encrypted boots: with its authority's leave, by a person at the console, or not at all.

The disk is prepared out here, as on a rescue machine: the package is installed, the root converted. The boots are real.
Each test leaves the guest switched off and its disk as the next may find it, in whatever order they run.
"""
# runs long

import os
import pathlib
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "http"))

import authority
import husk
from protected_guest import Server
from root_guest import PATIENCE_S, RootGuest, build_package

OTHER_MAC = "52:54:00:77:00:99"
# What the kernel could do when the initramfs was left.
CIPHERS = "/run/ciphers-at-the-end-of-the-initramfs"
KEEP_CIPHERS = f"#!/bin/sh\n[ \"$1\" = prereqs ] || cat /proc/crypto >{CIPHERS}\n"


def setUpModule():
    reason = husk.missing() or authority.missing()
    if reason:
        raise unittest.SkipTest(reason)
    server = Server(authority.make_directory())
    unittest.addModuleCleanup(server.end)
    server.init().start()
    BootTest.server = server
    BootTest.guest = guest = unittest.enterModuleContext(RootGuest("boot", network=True))
    with guest.attached() as root:
        script = pathlib.Path(root, "etc/initramfs-tools/scripts/init-bottom/keep-ciphers")
        script.write_text(KEEP_CIPHERS)
        script.chmod(0o755)
    guest.install(build_package())
    with guest.attached() as root:
        token = guest.scratch / "token"
        token.write_text(server.token())
        husk.ok("enroll", server.url, "--token-file", token, "--name", "web-1", "--at", root)
        guest.protect(root, "--authority", "--passphrase-file", guest.passphrase, "--allow-bypass", "--recovery-out",
                      guest.recovery)


class BootTest(unittest.TestCase):
    server = guest = None

    def setUp(self):
        self.addCleanup(self.guest.kill)

    def vault(self):
        return self.guest.check("husk status --json")

    def prompt(self):
        self.guest.expect("passphrase or recovery key of vault root: ")

    def needed_no_modprobe_out_of_the_vault(self):
        """The ciphers for names and contents were in use before the root was switched; modprobe lies in the vault."""
        for cipher in "xts(aes)", "cts(cbc(aes))":
            self.guest.check(f"grep -qx 'name *: {cipher}' {CIPHERS}")
        self.assertEqual(self.guest.check("dmesg | grep -E 'kmod busy|blocked for more than|request_module' || :"), "")

    def test_1_it_boots_by_itself_with_the_authoritys_leave(self):
        """First by DHCP, for nothing is recorded yet; then over the network as it was while the host ran."""
        guest = self.guest
        self.server.unlock_by("auto")
        guest.boot()
        guest.expect("trying DHCP")
        guest.expect("vault root is open, by its authority")
        guest.wait_ready(PATIENCE_S)
        self.assertEqual(guest.check("systemctl is-system-running --wait || systemctl --failed --no-legend").strip(), "running")
        locked = guest.run("husk lock root")
        self.assertEqual(locked.status, husk.REFUSED, locked)
        self.assertIn(b"--confirm root", locked.stderr)
        taken = guest.run("husk unprotect root")
        self.assertEqual(taken.status, husk.REFUSED, taken)
        self.assertIn(b"attach the disk to another machine", taken.stderr)
        self.assertIn('"state":"unlocked"', self.vault())
        self.needed_no_modprobe_out_of_the_vault()
        guest.check("! ls /run/net-*.conf")  # of the DHCP
        # The card is known by its own MAC at the next boot.
        guest.check(f"ip link set dev ens2 address {OTHER_MAC}")
        guest.check(f"until husk ticket && grep -q '\"set_mac\": *\"{OTHER_MAC}\"' /.husk/network.json && husk check --boot\n"
                    "do sleep 1; done", PATIENCE_S)
        guest.check("husk protect --root --commit --skip-free-space; test ! -e /.husk/plaintext/root", PATIENCE_S)
        # Its reboot has a ticket, by the units of the package.
        self.server.unlock_by("ticket")
        guest.reboot(PATIENCE_S)
        opened = guest.console.text().split("husk:", 1)[1].split("the root is open", 1)[0]
        self.assertIn("vault root is open, by its authority", opened)
        self.assertNotIn("DHCP", opened)
        self.assertEqual(self.server.requests("pending"), [])
        # Whoever is at the console orders a reboot without logging in, and gets no ticket by that.
        guest.press("ctrl", "alt", "delete")
        self.assertEqual(guest.wait_end(PATIENCE_S), "guest-reset")
        guest.boot()
        guest.expect("waiting for approval")
        self.server.admin("request approve", self.server.wait_for_request()["id"])
        guest.is_opened()
        # The system's own configuration has the card: what the boot had set is gone.
        guest.check("until networkctl --no-legend list ens2 | grep -qw configured; do sleep 1; done", PATIENCE_S)
        self.assertIn("10.0.2.15/24", guest.check("ip -br addr show dev ens2"))
        self.assertNotIn(OTHER_MAC, guest.check("ip -br link show dev ens2"))
        self.assertEqual(guest.check("cat /proc/mounts | grep -c ' / ext4 rw'").strip(), "1")
        guest.power_off()

    def rescue(self):
        """On a machine with the disk attached: unlock, chroot, a new initramfs; and husk cannot be taken off."""
        guest = self.guest
        with guest.chroot() as (root, run):
            husk.ok("unlock", "root", "--at", root, "--recovery-key-file", guest.recovery)
            with self.assertRaisesRegex(RuntimeError, "husk stays.*root"):
                run("dpkg --remove husk")
            self.assertTrue(os.access(f"{root}/usr/sbin/husk", os.X_OK))
            run("rm /boot/initrd.img-*; update-initramfs -c -k all")
        guest.take_initramfs()

    def test_2_rescued_then_denied_it_waits_and_a_person_opens_it(self):
        guest = self.guest
        self.rescue()
        self.server.unlock_by("approve")
        guest.boot()
        guest.expect("waiting for approval")
        self.prompt()
        guest.console.send("not the passphrase\n")
        guest.expect("that does not open vault root")
        self.server.admin("request deny", self.server.wait_for_request()["id"])
        guest.expect("denies the request")
        self.prompt()
        guest.console.send(guest.PASSPHRASE + "\n")
        guest.expect("vault root is open, by its passphrase")
        guest.wait_ready(PATIENCE_S)
        self.assertIn('"state":"unlocked"', self.vault())
        guest.power_off()

    def test_9_an_erase_that_was_begun_is_finished_and_nothing_boots_any_more(self):
        guest = self.guest
        self.server.unlock_by("auto")
        with guest.attached() as root:
            cut = husk.run("erase", "root", "--confirm", "root", "--at", root, fault="erase.marked:crash")
            self.assertTrue(cut.crashed, cut)
        guest.boot()
        guest.expect("vault root of this host is erased")
        guest.expect("this host does not boot")
        guest.console.send("\n")
        guest.expect("this host does not boot")
        guest.kill()
        with guest.attached() as root:
            state = husk.run("status", "root", "--at", root, json=True).document["result"]["vaults"][0]
            self.assertEqual(state["state"], "erased")
            self.assertEqual(os.listdir(f"{root}/.husk/vaults/root/keyslots"), [])
        self.assertEqual(self.server.admin("host list")["hosts"][0]["keyslots"], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
