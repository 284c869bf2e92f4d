"""Memory: how much of it husk takes, and what is left of keys in that of the machine. On a guest with 512 MB."""

import hashlib
import hmac
import os
import secrets
import subprocess
import unittest

import disk
import husk
from husk_guest import HuskGuest, InGuest

KEY_TOOL = os.path.join(os.path.dirname(husk.PROGRAM), "tests", "programs", "key_tool")
PASSPHRASE = b"correct horse battery staple\n"
# Records of inodes, had they been in memory, would be 64 bytes each, and names and links come on top.
FEW, MANY = 1000, 20_000
ARGON2_MEMORY_AT = 24  # in a keyslot, see src/keyslot/keyslot.h
FS_IOC_GET_ENCRYPTION_NONCE = 0x8010661B

MAKE_FILES = """
import os, sys
top, count = sys.argv[1], int(sys.argv[2])
for number in range(count):
    directory = f"{top}/{number // 250}"
    if number % 250 == 0:
        os.makedirs(directory)
    with open(f"{directory}/file-{number}", "wb") as file:
        file.write(b"%d\\n" % number * 20)
"""

READ_NONCE = f"""
import fcntl, sys
with open(sys.argv[1]) as file:
    print(fcntl.ioctl(file, {FS_IOC_GET_ENCRYPTION_NONCE}, bytes(16)).hex())
"""


def setUpModule():
    InGuest.guest = HuskGuest.for_module("memory", memory_mb=512)


def file_key(master_key, nonce):
    """The key of one file, as fscrypt derives it: HKDF-SHA512 of the master key over the file's nonce."""
    pseudorandom = hmac.digest(bytes(64), master_key, hashlib.sha512)
    return hmac.digest(pseudorandom, b"fscrypt\0\x02" + nonce + b"\x01", hashlib.sha512)


class OfHuskTest(InGuest):
    """The most memory husk's process had at once, as the kernel counts it (ru_maxrss: every page it had, locked ones too;
    not what the kernel needs for itself)."""

    LIMIT_KB = 64 << 10
    GROWTH_KB = 1 << 10

    def peak_kb(self, *arguments, stdin=b""):
        """Run husk, which must end well."""
        told = self.guest.run(["/usr/bin/time", "-o", "/run/peak", "-f", "%M", "husk", *arguments], 3600, stdin)
        self.assertEqual(told.status, husk.DONE, told.stderr.decode(errors="replace"))
        return int(self.guest.check(["cat", "/run/peak"]))

    def argon2_kb(self):
        """What the vault's only keyslot, a passphrase's, says that Argon2id takes."""
        return int(self.guest.check(f"od -A n -t u8 -j {ARGON2_MEMORY_AT} -N 8 {self.d.path}/.husk/vaults/*/keyslots/*")) >> 10

    def protect_files(self, name, count, *key, **options):
        tree = self.d.at(name)
        self.guest.python(MAKE_FILES, tree, str(count))
        return self.peak_kb("protect", tree, "--vault", self.vault, "--skip-free-space", *key, **options)

    @unittest.skipUnless(os.environ.get("HUSK_TEST_LONG"), "the long form; scripts/bench memory measures it as well")
    def test_it_is_small_beside_that_of_argon2_and_does_not_grow_with_the_tree(self):
        self.make("growth", size_mib=64 + MANY * 16 // 1024)
        passphrase = {"stdin": PASSPHRASE}
        protected = self.protect_files("first", 250, "--passphrase-file", "-", **passphrase)
        argon2 = self.argon2_kb()
        self.assertGreaterEqual(argon2, 64 << 10)
        # The vault is open now, so that no Argon2id hides what these take.
        few = self.protect_files("few", FEW)
        many = self.protect_files("many", MANY)
        self.guest.ok("lock", self.vault)
        unlocked = self.peak_kb("unlock", self.vault, "--passphrase-file", "-", **passphrase)
        print(f"\nKiB: {FEW} files {few}, {MANY} files {many}; Argon2id {argon2}: protect {protected}, unlock {unlocked}")

        for peak in protected, unlocked:
            self.assertGreater(peak, argon2)  # or this is not what was measured
            self.assertLess(peak - argon2, self.LIMIT_KB)
        self.assertLess(many, self.LIMIT_KB)
        self.assertLess(many - few, self.GROWTH_KB)
        self.assertEqual(self.guest.check(f"find {self.d.at('many')} -type f | wc -l"), f"{MANY}\n")


class OfTheMachineTest(InGuest):
    """What stands in the memory of the whole machine, kernel and freed pages with it, which nothing zeroes here.

    The keyfile comes on a disk of its own and never passes a pipe, so that the page cache has the one copy of it that
    is not husk's. Contents of files do stay in freed page cache (docs/boundaries.md); test_disks.py has that.
    """

    def attach_keys(self):
        """Mount a disk with a keyfile; the keyfile out here."""
        directory = self.guest.run_dir / "keys"
        directory.mkdir()
        directory.joinpath("key").write_bytes(secrets.token_bytes(64))
        image = self.guest.run_dir / "keys.img"
        disk.make_ext4(str(image), 16, ["-d", str(directory)])
        self.guest.add_disk("keys", image, read_only=True)
        self.guest.check(f"mkdir -p /mnt/keys && mount -o ro {self.guest.disk('keys')} /mnt/keys")
        return directory / "key"

    def derived(self, keyfile, path):
        """{name: bytes} of all the keys below the keyslot; that of the one file in two halves, as AES takes them."""
        slot = self.guest.run_dir / "slot"
        self.guest.get(self.guest.check(f"echo {self.d.path}/.husk/vaults/{self.vault}/keyslots/*").strip(), slot)
        told = subprocess.run([KEY_TOOL, slot, keyfile], check=True, stdout=subprocess.PIPE, text=True).stdout
        keys = {name: bytes.fromhex(value) for name, value in map(str.split, told.splitlines())}
        self.assertEqual(set(keys), {"vault-secret", "fscrypt-master-key", "manifest-key"})
        of_file = file_key(keys["fscrypt-master-key"], bytes.fromhex(self.guest.python(READ_NONCE, path)))
        return keys | {"file-key 1": of_file[:32], "file-key 2": of_file[32:]}

    def count(self, needles):
        """{name: how often} of those that are there."""
        dump = self.guest.run_dir / "memory"
        self.guest.dump_memory(dump)
        found = disk.find_in_file(dump, needles.values())
        dump.unlink()
        return {name: len(found[needle]) for name, needle in needles.items() if needle in found}

    def test_locking_and_erasing_leave_no_key(self):
        self.make("keys-gone")
        keyfile, unlock = self.attach_keys(), ("unlock", self.vault, "--keyfile", "/mnt/keys/key")
        path = self.d.at("tree", "file")
        self.guest.check(f"mkdir {self.d.at('tree')}; head -c 20000 /dev/urandom >{path}")
        self.guest.ok("protect", self.d.at("tree"), "--vault", self.vault, "--keyfile", "/mnt/keys/key", "--skip-free-space")
        keys = self.derived(keyfile, path) | {"keyfile": keyfile.read_bytes()}
        cached = {"keyfile": 1}  # by the kernel, of the disk it came on

        self.guest.check(["cat", path])
        # The kernel reads the file with its key, and husk's manifest key lies in a file of the vault.
        using = self.count(keys)
        self.assertLessEqual({"file-key 1", "file-key 2"}, set(using))
        self.assertLessEqual(set(using), {"file-key 1", "file-key 2", "manifest-key", "keyfile"})
        self.guest.ok("lock", self.vault)
        self.assertEqual(self.count(keys), cached)

        self.guest.ok(*unlock)
        self.guest.check(["cat", path])
        self.guest.ok("lock", self.vault)
        self.assertEqual(self.count(keys), cached)

        self.guest.ok(*unlock)
        self.guest.check(["cat", path])
        self.assertLessEqual({"file-key 1", "file-key 2"}, set(self.count(keys)))
        self.guest.ok("erase", self.vault, "--confirm", self.vault)
        self.assertEqual(self.count(keys), cached)


if __name__ == "__main__":
    unittest.main(verbosity=2)
