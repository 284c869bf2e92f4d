"""What is left in the memory of the whole machine of what opened its root at the console: nothing.

The kernel has the keys of the files it reads, and the key of the manifest lies in a file of the vault.
"""
# runs alone

import os
import secrets
import subprocess
import time
import unittest

import disk
import husk
from protected_guest import PATIENT, only_in_the_long_form
from root_guest import PATIENCE_S, RootGuest, build_package

KEY_TOOL = os.path.join(os.path.dirname(husk.PROGRAM), "tests", "programs", "key_tool")
PART = 8  # a serial line brings what is typed in parts


def setUpModule():
    only_in_the_long_form()
    MemoryTest.guest = guest = unittest.enterModuleContext(RootGuest("boot-memory", append=PATIENT))
    guest.passphrase.write_text(secrets.token_hex(16))
    keyfile = guest.scratch / "key"
    keyfile.write_bytes(secrets.token_bytes(64))
    guest.install(build_package())
    with guest.attached() as root:
        guest.protect(root, "--passphrase-file", guest.passphrase, "--recovery-out", guest.recovery)
        there = f"{root}/.husk/vaults/root/keyslots"
        before = set(os.listdir(there))
        husk.ok("keyslot", "add", "root", "--keyfile", keyfile, "--with-recovery-key-file", guest.recovery, "--at", root)
        (slot,) = set(os.listdir(there)) - before
        told = subprocess.run([KEY_TOOL, f"{there}/{slot}", keyfile], check=True, stdout=subprocess.PIPE, text=True).stdout
    MemoryTest.keys = {name: bytes.fromhex(value) for name, value in map(str.split, told.splitlines())}


class MemoryTest(unittest.TestCase):
    guest = keys = None

    def found(self, needles):
        """The names of those that are there."""
        dump = self.guest.scratch / "memory"
        self.guest.dump_memory(dump)
        found = disk.find_in_file(dump, needles.values())
        dump.unlink()
        return {name for name, needle in needles.items() if needle in found}

    def comes_to_be_found(self, needles, word):
        """What could not be found while it is there would not be found when it is left: the machine reads it in its time."""
        deadline = time.monotonic() + PATIENCE_S
        while not any(name.startswith(word) for name in self.found(needles)):
            self.assertLess(time.monotonic(), deadline, "what is being typed is not found")
            time.sleep(1)

    def test_what_a_person_typed_and_what_it_opened_is_gone_when_the_system_runs(self):
        guest = self.guest
        self.addCleanup(guest.kill)
        typed = guest.passphrase.read_text()
        needles = {f"typed {at}": typed[at:at + PART].encode() for at in range(len(typed) - PART + 1)} | self.keys
        self.assertEqual(set(self.keys), {"vault-secret", "fscrypt-master-key", "manifest-key"})
        guest.boot()
        guest.expect("passphrase or recovery key of vault root: ")
        guest.console.send(typed)
        self.comes_to_be_found(needles, "typed")
        guest.console.send("\n")
        guest.is_opened("its passphrase")
        guest.check("systemctl is-system-running --wait || :", PATIENCE_S)
        self.assertLessEqual(self.found(needles), {"manifest-key"})


if __name__ == "__main__":
    unittest.main(verbosity=2)
