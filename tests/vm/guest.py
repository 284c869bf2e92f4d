"""A Debian guest under QEMU, for what the machine that runs the tests cannot do itself.

    with Guest("convert") as guest:
        guest.start()
        status, stdout, stderr = guest.run("uname -r")

The root disk is an overlay on the image of tests/vm/guest-image, thrown away at the end. QEMU ends with this process,
however that ends: close() for orderly ends, atexit for forgotten ones, and the kernel's parent-death signal for the
rest. That signal follows the *thread* which called start(), so that thread must live as long as the guest.
"""

import atexit
import fcntl
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import weakref
from io import BytesIO

import channel
from channel import GuestError, Result

__all__ = ["Guest", "GuestError", "Result", "find_image"]

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parent.parent / "build" / "vm"
QEMU = "qemu-system-x86_64"
# A boot takes 30 s on two idle cores, and five times that on busy ones.
BOOT_S = 600

_open_guests = weakref.WeakSet()


@atexit.register
def _close_all():
    for guest in list(_open_guests):
        guest.close()


def find_image(*release):
    """The directory of the guest image, of Debian 12 or of the release, built first where it is missing."""
    made = subprocess.run([HERE / "guest-image", *release], stdout=subprocess.PIPE, check=True, text=True)
    return pathlib.Path(made.stdout.strip())


def _new_run_dir():
    """A directory for one guest's disks, locked while its process lives; those of dead processes go now."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / ".lock", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        for old in BUILD.glob("run.*"):
            with open(old / "lock", "w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                shutil.rmtree(old)
        run_dir = pathlib.Path(tempfile.mkdtemp(prefix="run.", dir=BUILD))
        lock = open(run_dir / "lock", "w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        return run_dir, lock


def create_overlay(path, backing, backing_format="raw", size=None):
    """A copy-on-write disk that reads through to backing, as large as it or as size."""
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", backing, "-F", backing_format, path]
    subprocess.run(command + ([str(size)] if size else []), check=True)


class Guest:
    """One machine. Its disks keep what was written over any number of start() and power_off() or kill()."""

    IMAGE = "root.ext4"  # the root disk in the directory of an image

    def __init__(self, name, memory_mb=512, cpus=2, image=None, append="", network=False):
        """network: a card on QEMU's own network; or the words by which QEMU makes others, see also self.enter."""
        self.name = name
        self.memory_mb = memory_mb
        self.cpus = cpus
        self.image = pathlib.Path(image).resolve() if image else find_image()
        # Tests that boot something else replace these before start(); without a kernel the disk's own loader is started.
        self.kernel = self.image / "vmlinuz"
        self.initrd = self.image / "initrd.img"
        self.append = f"root=/dev/vda ro console=ttyS0 mitigations=off {append}"
        self.network = network
        self.enter = None  # what QEMU does before it is QEMU: enter a namespace
        self.console = None
        self.console_log = BUILD / f"{name}.console"
        self._agent = self._monitor = self._process = None
        self._sockets = []
        self.run_dir, self._lock = _new_run_dir()
        self.console_log.write_bytes(b"")
        self._disks = {}
        overlay = self.run_dir / "root.qcow2"
        create_overlay(overlay, self.image / self.IMAGE)
        self.add_disk("root", overlay, "qcow2")
        _open_guests.add(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Disks

    def new_disk(self, name, size_bytes):
        """Attach an empty disk of its own; the path of the file that holds its bytes, raw."""
        path = self.run_dir / f"{name}.img"
        with open(path, "xb") as file:
            file.truncate(size_bytes)
        self.add_disk(name, path)
        return path

    def add_disk(self, name, path, disk_format="raw", read_only=False):
        """Attach a disk, before start() or to a running guest, which finds it as disk(name)."""
        node = {
            "driver": disk_format,
            "node-name": f"disk-{name}",
            "read-only": read_only,
            "discard": "unmap",
            # Tests of power cuts record writes instead; here nothing is gained by the host's disk being asked to flush.
            "cache": {"direct": False, "no-flush": True},
            "file": {"driver": "file", "filename": str(path), "discard": "unmap"},
        }
        device = {"driver": "virtio-blk-pci", "id": f"dev-{name}", "drive": node["node-name"], "serial": name}
        if self.running():
            self.monitor("blockdev-add", node)
            self.monitor("device_add", device)
            # The kernel takes its time to see the card: until then udev has nothing to settle.
            self.check(f"for _ in $(seq 600); do test -b {self.disk(name)} && exit 0; sleep 0.1; done; exit 1")
        self._disks[name] = (node, device)

    def remove_disk(self, name):
        node, device = self._disks.pop(name)
        if self.running():
            self.monitor("device_del", {"id": device["id"]})
            self._monitor.wait_event("DEVICE_DELETED", device=device["id"])
            self.monitor("blockdev-del", {"node-name": node["node-name"]})

    @staticmethod
    def disk(name):
        """The device of an attached disk, inside the guest."""
        return f"/dev/disk/by-id/virtio-{name}"

    # Start and end

    def _command(self, console_fd, agent_fd, monitor_fd):
        command = [QEMU, "-nodefaults", "-no-user-config", "-name", f"husk-{self.name}", "-machine", "pc",
                   "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(self.cpus), "-m", str(self.memory_mb),
                   # A second boot in the same process costs more than twice the first, so a reset ends it too.
                   "-action", "reboot=shutdown",
                   "-display", "none",
                   "-chardev", f"socket,id=console,fd={console_fd},logfile={self.console_log},logappend=on",
                   "-serial", "chardev:console",
                   "-chardev", f"socket,id=agent,fd={agent_fd}",
                   "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=guest-agent",
                   "-chardev", f"socket,id=monitor,fd={monitor_fd}", "-mon", "chardev=monitor,mode=control",
                   *(self.network if isinstance(self.network, list) else
                     ["-nic", "user,model=virtio-net-pci" if self.network else "none"])]
        if self.kernel:
            command += ["-kernel", self.kernel, "-initrd", self.initrd, "-append", self.append]
        for node, device in self._disks.values():
            command += ["-blockdev", json.dumps(node), "-device", json.dumps(device)]
        # The shell closes the gap between our death and the signal being asked for: by then it has another parent.
        return ["setpriv", "--pdeathsig", "KILL", "sh", "-c", '[ "$PPID" -eq "$0" ] && exec "$@"',
                str(os.getpid()), *map(str, command)]

    def spawn(self):
        """Start QEMU and wait for nothing but its monitor."""
        if self.running():
            raise GuestError("already running")
        pairs = [channel.pair() for _ in range(3)]
        ours, theirs = zip(*pairs)
        self._sockets = list(ours)
        fds = [sock.fileno() for sock in theirs]
        with open(self.run_dir / "qemu.log", "ab") as log:
            self._process = subprocess.Popen(self._command(*fds), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                             pass_fds=fds, preexec_fn=self.enter)
        for sock in theirs:
            sock.close()
        self.console = channel.Console(ours[0])
        self._agent = channel.Agent(ours[1], self._check_alive)
        try:
            self._monitor = channel.Monitor(ours[2])
        except GuestError as error:
            self.kill()
            raise GuestError(f"QEMU did not start: {self._qemu_log()}") from error

    def start(self, timeout=BOOT_S):
        """Boot, and wait until commands can be run."""
        self.spawn()
        self.wait_ready(timeout)

    def wait_ready(self, timeout=BOOT_S):
        try:
            self._agent.wait_ready(timeout)
        except GuestError as error:
            raise GuestError(f"{error}; the console ends:\n{self.console.tail()}") from error

    def running(self):
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self):
        return self._process.pid

    def wait_end(self, timeout=BOOT_S):
        """Wait until the machine reboots or powers off, which both end QEMU; "guest-reset" or "guest-shutdown".

        start() then boots it again from the same disks.
        """
        try:
            reason = self._monitor.wait_event("SHUTDOWN", timeout)["data"]["reason"]
            self._process.wait(timeout)
        except (GuestError, subprocess.TimeoutExpired) as error:
            raise GuestError(f"the guest did not end: {error}; the console ends:\n{self.console.tail()}") from error
        finally:
            self.kill()
        return reason

    def _end_by(self, command, expected_reason, timeout):
        # The answer may be cut off by the end itself, so nobody waits for it.
        self._agent.send(command, 60, b"")
        reason = self.wait_end(timeout)
        if reason != expected_reason:
            raise GuestError(f"{command.decode()} ended as {reason}; the console ends:\n{self.console.tail()}")

    def reboot(self, timeout=BOOT_S):
        """An orderly reboot from inside, until commands can be run again."""
        self._end_by(b"systemctl reboot --no-block", "guest-reset", timeout)
        self.start(timeout)

    def power_off(self, timeout=BOOT_S):
        """An orderly shutdown from inside."""
        self._end_by(b"systemctl poweroff --no-block", "guest-shutdown", timeout)

    def kill(self):
        """End QEMU at once. What the guest wrote but did not flush may still be on its disks."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        for sock in self._sockets:
            # Shut down first: the console's thread is asleep in it.
            try:
                sock.shutdown(channel.socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()
        self._sockets = []
        self._process = self._agent = self._monitor = None

    def close(self):
        """Kill, and throw the disks away. The console's log stays."""
        self.kill()
        shutil.rmtree(self.run_dir, ignore_errors=True)
        self._lock.close()
        _open_guests.discard(self)

    def _qemu_log(self):
        return (self.run_dir / "qemu.log").read_text(errors="replace")[-2000:]

    def _check_alive(self):
        if not self.running():
            raise GuestError(f"QEMU ended: {self._qemu_log()}")
        if self.console.panicked():
            raise GuestError(f"the guest's kernel panicked; the console ends:\n{self.console.tail(60)}")

    # Work

    def run(self, command, timeout=120, stdin=b""):
        """Run a bash script, or a list as one command, as root; (status, stdout, stderr), any bytes.

        One command runs at a time. After timeout seconds it is ended inside the guest, with status 124 or 137.
        """
        if not self.running():
            raise GuestError("not running")
        script = command if isinstance(command, str) else shlex.join(map(str, command))
        return self._agent.run(script.encode(errors="surrogateescape"), timeout, stdin)

    def check(self, command, timeout=120, stdin=b""):
        """Like run, but any status other than 0 is an error; standard output as text."""
        result = self.run(command, timeout, stdin)
        if result.status != 0:
            raise GuestError(f"status {result.status} from {command!r}\n{result.stdout.decode(errors='replace')}"
                             f"{result.stderr.decode(errors='replace')}")
        return result.stdout.decode(errors="surrogateescape")

    def put(self, local, remote):
        """Copy a file, or a directory with everything in it, to the path remote."""
        local = pathlib.Path(local)
        if local.is_dir():
            packed = BytesIO()
            with tarfile.open(fileobj=packed, mode="w") as tar:
                tar.add(local, ".")
            self.check(f"mkdir -p {shlex.quote(str(remote))} && tar -x -C {shlex.quote(str(remote))}",
                       stdin=packed.getvalue())
        else:
            mode = oct(local.stat().st_mode & 0o7777)[2:]
            quoted = shlex.quote(str(remote))
            self.check(f"cat >{quoted} && chmod {mode} {quoted}", stdin=local.read_bytes())

    def get(self, remote, local):
        """Copy one file out."""
        result = self.run(["cat", remote])
        if result.status != 0:
            raise GuestError(result.stderr.decode(errors="replace"))
        pathlib.Path(local).write_bytes(result.stdout)

    def monitor(self, command, arguments=None):
        """One QMP command; what it returns."""
        if not self.running():
            raise GuestError("not running")
        return self._monitor.call(command, arguments)

    def dump_memory(self, local):
        """Write the guest's memory as an ELF core; the machine stands still meanwhile."""
        self.monitor("dump-guest-memory", {"paging": False, "protocol": f"file:{os.path.abspath(local)}"})
