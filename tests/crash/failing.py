"""I/O errors: a disk whose writes fail when told, and heal again.

    with failing.failing_disk() as f:      # an ext4, mounted at f.disk.path
        f.fail_writes(after=100)           # the next 100 writes pass, all later ones fail with EIO
        ...
        f.heal()
        f.recover()                        # unmount, e2fsck, mount: what an administrator does then
"""

import contextlib
import errno
import os

import disk
from storage import Daemon
from undo import Undo


class FailingDisk:
    def __init__(self, undo, directory, size_mib, mkfs):
        base = os.path.join(directory, "base")
        with open(base, "wb") as file:
            file.truncate(size_mib << 20)
        self._daemon = Daemon(undo, directory, [
            {"driver": "file", "node-name": "base", "filename": base, "discard": "unmap"},
            self._top("base")])
        self._errors = None
        self._count = 0
        device = disk.attach(undo, self._daemon.file)
        disk.make_ext4(device, size_mib, mkfs)
        self.disk = disk.Disk(undo, "ext4", "", device, base, directory)
        # Whatever a test did, unmounting must not wait for a disk that fails.
        undo.push(self.heal)
        self.disk.mount()

    def _top(self, below):
        return {"driver": "raw", "node-name": "top", "file": below, "discard": "unmap"}

    def fail_writes(self, after=0, number=errno.EIO, once=False):
        """The next `after` writes pass, those behind fail with errno `number`; with `once` only the first of them."""
        self.heal()
        self._count += 1
        name = f"errors{self._count}"
        error = {"event": "write_aio", "iotype": "write", "errno": number, "once": once, "state": after + 1}
        steps = [{"event": "write_aio", "state": state, "new_state": state + 1} for state in range(1, after + 1)]
        node = {"driver": "blkdebug", "node-name": name, "image": "base", "discard": "unmap", "inject-error": [error]}
        self._daemon.command("blockdev-add", **node, **({"set-state": steps} if steps else {}))
        self._daemon.command("blockdev-reopen", options=[self._top(name)])
        self._errors = name

    def heal(self):
        if self._errors:
            self._daemon.command("blockdev-reopen", options=[self._top("base")])
            self._daemon.command("blockdev-del", **{"node-name": self._errors})
            self._errors = None

    def recover(self):
        self.heal()
        self.disk.unmount()
        with contextlib.suppress(OSError):
            self.disk.sync()  # tells of the past errors once more
        self.disk.sync()
        disk.run("e2fsck", "-fy", self.disk.device, accept=(0, 1))
        disk.run("e2fsck", "-fn", self.disk.device)
        self.disk.mount()


@contextlib.contextmanager
def failing_disk(size_mib=48, mkfs=("-O", "encrypt")):
    with Undo() as undo:
        yield FailingDisk(undo, disk.scratch(undo), size_mib, list(mkfs))
