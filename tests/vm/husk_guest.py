"""A guest with husk and the tools of tests/lib in it, and ext4 filesystems on disks of its own.

    guest = cls.enterClassContext(HuskGuest("convert"))
    guest.start()
    d = guest.ext4("verity", mkfs=["-O", "encrypt,verity"])
    guest.build(d.at("tree"), ["verity", "links"])
    before = guest.manifest(d.at("tree"))
    guest.ok("protect", d.at("tree"), "--vault", "v", "--keyfile", guest.KEYFILE)

The husk under test is a static program, so the one of this machine runs there. Python snippets run in the guest, with
tests/lib to import from.
"""

import io
import json
import os
import pathlib
import shlex
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import disk
import husk
import manifest
from canary import Canaries
from guest import Guest

LIB = pathlib.Path(__file__).resolve().parent.parent / "lib"
# Emulated, and beside other work: never what decides a test.
PATIENCE_S = 1200

BUILD = """
import json, os, sys
import torture
from canary import Canaries
directory, parts, many, tag = json.loads(sys.argv[1])
canaries = Canaries(tag)
made = torture.build(directory, "small", many, canaries, parts)
canaries.plant(os.path.join(directory, "canaries"), files=3)
print(json.dumps(made.skipped))
"""


class HuskGuest(Guest):
    KEYFILE = "/root/keyfile"

    def __init__(self, name, **options):
        super().__init__(name, **options)
        self.canaries = Canaries()
        self._furnished = False

    def start(self, timeout=PATIENCE_S):
        super().start(timeout)
        if not self._furnished:
            self.put(husk.PROGRAM, "/usr/local/sbin/husk")
            self.put(LIB, "/root/lib")
            self.check(f"umask 077; head -c 64 /dev/urandom >{self.KEYFILE}; sync")
            self._furnished = True

    # husk

    @classmethod
    def for_module(cls, name, **options):
        """One boot for all tests of a module: call it in setUpModule."""
        reason = husk.missing()
        if reason:
            raise unittest.SkipTest(reason)
        made = unittest.enterModuleContext(cls(name, **options))
        made.start()
        return made

    def husk(self, *arguments, fault=None, json=False, stdin=b"", timeout=PATIENCE_S):
        """Run husk in the guest; a husk.Done, whose status is minus the signal that ended it."""
        argv = ["husk", *arguments] + (["--json"] if json else [])
        script = shlex.join(argv) if fault is None else f"HUSK_FAULT={fault} {shlex.join(argv)}"
        result = self.run(script, timeout, stdin)
        status = result.status if result.status < 128 else 128 - result.status
        return husk.Done(argv, status, result.stdout.decode(errors="replace"), result.stderr.decode(errors="replace"), 0)

    def ok(self, *arguments, **options):
        return self.husk(*arguments, **options).expect(husk.DONE)

    def state(self, vault="v"):
        return self.ok("status", vault, json=True).document["result"]["vaults"][0]["state"]

    # tests/lib

    def python(self, code, *arguments, stdin=b"", timeout=PATIENCE_S):
        """What a Python snippet prints."""
        return self.check(f"PYTHONPATH=/root/lib {shlex.join(['python3', '-B', '-c', code, *arguments])}", timeout, stdin)

    def manifest(self, directory):
        told = self.check(["python3", "-B", "/root/lib/manifest.py", directory], PATIENCE_S)
        return manifest.read(io.StringIO(told))

    def build(self, directory, parts, many=30):
        """The torture tree's parts, and canaries, in a directory; {what: why it could not be had}."""
        return json.loads(self.python(BUILD, json.dumps([directory, parts, many, self.canaries.tag])))

    # Disks

    def ext4(self, name, size_mib=64, mkfs=("-O", "encrypt"), options=""):
        """A mounted ext4 on a disk of its own, at /srv/NAME."""
        image = self.run_dir / f"{name}.img"
        disk.make_ext4(str(image), size_mib, list(mkfs))
        self.add_disk(name, image)
        return self._mounted(Ext4(self, self.disk(name), f"/srv/{name}", options, image))

    def ext4_over(self, name, setup, size_mib=48):
        """The same on the device /dev/mapper/NAME, which the script setup makes over a disk of its own, named $disk."""
        image = self.new_disk(name, size_mib << 20)
        device = f"/dev/mapper/{name}"
        self.check(f"disk={self.disk(name)}\n{setup}")
        self.python("import disk, sys; disk.make_ext4(sys.argv[1], 0)", device)
        return self._mounted(Ext4(self, device, f"/srv/{name}", "", image))

    def _mounted(self, made):
        self.check(["mkdir", made.path])
        made.mount()
        return made


class InGuest(unittest.TestCase):
    """Each test has a filesystem d of its own, and a vault with that one's name. Modules set guest."""
    guest = None

    def make(self, name, **options):
        self.d = self.guest.ext4(name, **options)
        self.vault = name

    def protect(self, path, *more, expect=husk.DONE, **options):
        return self.guest.husk("protect", path, "--vault", self.vault, "--keyfile", self.guest.KEYFILE, *more,
                               json=True, **options).expect(expect)

    def lock(self):
        self.guest.ok("lock", self.vault)
        self.assertEqual(self.guest.state(self.vault), "locked")

    def unlock(self):
        self.guest.ok("unlock", self.vault, "--keyfile", self.guest.KEYFILE)

    def unprotect(self):
        self.guest.ok("unprotect", self.vault)

    def assertSame(self, before, path, form=""):
        """Reading a tree changes its times of access; the rest is as it was."""
        manifest.same(before, self.guest.manifest(path), ["atime"], f"{path} {form}")


def kinds(done):
    return {finding["kind"] for finding in done.document["findings"]}


class Ext4:
    """`path` is where it is mounted and `device` its device, both in the guest; `image` its bytes, out here."""

    def __init__(self, guest, device, path, options, image):
        self.guest, self.device, self.path, self.options, self.image = guest, device, path, options, image

    def at(self, *names):
        return "/".join([self.path, *names])

    def mount(self, options=None):
        options = self.options if options is None else options
        self.guest.check(["mount", *(["-o", options] if options else []), self.device, self.path])

    def unmount(self):
        self.guest.check(["umount", self.path])

    def sync(self):
        """All that was written is in the image: what Canaries want of a disk."""
        self.guest.check(f"sync; blockdev --flushbufs {self.device}", PATIENCE_S)

    def fsck(self):
        """Unmount, and complain unless e2fsck finds nothing to mend; it also counts what the quota files say."""
        self.unmount()
        self.sync()
        disk.run("e2fsck", "-fn", self.image)
