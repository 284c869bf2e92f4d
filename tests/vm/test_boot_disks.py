"""A disk as images of clouds have it: partitions, /boot in the root filesystem, which GRUB reads, and a root partition that
cloud-initramfs-growroot makes as large as the disk before husk opens what is in it.
"""
# runs alone

import contextlib
import pathlib
import subprocess
import unittest

import disk
from protected_guest import ProtectedGuest, apt_install, only_in_the_long_form
from root_guest import PATIENCE_S
from undo import Undo

MIB = 1 << 20
START_MIB, DISK_MIB = 4, 6144
PACKAGES = ["grub-pc-bin", "grub2-common", "cloud-initramfs-growroot", "cloud-guest-utils", "fdisk"]
SETUP = """
    echo 'LABEL=guest-root / ext4 errors=remount-ro 0 1' >/etc/fstab
    cat >/etc/default/grub <<END
GRUB_TIMEOUT=0
GRUB_TERMINAL=serial
GRUB_CMDLINE_LINUX="console=ttyS0 mitigations=off"
END
"""


class PartitionedGuest(ProtectedGuest):
    @contextlib.contextmanager
    def attached(self):
        if not self.is_partitioned:
            with super().attached() as root:
                yield root
            return
        with Undo() as undo:
            path = pathlib.Path(disk.scratch(undo)) / "root"
            path.mkdir()
            disk.run("mount", "-t", "ext4", "-o", f"loop,offset={START_MIB * MIB}", self.disk_image, path)
            undo.push(disk.unmount, path)
            yield str(path)

    is_partitioned = False

    def partition(self):
        """The filesystem becomes the second partition, with room behind it."""
        size_mib = self.disk_image.stat().st_size // MIB
        whole = self.scratch / "whole"
        with open(whole, "xb") as file:
            file.truncate(DISK_MIB * MIB)
        whole.chmod(0o600)
        layout = (f"label: gpt\nstart={MIB // 512}, size={MIB // 512}, type=21686148-6449-6E6F-744E-656564454649\n"
                  f"start={START_MIB * MIB // 512}, size={size_mib * MIB // 512}, type=L\n")
        subprocess.run(["sfdisk", "-q", whole], input=layout.encode(), check=True)
        disk.run("dd", f"if={self.disk_image}", f"of={whole}", "bs=1M", f"seek={START_MIB}", "conv=notrunc,sparse", "status=none")
        whole.replace(self.disk_image)
        self.is_partitioned = True
        self.append = self.append.replace("root=/dev/vda", "root=LABEL=guest-root")


def setUpModule():
    only_in_the_long_form()
    DisksTest.guest = guest = unittest.enterModuleContext(PartitionedGuest("disks"))

    def furnish(root, run):
        apt_install(root, run, PACKAGES)
        run(SETUP)

    guest.prepare(furnish=furnish)
    guest.partition()


class DisksTest(unittest.TestCase):
    guest = None

    def test_1_a_partition_that_grows_is_opened_after_that(self):
        guest = self.guest
        guest.boots()
        sectors = int(guest.check("cat /sys/class/block/vda2/size"))
        self.assertGreater(sectors * 512, (DISK_MIB - START_MIB - 8) * MIB)
        self.assertIn('"state":"unlocked"', guest.check("husk status --json"))
        guest.check("resize2fs /dev/vda2; grub-install /dev/vda; update-grub", PATIENCE_S)
        self.assertGreater(int(guest.check("stat -f -c '%b' /")) * 4096, 5 << 30)
        guest.power_off()

    def test_2_grub_reads_boot_beside_the_encrypted_directories(self):
        guest = self.guest
        guest.kernel = guest.initrd = None
        guest.boot()
        guest.expect("GRUB|Booting|Loading")
        guest.is_opened()
        self.assertIn("BOOT_IMAGE=/boot/vmlinuz-", guest.check("cat /proc/cmdline"))
        guest.check("sync -f /; tune2fs -l /dev/vda2 | grep -q encrypt; husk check --boot")
        guest.reboots()
        guest.power_off()


if __name__ == "__main__":
    unittest.main(verbosity=2)
