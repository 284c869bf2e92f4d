"""What lies below the filesystem, and what may happen to the machine: device mapper, power cuts, reboots.

A power cut here is the end of QEMU: what the guest had not written is lost, and what it had written is on the disk.
tests/crash has the cuts in between.
"""
# runs long

import json
import os
import unittest

import husk
from canary import check_gone, left_of_free_space
from husk_guest import HuskGuest, InGuest, kinds

PARTS = ["names", "links", "specials", "symlinks", "holes", "unwritten", "xattrs", "acls", "flags", "whole"]
KINDS = ["content", "long symlink", "name", "short symlink"]

# Reads what Canaries.find() out here cannot: a device inside the guest.
FIND = """
import json, sys
from canary import Canaries
tag, device = sys.argv[1:]
needles = Canaries(tag).needles
found, last, begin = {}, b"", 0
with open(device, "rb") as raw:
    while data := raw.read(1 << 20):
        begin, last = begin - len(last), last + data
        for kind, needle in needles.items():
            at = last.find(needle)
            while at >= 0:
                found.setdefault(kind, set()).add(begin + at)
                at = last.find(needle, at + 1)
        begin, last = begin + len(last), last[-64:]
print(json.dumps({kind: sorted(where) for kind, where in found.items()}))
"""


def told_of(done):
    return " ".join(finding["cause"] for finding in done.document["findings"])


def setUpModule():
    InGuest.guest = HuskGuest.for_module("disks", append="init_on_free=1")


class MapperTest(InGuest):
    def found(self):
        """Where canaries are on the mapped device, by kind, and the kinds that are on the disk below it."""
        self.d.sync()
        above = json.loads(self.guest.python(FIND, self.guest.canaries.tag, self.d.device))
        self.guest.check(["blockdev", "--flushbufs", self.guest.disk(self.vault)])
        return above, sorted(self.guest.canaries.find(str(self.d.image)))

    def whole_life(self, name, setup, plain_below, passes_discards):
        self.d = self.guest.ext4_over(name, setup)
        self.vault = name
        tree = self.d.at("tree")
        self.guest.build(tree, PARTS, many=0)
        before = self.guest.manifest(tree)
        above, below = self.found()
        self.assertEqual((sorted(above), below), (KINDS, KINDS if plain_below else []))

        done = self.protect(tree)
        self.assertEqual("no-discard" in kinds(done), not passes_discards)
        above, below = self.found()
        left_bytes = left_of_free_space(told_of(done))
        check_gone(above, left_bytes)
        self.assertTrue(not below or left_bytes and plain_below, below)
        # All of it was overwritten; only discarding makes the image sparse again.
        size = os.stat(self.d.image)
        self.assertEqual(size.st_blocks * 512 < size.st_size / 2, passes_discards)

        self.lock()
        self.unlock()
        self.assertSame(before, tree)
        erased = self.guest.ok("erase", name, "--confirm", name, json=True)
        (report,) = erased.document["result"]["reports"]
        (slot,) = report["reported_by_host"]["keyslots"]
        self.assertEqual(slot["steps"], {"overwritten": "done", "re-read": "done", "journal zeroed": "done", "unlinked": "done",
                                         "discarded": "done" if passes_discards else "not supported"})
        self.assertEqual(self.guest.husk("unlock", name, "--keyfile", self.guest.KEYFILE).status, husk.REFUSED)
        self.assertEqual(self.guest.state(name), "erased")
        self.d.unmount()
        self.guest.check(f"e2fsck -fn {self.d.device}")

    @unittest.skipUnless(os.environ.get("HUSK_TEST_LONG"), "the long form")
    def test_a_linear_mapping_lets_everything_through(self):
        self.whole_life("linear", "dmsetup create linear --table \"0 81920 linear $disk 8192\"", True, True)

    def test_on_dm_crypt_without_discards_husk_says_that_there_are_none(self):
        self.whole_life("crypt", "head -c 64 /dev/urandom | cryptsetup open --type plain --cipher aes-xts-plain64 "
                                 "--key-size 512 --key-file - $disk crypt", False, False)


class RebootTest(InGuest):
    def boot_id(self):
        return self.guest.check(["cat", "/proc/sys/kernel/random/boot_id"])

    def crash_and_cut_power(self, point, tree):
        done = self.guest.husk("protect", tree, "--vault", self.vault, "--keyfile", self.guest.KEYFILE,
                               fault=f"{point}:crash")
        self.assertTrue(done.crashed, done)
        before = self.boot_id()
        self.guest.kill()
        self.guest.start()
        self.assertNotEqual(self.boot_id(), before)

    def is_locked(self, tree):
        self.assertEqual(self.guest.state(self.vault), "locked")
        names = self.guest.check(["ls", tree]).split()
        self.assertEqual(len(names), len(self.names))
        self.assertFalse(self.names & set(names))
        self.assertIn(b"key not available", self.guest.run(["touch", f"{tree}/new"]).stderr)

    def test_conversions_and_vaults_live_through_power_cuts_and_reboots(self):
        if not husk.list_faults():
            self.skipTest("a build without fault points")
        self.make("boot")
        self.guest.check(f"echo '{self.d.device} {self.d.path} ext4 defaults 0 2' >>/etc/fstab")
        first, second = self.d.at("first"), self.d.at("second")
        for tree in first, second:
            self.guest.build(tree, PARTS, many=0)
        before = {tree: self.guest.manifest(tree) for tree in (first, second)}
        self.names = set(self.guest.check(["ls", first]).split())
        self.guest.check("sync")

        # What was copied is lost or not, the directory is as it was, and the same command opens and goes on.
        self.crash_and_cut_power("convert.copied", first)
        self.assertSame(before[first], first)
        self.assertTrue(self.protect(first).document["changed"])
        self.assertSame(before[first], first)

        self.crash_and_cut_power("convert.exchanged", second)
        self.is_locked(first)
        done = self.protect(second)
        self.assertTrue(done.document["changed"])
        self.guest.canaries.gone(self.d, left_bytes=left_of_free_space(told_of(done)))
        self.assertFalse(self.protect(first, second).document["changed"])

        if os.environ.get("HUSK_TEST_LONG"):
            self.guest.reboot()
        else:
            self.lock()
        for tree in first, second:
            self.is_locked(tree)
        self.unlock()
        for tree in first, second:
            self.assertSame(before[tree], tree)
        self.check_memory_forgets()
        self.d.fsck()

    def check_memory_forgets(self):
        """What docs/boundaries.md says of init_on_free=1: with it nothing that was read is left after locking."""
        dump = self.guest.run_dir / "memory"
        self.guest.dump_memory(dump)
        self.assertEqual(sorted(self.guest.canaries.find(str(dump))), KINDS)
        self.lock()
        self.guest.dump_memory(dump)
        self.guest.canaries.gone(str(dump))


if __name__ == "__main__":
    unittest.main(verbosity=2)
