"""A guest whose root is protected, bound to an authority out here, that many boots start from.

    guest = unittest.enterModuleContext(ProtectedGuest("boot-ways"))
    guest.prepare()                       # install, enrol, protect: once
    guest.keep()                          # disk and authority as they are now
    guest.boots()                         # by its authority, until commands can be run
    guest.put_back()                      # as they were, for the next case
    with guest.opened() as root: ...      # the switched-off disk, mounted and unlocked out here
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "http"))

import authority
import disk
import guest
import husk
import known_address
from root_guest import PATIENCE_S, RootGuest, build_package

LONG = os.environ.get("HUSK_TEST_LONG")
HOST = "web-1"
# systemd's own patience is measured for real machines.
PATIENT = "systemd.default_timeout_start_sec=1200 systemd.default_device_timeout_sec=1200"
THIS_MACHINE = "10.0.2.2"  # as QEMU's network shows it to a guest


def unless_missing():
    """For setUpModule."""
    reason = husk.missing() or authority.missing()
    if reason:
        raise unittest.SkipTest(reason)


def only_in_the_long_form():
    """For setUpModule."""
    if not LONG:
        raise unittest.SkipTest("only in the long form")
    unless_missing()


def apt_install(root, run, packages):
    """With this machine's way to the mirror, and without starting any of it."""
    told = subprocess.run(["apt-config", "shell", "P", "Acquire::http::Proxy"], capture_output=True, text=True, check=True).stdout
    proxy = told.partition("=")[2].strip().strip("'")
    apt = f"apt-get -q -y -o Acquire::http::Proxy={proxy or 'DIRECT'}"
    never, names = pathlib.Path(root, "usr/sbin/policy-rc.d"), pathlib.Path(root, "etc/resolv.conf")
    before = names.read_bytes() if names.exists() else b""
    never.write_text("#!/bin/sh\nexit 101\n")
    never.chmod(0o755)
    names.write_bytes(pathlib.Path("/etc/resolv.conf").read_bytes())
    run(f"{apt} update; {apt} --no-install-recommends install {' '.join(packages)}; apt-get clean; rm -rf /var/lib/apt/lists/*")
    names.write_bytes(before)
    never.unlink()


class Server(known_address.Server):
    """At an address that is there out here, and at the one by which a guest reaches it."""

    def init(self, *more):
        known = [f"http://{THIS_MACHINE}:{self.port}", *more, self.url]
        authority.run("init", "--dir", self.path, "--root-out", self.root,
                      *(word for url in known for word in ("--address", url))).expect(0)
        return self


class ProtectedGuest(RootGuest):
    """`server` is its authority, which grants by itself until told otherwise."""

    server_class = Server

    def __init__(self, name, **options):
        super().__init__(name, **{"network": True, "append": PATIENT, **options})
        self.server = self.new_server()

    def new_server(self, *addresses):
        server = self.server_class(authority.make_directory())
        self.undo.push(shutil.rmtree, server.directory)
        self.undo.push(server.end)
        server.init(*addresses).start()
        server.unlock_by("auto")
        return server

    def prepare(self, *protect, furnish=None):
        """The words are for protect beside authority and recovery key; furnish(root, run) works in the chroot."""
        if furnish:
            with self.chroot() as (root, run):
                furnish(root, run)
        self.package = build_package()
        self.install(self.package)
        with self.attached() as root:
            self.enrol(root, self.server)
            self.protect(root, "--authority", *protect, "--recovery-out", self.recovery)

    def enrol(self, root, server):
        token = self.scratch / "token"
        token.write_text(server.token())
        husk.ok("enroll", server.url, "--token-file", token, "--name", HOST, "--at", root, preexec_fn=self.enter)

    @contextlib.contextmanager
    def opened(self):
        with self.attached() as root:
            husk.ok("unlock", "root", "--at", root, "--recovery-key-file", self.recovery)
            yield root

    def keep(self):
        self._copy(self.scratch / "kept", self.disk_image, self.server.directory)

    def put_back(self):
        kept = self.scratch / "kept"
        self.kill()
        self.server.end()
        shutil.rmtree(self.server.directory)
        disk.run("cp", "-a", kept / "authority", self.server.directory)
        disk.run("cp", "--sparse=always", kept / "disk", self.disk_image)
        self.server.start()

    def _copy(self, directory, image, server):
        directory.mkdir()
        self.server.end()
        disk.run("cp", "-a", server, directory / "authority")
        self.server.start()
        disk.run("cp", "--sparse=always", image, directory / "disk")

    def copy_disk(self, name):
        """Another machine with a copy of the disk as it is now, running or not."""
        image = self.scratch / f"{name}.ext4"
        disk.run("cp", "--sparse=always", self.disk_image, image)
        image.chmod(0o600)
        copy = guest.Guest(name, image=self.scratch, network=self.network)
        self.undo.push(copy.close)
        copy.remove_disk("root")
        copy.add_disk("root", image)
        return copy

    def take_kernel(self, version):
        """What is booted from now on: that kernel of the disk's /boot, with its initramfs."""
        with self.attached() as root:
            shutil.copy(f"{root}/boot/vmlinuz-{version}", self.scratch / "vmlinuz")
            shutil.copy(f"{root}/boot/initrd.img-{version}", self.scratch / "initrd.img")

    def boots(self, by="its authority"):
        self.boot()
        self.is_opened(by)

    def is_opened(self, by="its authority"):
        self.expect(f"vault root is open, by {by}")
        self.wait_ready(PATIENCE_S)

    def ends_by_reboot(self):
        """An orderly reboot from inside, until the machine is off."""
        self._end_by(b"systemctl reboot --no-block", "guest-reset", PATIENCE_S)

    def reboots(self, by="its authority"):
        self.ends_by_reboot()
        self.boots(by)

    def prompted(self):
        self.expect("recovery key of vault root: ")

    def type_recovery_key(self):
        self.console.send(self.recovery.read_text().strip() + "\n")
