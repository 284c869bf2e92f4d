"""protect --root --swap: the lines of the host's /etc/fstab that swap in the clear are changed, and stay to be read."""

import os
import subprocess
import unittest

import husk
from host_root import CRYPTTAB, HostRoot
from job import needs_faults

ROOT = "/dev/vda / ext4 errors=remount-ro 0 1\n# a comment\n\n"
PARTITION = "PARTUUID=0123-02 none swap sw,pri=5 0 0"
ENTRY = "\t/dev/disk/by-partuuid/0123-02\t/dev/urandom\tplain,cipher=aes-xts-plain64,size=512,swap\n"
# Runs the words behind it with a /dev of its own, where a link tells which partition a UUID is.
OWN_DEV = """
new=$1; shift
mkdir "$new"; mount -t tmpfs dev "$new"; mkdir -p "$new/shm" "$new/disk/by-uuid" "$new/disk/by-partuuid"
mount --rbind /dev/shm "$new/shm"; cp -a /dev/loop* /dev/null /dev/urandom "$new"; touch "$new/vdz2" "$new/vdz1"
ln -s ../../vdz2 "$new/disk/by-uuid/4567"; ln -s ../../vdz2 "$new/disk/by-partuuid/0123-02"
ln -s ../../vdz1 "$new/disk/by-partuuid/0123-01"
mount --rbind "$new" /dev
exec "$@"
"""


class SwapTest(HostRoot):
    def read(self, name):
        with open(self.path(name), encoding="ascii") as file:
            return file.read()

    def swaps(self, line):
        self.write("etc/fstab", ROOT + line + "\n")
        os.chmod(self.path("etc/fstab"), 0o640)

    def install_cryptsetup(self):
        for name in "usr/sbin/cryptsetup", "usr/lib/systemd/systemd-cryptsetup":
            self.write(name, "")

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
        self.assertIn("next boot", self.told(self.protect_root("--swap=encrypt"))[0]["cause"])
        self.assertEqual(self.read("etc/fstab"), ROOT + f"# husk protect --swap=encrypt, was: {PARTITION}\n"
                                                        "/dev/mapper/husk-swap1\tnone\tswap\tsw,pri=5\t0\t0\n")
        self.assertEqual(self.read("etc/crypttab"), f"{CRYPTTAB}husk-swap0 /dev/vdd none luks\nhusk-swap1{ENTRY}")
        self.is_well()

    def test_encrypt_names_the_partition_and_not_what_it_overwrites(self):
        self.install_cryptsetup()
        self.swaps("UUID=4567 none swap sw 0 0")
        subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-ec", OWN_DEV, "sh", self.beside("dev"),
                        husk.PROGRAM, *self.at("protect", "--root", "--skip-free-space", "--recovery-out", self.recovery,
                                               "--swap=encrypt")], check=True, capture_output=True)
        self.assertEqual(self.read("etc/crypttab"), f"{CRYPTTAB}husk-swap0{ENTRY}")

    def test_what_cannot_be_encrypted_is_refused_with_a_way_on(self):
        for line, has_cryptsetup, way in ((PARTITION, False, "install cryptsetup"), ("/swapfile none swap sw 0 0", True, "--swap=off"),
                                          ("/dev/vdc none swap sw 0 0", True, "PARTUUID"), ("UUID=1 none swap sw 0 0", True, "PARTUUID")):
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

    @needs_faults
    def test_cut_between_the_two_files_the_same_command_makes_no_second_entry(self):
        self.install_cryptsetup()
        self.swaps(PARTITION)
        words = "protect", "--root", "--skip-free-space", "--recovery-out", self.recovery, "--swap=encrypt"
        self.assertTrue(self.call(*words, fault="root.swap.crypttab:crash").crashed)
        self.assertEqual(self.read("etc/fstab"), f"{ROOT}{PARTITION}\n")
        self.assertEncrypted(self.path("etc"), False)
        self.call(*words, expect=husk.DONE)
        self.assertIn("/dev/mapper/husk-swap0\t", self.read("etc/fstab"))
        self.assertEqual(self.read("etc/crypttab"), f"{CRYPTTAB}husk-swap0{ENTRY}")


if __name__ == "__main__":
    unittest.main()
