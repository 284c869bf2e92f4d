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
import shutil
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "http"))

import authority
import disk
import husk
import known_address
from root_guest import RootGuest, build_package

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

    def new_server(self):
        server = self.server_class(authority.make_directory())
        self.undo.push(shutil.rmtree, server.directory)
        self.undo.push(server.end)
        server.init().start()
        server.unlock_by("auto")
        return server

    def prepare(self, *words):
        """The words are for husk protect --root."""
        self.install(build_package())
        with self.attached() as root:
            self.enrol(root, self.server)
            self.protect(root, "--authority", "--recovery-out", self.recovery, *words)

    def enrol(self, root, server):
        token = self.scratch / "token"
        token.write_text(server.token())
        husk.ok("enroll", server.url, "--token-file", token, "--name", HOST, "--at", root, preexec_fn=self.enter)

    def unlock(self, root):
        husk.ok("unlock", "root", "--at", root, "--recovery-key-file", self.recovery)

    @contextlib.contextmanager
    def opened(self):
        with self.attached() as root:
            self.unlock(root)
            yield root

    def keep(self):
        kept = self.scratch / "kept"
        kept.mkdir()
        self.server.end()
        disk.run("cp", "-a", self.server.directory, kept / "authority")
        self.server.start()
        disk.run("cp", "--sparse=always", self.disk_image, kept / "disk")

    def put_back(self):
        kept = self.scratch / "kept"
        self.kill()
        self.server.end()
        shutil.rmtree(self.server.directory)
        disk.run("cp", "-a", kept / "authority", self.server.directory)
        disk.run("cp", "--sparse=always", kept / "disk", self.disk_image)
        self.server.start()

    def boots(self, by="its authority"):
        self.boot()
        self.is_opened(by)

    def type_recovery_key(self):
        self.console.send(self.recovery.read_text().strip() + "\n")
