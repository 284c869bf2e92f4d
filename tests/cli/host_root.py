"""A root of a host, as far as husk looks at one, on a small real ext4."""

import os

import husk
from job import Job

PASSPHRASE = "correct horse battery"
HOOKS = "usr/share/initramfs-tools"
FSTAB = "/dev/vda / ext4 errors=remount-ro 0 1\n/dev/vdb /data ext4 defaults 0 2\n/dev/mapper/swap none swap sw 0 0\n"
CRYPTTAB = "swap /dev/vdc /dev/urandom swap,cipher=aes-xts-plain64,size=512\n"
GRUB = "menuentry 'one' {\n\tlinux /boot/vmlinuz-6.1.0-1 root=/dev/vda\n\tinitrd /boot/initrd.img-6.1.0-1\n}\n"


MARK = b'{"version":%d,"kernel":"%s","stacked":%s}\n'


def newc(names, *mark):
    """A cpio archive of files of some bytes, padded as cpio pads it; what husk's mark says of itself."""
    made = b""
    for name in [*names, "TRAILER!!!"]:
        content = {"TRAILER!!!": b"", "husk-initramfs": MARK % mark}.get(name, b"x" * 77)
        fields = [0, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        for part in head, content:
            made += part + bytes(-len(part) % 4)
    return made + bytes(-len(made) % 512)


class HostRoot(Job):
    """self.d.path is the root."""

    def setUp(self):
        super().setUp()
        self.write("etc/passwd", "root:x:0:0::/root:/bin/sh\n")
        self.write("etc/fstab", FSTAB)
        self.write("etc/crypttab", CRYPTTAB)
        self.write("boot/grub/grub.cfg", GRUB)
        for name in "hook-functions", "hooks/husk", "scripts/local-bottom/husk":
            self.write(f"{HOOKS}/{name}", "#!/bin/sh\n")
        self.write("usr/bin/program", "x" * 5000)
        self.write("boot/vmlinuz-6.1.0-1", "kernel")
        self.image("initrd.img-6.1.0-1", ["kernel/x86/microcode/a.bin"], ["husk-initramfs"])
        for name in "data", "dev", "home", "proc", "run", "sys":
            os.mkdir(self.path(name))
        os.symlink("usr/bin", self.path("bin"))
        self.passphrase = self.beside("passphrase")
        with open(self.passphrase, "w", encoding="ascii") as file:
            file.write(PASSPHRASE)
        self.recovery = self.beside("recovery")

    def write(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w", encoding="ascii") as file:
            file.write(text)

    def image(self, name, *archives, version=1, kernel=None, stacked=b"false"):
        """An initramfs: these archives, uncompressed, each with files of these names; then what is compressed."""
        kernel = (kernel or name.removeprefix("initrd.img-")).encode()
        content = b"".join(newc(names, version, kernel, stacked) for names in archives)
        with open(self.path("boot", name), "wb") as file:
            file.write(content + b"\x1f\x8b" + os.urandom(5000))

    def protect_root(self, *words, expect=husk.DONE, **options):
        """With a recovery key, which opens fast."""
        return self.json("protect", "--root", "--skip-free-space", "--recovery-out", self.recovery, *words,
                         expect=expect, **options)

    def recovery_key(self):
        with open(self.recovery, encoding="ascii") as file:
            return file.read().strip()

    def unlock_root(self):
        self.call("unlock", "root", "--recovery-key-file", self.recovery, expect=husk.DONE)
