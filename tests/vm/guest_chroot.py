"""The system of the guest image, on a copy of its disk, entered out here: what needs no boot.

    guest = unittest.enterModuleContext(GuestChroot())
    guest.install(package)
    guest.run("update-initramfs -u")                     # must end with 0
    status, told = guest.attempt("dpkg --remove husk")

The kernel is this machine's, so what is shown is what programs do with files: packages, and images of an initramfs.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import disk
import husk
from guest import find_image
from undo import Undo

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


def build_packages():
    """{name: path} of the .deb files of the husk and huskd under test."""
    build = os.path.dirname(os.path.abspath(husk.PROGRAM))
    made = subprocess.run([os.path.join(husk.ROOT, "scripts", "package"), "--build", build], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    if made.returncode != 0:
        raise RuntimeError(f"scripts/package: {made.stderr}")
    paths = [pathlib.Path(line) for line in made.stdout.splitlines() if line.endswith(".deb")]
    return {path.name.split("_")[0]: path for path in paths}


def build_package():
    """The .deb of the husk under test."""
    return build_packages()["husk"]


def enterable(undo, root):
    """What programs in a chroot want to see is mounted in root until `undo`."""
    for kind, name in ("proc", "proc"), ("sysfs", "sys"), ("devtmpfs", "dev"):
        disk.run("mount", "-t", kind, kind, f"{root}/{name}")
        undo.push(disk.unmount, f"{root}/{name}")


def run_in(root, script):
    """Run a script in the chroot, which must end with 0; what it wrote."""
    return disk.run("chroot", root, "sh", "-ec", script, env=ENVIRONMENT)


class GuestChroot:
    """`root` is where its files are out here."""

    def __init__(self, configuration="MODULES=list\n"):
        self.undo = Undo()
        try:
            scratch = pathlib.Path(disk.scratch(self.undo))
            image = scratch / "root.ext4"
            disk.run("cp", "--sparse=always", find_image() / "root.ext4", image)
            image.chmod(0o600)
            self.root = scratch / "root"
            self.root.mkdir()
            disk.run("mount", "-t", "ext4", disk.attach(self.undo, image), self.root)
            self.undo.push(disk.unmount, str(self.root))
            enterable(self.undo, self.root)
        except BaseException:
            self.undo.close()
            raise
        self.configure(configuration)
        self.kernel = next(self.path("lib/modules").iterdir()).name

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.undo.close()

    def path(self, name):
        return self.root / name

    def run(self, script):
        return run_in(self.root, script)

    def attempt(self, script):
        """(status, what it wrote)"""
        done = subprocess.run(["chroot", self.root, "sh", "-ec", script], stdin=subprocess.DEVNULL, env=ENVIRONMENT,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.returncode, done.stdout

    def configure(self, text):
        """How images are built from now on, packed fast."""
        self.path("etc/initramfs-tools/conf.d/test").write_text(text + "COMPRESS=gzip\nCOMPRESSLEVEL=1\n")

    def no_images(self):
        """What is installed builds none in /boot."""
        self.path("etc/initramfs-tools/update-initramfs.conf").write_text("update_initramfs=no\n")

    def put(self, package):
        """The package's name in there."""
        shutil.copy(package, self.path("root"))
        return f"/root/{package.name}"

    def install(self, package):
        self.run(f"dpkg -i {self.put(package)}")

    def image(self, kernel=None):
        return self.path(f"boot/initrd.img-{kernel or self.kernel}")

    def add_kernel(self, version):
        """Another kernel, the same but for its name. The images are not built."""
        self.run(f"cp -al /lib/modules/{self.kernel} /lib/modules/{version}; depmod {version}; "
                 f"cp /boot/vmlinuz-{self.kernel} /boot/vmlinuz-{version}; "
                 f"cp /boot/config-{self.kernel} /boot/config-{version}")

    def add_kernel_of(self, package):
        """The kernel that a package of the distribution depends on, fetched out here; its version. No image is built."""
        depends = disk.run("apt-cache", "depends", "--important", package)
        name = next(line.split()[-1] for line in depends.splitlines() if "Depends: linux-image-" in line)
        directory = self.path("root/kernel")
        directory.mkdir()
        disk.run("apt-get", "download", "-q", name, cwd=directory)
        version = name.removeprefix("linux-image-")
        self.run(f"dpkg-deb --extract /root/kernel/*.deb /root/kernel/files; mv /root/kernel/files/boot/* /boot/; "
                 f"mv /root/kernel/files/lib/modules/{version} /lib/modules/; depmod {version}")
        return version

    def build_image(self, name="built", kernel=None):
        """The path of a new image in the scratch of the chroot."""
        self.run(f"mkinitramfs -o /root/{name} {kernel or self.kernel}")
        return f"/root/{name}"

    @contextlib.contextmanager
    def hidden(self, *names):
        """These files are elsewhere meanwhile."""
        for name in names:
            os.rename(self.path(name), self.path(f"root/{os.path.basename(name)}"))
        try:
            yield
        finally:
            for name in names:
                os.rename(self.path(f"root/{os.path.basename(name)}"), self.path(name))
