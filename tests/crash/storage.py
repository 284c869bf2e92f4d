"""A disk of our own making: qemu-storage-daemon below a loop device, so that writes can be recorded or made to fail.

The daemon exports its topmost block node as a regular file (FUSE); a loop device on that file is an ordinary disk.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import time

import disk

PR_SET_PDEATHSIG = 1


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Daemon:
    """qemu-storage-daemon with the given block nodes (dicts of the QMP schema), the node "top" exported as `file`."""

    def __init__(self, undo, directory, nodes):
        self.file = os.path.join(directory, "export")
        monitor = os.path.join(directory, "monitor")
        with open(self.file, "wb"):
            pass
        argv = ["qemu-storage-daemon", "--chardev", f"socket,id=monitor,path={monitor},server=on,wait=off",
                "--monitor", "chardev=monitor"]
        for node in nodes:
            argv += ["--blockdev", json.dumps(node)]
        argv += ["--export", f"type=fuse,id=export,node-name=top,mountpoint={self.file},writable=on"]
        # A session of its own: Ctrl-C must not end it before the filesystem on it is unmounted.
        self.monitor = None
        self.process = subprocess.Popen(argv, start_new_session=True, preexec_fn=_die_with_parent)
        undo.push(self._stop)
        self.monitor = self._connect(monitor)
        self.command("qmp_capabilities")

    def _connect(self, path):
        limit = time.monotonic() + 20
        while time.monotonic() < limit and self.process.poll() is None:
            try:
                connection = socket.socket(socket.AF_UNIX)
                connection.connect(path)
                stream = connection.makefile("rw")
                connection.close()  # the stream holds it open
                stream.readline()
                return stream
            except OSError:
                connection.close()
                time.sleep(0.01)
        raise RuntimeError("qemu-storage-daemon did not start")

    def command(self, name, **arguments):
        self.monitor.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.monitor.flush()
        while True:
            answer = json.loads(self.monitor.readline())
            if "error" in answer:
                raise RuntimeError(f"{name}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def _stop(self):
        try:
            if self.monitor and self.process.poll() is None:
                self.command("block-export-del", id="export")
                self.command("quit")
                self.process.wait(20)
        finally:
            if self.monitor:
                self.monitor.close()
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if _is_mounted(self.file):
                disk.run("umount", "-l", self.file)


def _is_mounted(path):
    with open("/proc/self/mounts") as mounts:
        return any(line.split()[1] == path for line in mounts)
