"""A server with a swap partition, to which husk protect --root --swap=encrypt gave a key drawn at each boot: what is swapped
out there is not to be read on the disk.
"""
# runs alone

import re
import secrets
import struct
import time
import unittest

import disk
from own_dev import OwnDev
from protected_guest import ProtectedGuest, only_in_the_long_form
from root_guest import PATIENCE_S, build_package
from undo import Undo

START, SIZE, LABEL = 1 << 20, 128 << 20, 0x73776170
FSTAB = f"PARTUUID={LABEL:08x}-01 none swap sw 0 0\n"
SIGNATURE = b"SWAPSPACE2"
# Holds memory full of a word, which it has the kernel swap out.
HOLD = r"""
import mmap, sys, time
MADV_PAGEOUT = 21
word = bytes.fromhex(sys.argv[1])
held = mmap.mmap(-1, 4 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
held.write(word * (len(held) // len(word)))
held.madvise(MADV_PAGEOUT)
time.sleep(1e6)
"""
SWAPPED_OUT = """
setsid python3 -c "$0" {word} >/dev/null 2>&1 </dev/null &
until test "$(awk '/^VmSwap/ {{ print $2 }}' /proc/$!/status)" -ge 3072; do sleep 1; done
sync
"""


def make_partitioned(path):
    """A disk whose only partition is swap in the clear."""
    alone = path.with_suffix(".swap")
    with open(alone, "wb") as file:
        file.truncate(SIZE)
    disk.run("mkswap", alone)
    with open(path, "rb+") as file:
        file.seek(440)
        file.write(struct.pack("<IHB3xB3xII48x2s", LABEL, 0, 0, 0x82, START >> 9, SIZE >> 9, b"\x55\xaa"))
        file.seek(START)
        file.write(alone.read_bytes()[:4096])
    alone.unlink()


def setUpModule():
    only_in_the_long_form()
    SwapTest.guest = guest = unittest.enterModuleContext(ProtectedGuest("swap"))
    SwapTest.image = guest.new_disk("swap", START + SIZE)
    make_partitioned(SwapTest.image)
    SwapTest.clear = guest.new_disk("clear", SIZE)
    with guest.attached() as root, open(f"{root}/etc/fstab", "a", encoding="ascii") as fstab:
        fstab.write(FSTAB)
    guest.install(build_package())
    with guest.attached() as root, Undo() as undo:
        guest.enrol(root, guest.server)
        partition = disk.attach(undo, SwapTest.image, START)
        with OwnDev({f"by-partuuid/{LABEL:08x}-01": partition}, disk.scratch(undo)) as own:
            guest.enter = own.enter
            guest.protect(root, "--authority", "--recovery-out", guest.recovery, "--swap=encrypt")
            guest.enter = None


class SwapTest(unittest.TestCase):
    guest = image = clear = None

    def key(self):
        """Of what is swapped to, and to nothing else."""
        guest = self.guest
        device = guest.check("swapon --noheadings --show=NAME").strip()
        self.assertRegex(device, r"^/dev/dm-\d+$")
        name = guest.check(f"cat /sys/class/block/{device.removeprefix('/dev/')}/dm/name").strip()
        self.assertEqual(name, "husk-swap0")
        told = guest.check(f"dmsetup table --showkeys {name}")
        self.assertIn("crypt aes-xts-plain64", told)
        return re.search(r"plain64 ([0-9a-f]{128}) ", told)[1]

    def swap_out(self):
        """The word that stands for what is in memory."""
        word = secrets.token_bytes(16)
        self.guest.check(["bash", "-c", SWAPPED_OUT.format(word=word.hex()), HOLD], PATIENCE_S)
        return word

    def comes_to_be_found(self, word, image):
        until = time.monotonic() + PATIENCE_S
        while word not in disk.find_in_file(image, [word]):
            self.assertLess(time.monotonic(), until, "what is swapped out in the clear is not found")
            time.sleep(1)

    def test_it_swaps_under_a_key_of_each_boot(self):
        guest = self.guest
        self.addCleanup(guest.kill)
        self.assertIn(SIGNATURE, disk.find_in_file(self.image, [SIGNATURE]))
        guest.boots()
        self.assertEqual(guest.check("systemctl is-system-running --wait || systemctl --failed --no-legend", PATIENCE_S),
                         "running\n")
        first = self.key()
        word = self.swap_out()
        # The same in the clear would be found.
        guest.check(f"swapoff -a; mkswap -q {guest.disk('clear')}; swapon {guest.disk('clear')}", PATIENCE_S)
        self.comes_to_be_found(self.swap_out(), self.clear)
        guest.power_off(PATIENCE_S)
        self.assertEqual(disk.find_in_file(self.image, [word, SIGNATURE]), {})

        guest.boots()
        self.assertNotEqual(self.key(), first)
        guest.power_off(PATIENCE_S)


if __name__ == "__main__":
    unittest.main(verbosity=2)
