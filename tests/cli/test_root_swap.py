"""protect --root --swap: the lines of the host's /etc/fstab that swap in the clear are changed, and stay to be read."""

import json
import os
import shutil
import struct
import subprocess
import unittest
import uuid

import disk
import document
import husk
from host_root import CRYPTTAB, HostRoot
from job import needs_faults
from own_dev import OwnDev
from undo import Undo

ROOT = "/dev/vda / ext4 errors=remount-ro 0 1\n# a comment\n\n"
PARTITION = "PARTUUID=0123-02 none swap sw,pri=5 0 0"
SWAP_TYPE = uuid.UUID("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f").bytes_le
ENTRY = "\t/dev/disk/by-partuuid/0123-02\t/dev/urandom\tplain,cipher=aes-xts-plain64,size=512,swap\n"
CHROOT = """
mount -t proc proc "$1/proc"; mount --bind /dev "$1/dev"; mount --bind "$2" "$1/proc/swaps"
root=$1; shift 2
exec chroot "$root" "$@"
"""


class SwapTest(HostRoot):
    def read(self, name):
        with open(self.path(name), encoding="ascii") as file:
            return file.read()

    def swaps(self, line):
        self.write("etc/fstab", ROOT + line + "\n")
        os.chmod(self.path("etc/fstab"), 0o640)

    def install_cryptsetup(self):
        for name in "usr/sbin/cryptsetup", "usr/lib/systemd/system-generators/systemd-cryptsetup-generator":
            self.write(name, "")

    def make_swap(self, command):
        """On the partition."""
        disk.run("sh", "-ec", f'{command}{"" if command.endswith("=") else " "}"$1"', "sh", self.partition)

    def attached(self):
        """The words for where the disk with the swap is attached to this machine, too."""
        undo = self.enterContext(Undo())
        image = self.beside("swap")
        with open(image, "wb") as file:
            file.truncate(16 << 20)
        self.partition = disk.attach(undo, image)
        self.make_swap("mkswap")
        os.mkdir(self.beside("dev"))
        names = "by-uuid/4567", "by-partuuid/0123-02", "by-path/pci-0000:00:05.0-part2"
        own = self.enterContext(OwnDev({name: self.partition for name in names}, self.beside("dev")))
        return {"preexec_fn": own.enter}

    def told(self, document):
        return [finding for finding in document["findings"] if finding["kind"] == "swap"]

    def is_well(self):
        found = self.json("check", "--root", "--vault", "root")["findings"]
        self.assertEqual([finding for finding in found if finding["kind"] == "swap"], [])

    def test_off_keeps_the_line_so_that_systemd_does_not_take_the_partition_by_its_type(self):
        self.swaps(PARTITION)
        told = self.told(self.protect_root("--swap=off"))
        self.assertIn("switched off", told[0]["cause"])
        self.assertIn("overwrite the partition", told[0]["remedy"])
        self.assertEqual(self.read("etc/fstab"), ROOT + f"# husk protect --swap=off, was: {PARTITION}\n"
                                                        "PARTUUID=0123-02\tnone\tswap\tsw,pri=5,noauto\t0\t0\n")
        self.assertEqual(os.stat(self.path("etc/fstab")).st_mode & 0o7777, 0o640)
        self.assertEqual(self.read("etc/crypttab"), CRYPTTAB)
        self.assertEncrypted(self.path("etc"))
        self.is_well()

    def test_off_says_of_a_file_that_it_stays_readable_until_it_is_deleted(self):
        self.swaps("/swapfile none swap sw 0 0")
        self.assertIn("delete it before", self.told(self.protect_root("--swap=off"))[0]["remedy"])
        self.assertIn("/swapfile\tnone\tswap\tsw,noauto\t0\t0\n", self.read("etc/fstab"))

    def test_encrypt_gives_a_partition_a_key_that_is_drawn_at_each_boot(self):
        self.install_cryptsetup()
        self.swaps(PARTITION)
        self.write("etc/crypttab", CRYPTTAB + "husk-swap0 /dev/vdd none luks")
        told = self.told(self.protect_root("--swap=encrypt", **self.attached()))[0]
        self.assertIn("next boot", told["cause"])
        self.assertIn("once it has booted, on the host: update-initramfs -u -k all", told["remedy"])
        self.assertEqual(self.read("etc/fstab"), ROOT + f"# husk protect --swap=encrypt, was: {PARTITION}\n"
                                                        "/dev/mapper/husk-swap1\tnone\tswap\tsw,pri=5\t0\t0\n")
        self.assertEqual(self.read("etc/crypttab"), f"{CRYPTTAB}husk-swap0 /dev/vdd none luks\nhusk-swap1{ENTRY}")
        self.is_well()

    def test_encrypt_names_the_partition_and_not_what_it_overwrites(self):
        self.install_cryptsetup()
        self.swaps("UUID=4567 none swap sw 0 0")
        self.protect_root("--swap=encrypt", **self.attached())
        self.assertEqual(self.read("etc/crypttab"), f"{CRYPTTAB}husk-swap0{ENTRY}")

    def test_a_name_that_is_of_this_machine_is_not_looked_up(self):
        self.install_cryptsetup()
        here = self.attached()
        for name in "/dev/disk/by-path/pci-0000:00:05.0-part2", self.partition, "/dev/block/7:0":
            self.swaps(f"{name} none swap sw 0 0")
            told = self.told(self.protect_root("--swap=encrypt", expect=husk.REFUSED, **here))
            self.assertIn("may stand for another device", told[0]["cause"])

    def test_what_holds_no_swap_any_more_is_not_overwritten(self):
        self.install_cryptsetup()
        self.swaps(PARTITION)
        here = self.attached()
        for make in "mkfs.ext4 -q -F", "dd if=/dev/zero bs=1M count=1 status=none of=":
            self.make_swap(make)
            told = self.told(self.protect_root("--swap=encrypt", expect=husk.REFUSED, **here))
            self.assertIn("is no swap, and each boot would overwrite it", told[0]["cause"])
            self.assertEqual(self.read("etc/crypttab"), CRYPTTAB)
        self.make_swap("mkswap --pagesize 65536")
        self.protect_root("--swap=encrypt", **here)

    def test_what_cannot_be_encrypted_is_refused_with_a_way_on(self):
        for line, has_cryptsetup, way in ((PARTITION, False, "install cryptsetup"), ("/swapfile none swap sw 0 0", True, "--swap=off"),
                                          ("/dev/vdc none swap sw 0 0", True, "PARTUUID"), ("UUID=1 none swap sw 0 0", True, "PARTUUID"),
                                          (PARTITION, True, "attach its disk")):
            with self.subTest(line):
                if has_cryptsetup:
                    self.install_cryptsetup()
                self.swaps(line)
                self.protect_root("--swap=encrypt", expect=husk.REFUSED)  # what is looked at has its atime
                with self.nothing_changes():
                    told = self.told(self.protect_root("--swap=encrypt", expect=husk.REFUSED))
                self.assertIn(way, told[0]["remedy"])

    def test_where_all_is_protected_already_it_is_changed_all_the_same(self):
        self.swaps("")
        self.protect_root()
        self.swaps(PARTITION)
        self.assertTrue(self.json("protect", "--root", "--swap=off")["changed"])
        self.assertIn("noauto", self.read("etc/fstab"))
        self.assertFalse(self.json("protect", "--root", "--swap=off")["changed"])

    def test_it_goes_with_root_alone_and_is_one_of_two_words(self):
        for words in ("--root", "--swap=on"), ("--root", "--commit", "--swap=off"), (self.tree, "--vault", "v", "--swap=off"):
            self.call("protect", *words).expect_error_line(husk.USAGE)

    def on_partition_two(self, attributes):
        """A copy of the root on a disk whose first partition has the type of swap; what is found about that."""
        entries = (SWAP_TYPE + bytes(16) + struct.pack("<QQQ", 2048, 4095, attributes)).ljust(128, b"\0")
        header = b"EFI PART" + bytes(64) + struct.pack("<QII", 2, 1, 128)
        with Undo() as undo:
            path = disk.scratch(undo)
            image = os.path.join(path, "image")
            with open(image, "wb") as file:
                for at, data in (512, header), (1024, entries), (64 << 20, b""):
                    file.seek(at)
                    file.write(data)
                file.truncate(64 << 20)
            loop = disk.run("losetup", "-f", "-P", "--show", image).strip()
            undo.push(disk.run, "losetup", "-d", loop)
            disk.run("addpart", loop, "2", "4096", "100000")
            undo.push(disk.run, "delpart", loop, "2")
            disk.run("mkfs.ext4", "-q", "-O", "encrypt", f"{loop}p2")
            root = os.path.join(path, "root")
            os.mkdir(root)
            disk.run("mount", f"{loop}p2", root)
            undo.push(disk.unmount, root)
            disk.run("cp", "-a", f"{self.d.path}/.", root)
            return self.told(document.run("check", "--root", "--at", root, expect=None)[1])

    def test_a_partition_that_systemd_takes_by_its_type_is_found_where_fstab_names_no_swap(self):
        generator = "systemd/system-generators/systemd-gpt-auto-generator"
        self.write("etc/fstab", ROOT)
        self.assertEqual(self.on_partition_two(0), [])  # nothing would take it
        self.write(f"usr/lib/{generator}", "")
        self.assertIn("by its type", self.on_partition_two(0)[0]["cause"])
        self.assertEqual(self.on_partition_two(1 << 63), [])
        self.swaps("PARTUUID=0123-02 none swap noauto 0 0")
        self.assertEqual(self.on_partition_two(0), [])
        self.write("etc/fstab", ROOT)
        os.makedirs(os.path.dirname(self.path("etc", generator)))
        os.symlink("/dev/null", self.path("etc", generator))
        self.assertEqual(self.on_partition_two(0), [])

    def running(self):
        """What is found about the swap of a system whose / is our disk."""
        words = "unshare", "-m", "--propagation", "private", "sh", "-ec", CHROOT, "sh", self.d.path, self.beside("swaps")
        done = subprocess.run([*words, "/husk", "check", "--root", "--json"], capture_output=True, check=False)
        return [finding["subject"] for finding in self.told(json.loads(done.stdout))]

    def test_where_the_running_system_swaps_to_is_looked_at(self):
        shutil.copy(husk.PROGRAM, self.path("husk"))
        for number, name in enumerate(("swap", "vg-swap")):
            self.write(f"sys/class/block/dm-{number}/dm/name", name + "\n")
        with open(self.beside("swaps"), "w", encoding="ascii") as file:
            file.write("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")
            for name in "/dev/dm-0", "/dev/dm-1", "/dev/zram0", "/swapfile":
                file.write(f"{name}                               partition\t1048572\t\t0\t\t-2\n")
        self.assertEqual(self.running(), ["/dev/dm-1", "/swapfile"])
        self.swaps("/swapfile none swap sw 0 0")  # the same once more is told once
        self.assertEqual(self.running(), ["/swapfile", "/dev/dm-1"])

    @needs_faults
    def test_given_up_it_is_told_that_the_lines_stay_changed(self):
        self.swaps(PARTITION)
        words = "protect", "--root", "--skip-free-space", "--recovery-out", self.recovery, "--swap=off"
        self.assertTrue(self.call(*words, fault="convert.copied:crash").crashed)
        found = self.json("protect", "--root", "--abort")["findings"]
        self.assertIn("swap-changed", [finding["kind"] for finding in found])
        self.assertIn("noauto", self.read("etc/fstab"))

    @needs_faults
    def test_cut_between_the_two_files_the_same_command_makes_no_second_entry(self):
        self.install_cryptsetup()
        self.swaps(PARTITION)
        here = self.attached()
        words = "protect", "--root", "--skip-free-space", "--recovery-out", self.recovery, "--swap=encrypt"
        self.assertTrue(self.call(*words, fault="root.swap.crypttab:crash", **here).crashed)
        self.assertEqual(self.read("etc/fstab"), f"{ROOT}{PARTITION}\n")
        self.assertEncrypted(self.path("etc"), False)
        self.call(*words, expect=husk.DONE, **here)
        self.assertIn("/dev/mapper/husk-swap0\t", self.read("etc/fstab"))
        self.assertEqual(self.read("etc/crypttab"), f"{CRYPTTAB}husk-swap0{ENTRY}")


if __name__ == "__main__":
    unittest.main()
