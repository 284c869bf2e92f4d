"""A Debian guest whose root is encrypted, and its disk attached out here.

    guest = cls.enterClassContext(RootGuest("boot"))      # the image's root with the package husk installed
    with guest.attached() as root:                        # mounted out here, as on a rescue machine
        husk.ok("protect", "--root", "--at", root, ...)
    guest.boot()                                          # begin to boot; then guest.console and guest.wait_ready()

What is installed is a package of the husk under test (scripts/package --build). Its initramfs has no drivers but those
husk's own hook takes along (MODULES=list), so that the hook is tested and the image small.
"""

import contextlib
import os
import pathlib
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import disk
import guest
import husk
from guest_chroot import build_package, enterable, run_in
from undo import Undo

__all__ = ["PATIENCE_S", "RootGuest", "build_package"]

PATIENCE_S = 1200


class RootGuest(guest.Guest):
    """`PASSPHRASE` and the recovery key in the file `recovery` open its root once protect() was called."""

    PASSPHRASE = "correct horse battery"
    BOOTED = ("vmlinuz", "initrd.img")  # what QEMU starts itself
    ROOT_AT = 0  # on the disk
    INITRAMFS = "MODULES=list\nCOMPRESS=gzip\n"

    def __init__(self, name, like=None, image=None, **options):
        """image: the directory of another image than find_image()'s.
        like: another one that is switched off, whose disk and initramfs are copied instead.
        """
        self.undo = Undo()
        self.package = None  # that is installed
        self.scratch = pathlib.Path(disk.scratch(self.undo))
        self.recovery = self.scratch / "recovery"
        self.passphrase = self.scratch / "passphrase"
        self.passphrase.write_text(self.PASSPHRASE + "\n")
        base = like.scratch if like else image or self.find_image()
        self.disk_image = self.scratch / self.IMAGE
        disk.run("cp", "--sparse=always", base / self.IMAGE, self.disk_image)
        self.disk_image.chmod(0o600)
        for name_of_copy in self.BOOTED if like else self.BOOTED[:1]:
            shutil.copy(base / name_of_copy, self.scratch)
        super().__init__(name, image=self.scratch, **options)
        self.remove_disk("root")
        self.add_disk("root", self.disk_image)

    find_image = staticmethod(guest.find_image)

    def close(self):
        super().close()
        self.undo.close()

    @contextlib.contextmanager
    def device(self):
        """A device out here that has the root filesystem on it while the guest is off."""
        assert not self.running()
        with Undo() as undo:
            yield disk.attach(undo, self.disk_image, self.ROOT_AT)

    @contextlib.contextmanager
    def attached(self):
        """The root filesystem, mounted out here."""
        with self.device() as device, Undo() as undo:
            path = pathlib.Path(disk.scratch(undo)) / "root"
            path.mkdir()
            disk.run("mount", "-t", "ext4", device, path)
            undo.push(disk.unmount, path)
            yield str(path)

    @contextlib.contextmanager
    def chroot(self):
        """attached(), with what programs in a chroot want to see; the path, and what runs a script in it."""
        with self.attached() as root, Undo() as undo:
            enterable(undo, root)
            yield root, lambda script: run_in(root, script)

    def install(self, package):
        """Install the package, whose postinst builds the initramfs, and boot from that."""
        self.package = package
        with self.chroot() as (root, run):
            pathlib.Path(root, "etc/initramfs-tools/conf.d/test").write_text(self.INITRAMFS)
            loader = pathlib.Path(root, "boot/grub/grub.cfg")
            if not loader.exists():  # QEMU loads the kernel, but husk wants to see what would
                loader.parent.mkdir(exist_ok=True)
                release = next(pathlib.Path(root, "boot").glob("vmlinuz-*")).name.removeprefix("vmlinuz-")
                loader.write_text(f"menuentry 'QEMU' {{\n\tlinux /boot/vmlinuz-{release}\n\tinitrd /boot/initrd.img-{release}\n}}\n")
            shutil.copy(package, f"{root}/root/husk.deb")
            run("dpkg -i /root/husk.deb")
        self.take_initramfs()

    def take_initramfs(self):
        """The one on the disk is what QEMU starts from now on."""
        with self.attached() as root:
            image = next(pathlib.Path(root, "boot").glob("initrd.img-*"))
            shutil.copy(image, self.scratch / "initrd.img")

    def protect(self, root, *words, expect=husk.DONE):
        return husk.run("protect", "--root", "--at", root, "--enable-feature", *words, timeout=PATIENCE_S,
                        preexec_fn=self.enter).expect(expect)

    def snapshot(self, path):
        """A copy of the disk as it is at this moment, as a provider makes one of a running machine."""
        self.monitor("stop")
        disk.run("cp", "--sparse=always", self.disk_image, path)
        self.monitor("cont")

    def press(self, *keys):
        """All at once, on its keyboard."""
        self.monitor("send-key", {"keys": [{"type": "qcode", "data": key} for key in keys]})

    def prompted(self):
        self.expect("recovery key of vault root: ")

    def is_opened(self, by="its authority"):
        self.expect(f"vault root is open, by {by}")
        self.wait_ready(PATIENCE_S)

    def boot(self):
        """Begin to boot. What the console shows is looked at from here on."""
        self.spawn()

    def expect(self, words, timeout=PATIENCE_S):
        self.console.wait(words, timeout)
