"""The ways by which a server with an encrypted root opens over its life, in the order of their names on one machine: tickets,
a new kernel, an authority that is away, holds, denies and allows, a second one, a keyfile, and at last an erase.
"""
# runs alone

import json
import re
import subprocess
import time
import unittest

from protected_guest import HOST, ProtectedGuest, only_in_the_long_form
from root_guest import PATIENCE_S

AWAY_S = 150
NEXT_KERNEL = "/root/next-kernel.deb"
KEYFILE = "/boot/husk.key"


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

    def stays_shut(self):
        self.assertNotIn("is open", self.guest.console.text())

    def test_1_it_boots_and_gets_a_ticket_by_itself_at_a_reboot(self):
        guest = self.guest
        guest.boots()
        guest.check("until test -e /.husk/network.json; do sleep 1; done", PATIENCE_S)
        self.server.admin("group set", "default", "--unlock", "ticket", "--ticket-ttl", "1h")
        guest.reboots()
        self.assertEqual(self.server.requests("pending"), [])
        self.assertIn("gave a ticket", guest.check("journalctl -b -1 -u husk-ticket -o cat --no-pager"))

    def test_2_a_kernel_upgrade_and_its_reboot(self):
        guest = self.guest
        before = guest.check("uname -r").strip()
        guest.check(f"DEBIAN_FRONTEND=noninteractive apt-get -y install {NEXT_KERNEL}", PATIENCE_S)
        guest._end_by(b"systemctl reboot --no-block", "guest-reset", PATIENCE_S)
        guest.take_kernel(self.next_kernel)
        guest.boots()
        self.assertEqual(guest.check("uname -r").strip(), self.next_kernel)
        self.assertNotEqual(before, self.next_kernel)
        self.assertEqual(self.server.requests("pending"), [])
        # Then husk itself is installed again, which builds the images of both kernels.
        guest.check("rm /boot/initrd.img-*; dpkg -i /root/husk.deb && ls /boot/initrd.img-* | wc -l | grep -qx 2", PATIENCE_S)
        guest._end_by(b"systemctl reboot --no-block", "guest-reset", PATIENCE_S)
        guest.take_kernel(self.next_kernel)
        guest.boots()
        self.assertEqual(self.server.requests("pending"), [])

    def test_3_away_for_minutes_then_back_held_released_denied_and_allowed(self):
        guest, server = self.guest, self.server
        guest.check("systemctl is-active husk-agent")
        guest.power_off()
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
        guest.is_opened()

    def test_4_the_second_authority_when_the_first_is_gone(self):
        guest = self.guest
        WaysTest.second = second = guest.new_server()
        guest.check(f"cat >/run/token; husk enroll http://10.0.2.2:{second.port} --token-file /run/token --name {HOST}",
                    stdin=second.token().encode())
        ids = json.loads(guest.check("husk keyslot list root --json"))["result"]["keyslots"]
        self.assertEqual([keyslot["kind"] for keyslot in ids].count("authority"), 1)
        other = guest.check("ls /.husk/authorities/*.json").split()
        self.assertEqual(len(other), 2)
        guest.check("cat >/run/recovery", stdin=guest.recovery.read_bytes())
        for pin in other:
            name = pin.rsplit("/", 1)[1].removesuffix(".json")
            guest.check(f"husk keyslot add root --authority={name} --with-recovery-key-file /run/recovery", PATIENCE_S)
        ids = json.loads(guest.check("husk keyslot list root --json"))["result"]["keyslots"]
        self.assertEqual([keyslot["kind"] for keyslot in ids].count("authority"), 2)
        guest.power_off()
        self.server.end()
        guest.boots()
        self.assertEqual(len(second.requests("granted")), 1)

    def test_5_a_keyfile_when_no_authority_is_there(self):
        guest = self.guest
        self.server.start()
        told = guest.check(f"""
            head -c 64 /dev/urandom >{KEYFILE}; chmod 600 {KEYFILE}
            cat >/run/recovery
            husk keyslot add root --keyfile {KEYFILE} --allow-bypass --with-recovery-key-file /run/recovery 2>&1""",
            PATIENCE_S, guest.recovery.read_bytes())
        self.assertIn("snapshot", told)
        guest.power_off()
        self.server.end()
        self.second.end()
        guest.boots("its keyfile")
        self.assertNotIn("cannot connect", guest.console.text())
        self.second.start()
        self.server.start()
        slot = next(one for one in json.loads(guest.check("husk keyslot list root --json"))["result"]["keyslots"]
                    if one["kind"] == "keyfile")
        guest.check(f"husk keyslot remove root {slot['id']}", PATIENCE_S)
        guest.power_off()

    def test_6_erased_at_the_authority_it_never_boots_again_and_says_why(self):
        guest = self.guest
        for server in self.server, self.second:
            server.admin("host erase", HOST, "--confirm", HOST)
        for _ in range(2):
            guest.boot()
            guest.expect("erased")
            guest.expect("this host does not boot|recovery key of vault root")
            self.stays_shut()
            guest.kill()


if __name__ == "__main__":
    unittest.main(verbosity=2)
