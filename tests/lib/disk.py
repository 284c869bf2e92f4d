"""Real filesystems for tests: an image file, a loop device on it, mounted at a private directory, always undone.

    with disk.ext4() as d:              # or disk.ext4("1k"), disk.ext4(size_mib=1024)
        open(f"{d.path}/file", "w")
        d.find([b"needle"])             # searches the raw image
        d.remount()

In unittest: d = self.enterContext(disk.ext4()). VARIANTS names the kinds of ext4. xfs(), tmpfs() and overlay() are
there to be refused. Needs root.

A process that imports this has a mount namespace of its own from then on: tests that run at the same time do not keep
each other's filesystems alive, and what a killed one had mounted goes with it.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import subprocess
import tempfile
import time

import sys_calls
from undo import Undo

BLKFLSBUF = 0x1261

# name: (mkfs.ext4 arguments, mount options)
VARIANTS = {
    "default": (["-O", "encrypt"], ""),
    "plain": (["-O", "^encrypt"], ""),
    "1k": (["-O", "encrypt", "-b", "1024"], ""),
    "inline": (["-O", "encrypt,inline_data"], ""),
    "nojournal": (["-O", "encrypt,^has_journal"], ""),
    "datajournal": (["-O", "encrypt"], "data=journal"),
    "noextents": (["-O", "encrypt,^extents,^64bit"], ""),
    "bigalloc": (["-O", "encrypt,bigalloc", "-C", "16384", "-i", "16384"], ""),
    "strictatime": (["-O", "encrypt"], "strictatime"),
    "lazytime": (["-O", "encrypt"], "lazytime"),
    # The next need a kernel with quota, fs-verity or unicode; mounting raises Unsupported where it has none.
    "project": (["-O", "encrypt,project,quota", "-E", "quotatype=prjquota"], "prjquota"),
    "quota": (["-O", "encrypt,quota", "-E", "quotatype=usrquota:grpquota"], "usrquota,grpquota"),
    "verity": (["-O", "encrypt,verity"], ""),
    "casefold": (["-O", "encrypt,casefold", "-E", "encoding=utf8"], ""),
}


class Unsupported(Exception):
    """This kernel cannot mount such a filesystem."""


def run(*argv, accept=(0,), **options):
    """Run a command that must end with one of the statuses `accept`; returns what it wrote as text."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **options)
    text = done.stdout.decode(errors="replace")
    if done.returncode not in accept:
        raise RuntimeError(f"{' '.join(map(os.fsdecode, argv))}: exit {done.returncode}: {text.strip()}")
    return text


def _isolate():
    """A mount namespace of our own, without the filesystems on loop devices that others have mounted just now."""
    sys_calls.unshare_mounts()
    run("mount", "--make-rprivate", "/")
    with open("/proc/self/mounts") as mounts:
        fields = [line.split() for line in mounts]
    for device, path in reversed([(line[0], line[1]) for line in fields]):
        if device.startswith("/dev/loop"):
            path = path.encode().decode("unicode_escape").encode("latin-1")
            subprocess.run(["umount", "-l", path], stderr=subprocess.DEVNULL)


def scratch_parent():
    """Memory if there is plenty, else the temporary directory. HUSK_TEST_SCRATCH decides otherwise."""
    chosen = os.environ.get("HUSK_TEST_SCRATCH")
    if chosen:
        return chosen
    with contextlib.suppress(OSError):
        room = os.statvfs("/dev/shm")
        if room.f_bavail * room.f_frsize >= 4 << 30:
            return "/dev/shm"
    return tempfile.gettempdir()


def scratch(undo, prefix="husk-test-"):
    """A scratch directory that goes with `undo`."""
    path = tempfile.mkdtemp(prefix=prefix, dir=scratch_parent())
    undo.push(shutil.rmtree, path)
    return path


def sync(path):
    """Write the filesystem at `path` out to its device."""
    run("sync", "-f", path)


def unmount(path):
    """Unmount; what was mounted over or below it goes first, and a busy mount goes lazily, which is an error."""
    if not os.path.ismount(path):
        return
    for _ in range(20):
        done = subprocess.run(["umount", "-R", path], stderr=subprocess.PIPE)
        if done.returncode == 0:
            return
        time.sleep(0.1)
    subprocess.run(["umount", "-R", "-l", path], stderr=subprocess.DEVNULL)
    raise RuntimeError(f"{path} stayed busy and was detached: {done.stderr.decode(errors='replace').strip()}")


def wait_unused(device, timeout_s=60):
    """A mount namespace somebody made while we were mounted keeps the filesystem alive until it ends."""
    limit = time.monotonic() + timeout_s
    while True:
        try:
            os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
            return
        except OSError as busy:
            if busy.errno != errno.EBUSY or time.monotonic() > limit:
                raise RuntimeError(f"{device} is unmounted here and in use elsewhere: {busy}") from None
        time.sleep(0.02)


def attach(undo, image, offset=0):
    """A loop device on `image`, from an offset on, that goes with `undo`, and with this process, however it ends."""
    device = run("losetup", "--find", "--show", "--offset", str(offset), image).strip()
    held = os.open(device, os.O_RDONLY)
    sys_calls.set_autoclear(held)
    undo.push(os.close, held)
    return device


class Disk:
    """A mounted filesystem: `path` is where, `device` the loop device, `image` the file behind it (or None)."""

    def __init__(self, undo, kind, options, device=None, image=None, directory=None):
        self.undo = undo
        self.kind = kind
        self.options = options
        self.device = device
        self.image = image
        self.directory = directory or scratch(undo)
        self.path = os.path.join(self.directory, "mnt")
        os.mkdir(self.path)
        undo.push(self.unmount)

    def mount(self, options=None):
        chosen = self.options if options is None else options
        argv = ["mount", "-t", self.kind] + (["-o", chosen] if chosen else [])
        done = subprocess.run(argv + [self.device or self.kind, self.path], stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise Unsupported(f"{self.kind} {chosen}: {done.stderr.decode(errors='replace').splitlines()[0]}")

    def unmount(self):
        """The filesystem is gone from the kernel, with its keys; not only from our sight."""
        unmount(self.path)
        if self.device:
            wait_unused(self.device)

    def remount(self, options=None):
        """Unmount and mount again: cached pages and fscrypt keys are gone afterwards."""
        self.unmount()
        self.mount(options)

    def sync(self):
        """Everything is in the image and the loop device's cache is dropped."""
        if os.path.ismount(self.path):
            sync(self.path)
        self.drop_cache()
        with open(self.image, "rb+") as image:
            os.fsync(image.fileno())

    def drop_cache(self):
        """Write out and forget what the kernel holds of the loop device: the image counts from here on."""
        with open(self.device, "rb") as device:
            os.fsync(device.fileno())
            fcntl.ioctl(device, BLKFLSBUF, 0)

    def find(self, needles):
        """Search the raw image. Returns {needle: [byte offsets]} for the needles that are there."""
        self.sync()
        return find_in_file(self.image, needles)

    def fill_up(self):
        """Not one block is left to anybody, and no room in the directory at the top."""
        with open(f"{self.path}/filler", "wb", buffering=0) as filler:
            for size in (1 << 20, 4096, 512):
                with contextlib.suppress(OSError):
                    while filler.write(b"f" * size):
                        pass
        sync(self.path)
        with contextlib.suppress(OSError):
            for number in range(5000):
                with open(f"{self.path}/filler{number}", "w") as filler:
                    filler.write("f" * 100)

    def make_room(self):
        """Undo fill_up."""
        for name in os.listdir(self.path):
            if name.startswith("filler"):
                os.unlink(os.path.join(self.path, name))

    def fsck(self):
        """Unmount, and complain unless e2fsck finds nothing to mend."""
        self.unmount()
        self.sync()
        run("e2fsck", "-fn", self.image)


def find_in_file(path, needles):
    """{needle: [byte offsets]} of the needles that stand in the file's data; holes are skipped."""
    needles = [bytes(needle) for needle in needles]
    overlap = max(map(len, needles)) - 1
    found = {}
    with open(path, "rb") as image:
        size = os.fstat(image.fileno()).st_size
        for start, end in _data_ranges(image.fileno(), size):
            _find_in_range(image.fileno(), start, end, needles, overlap, found)
    return {needle: sorted(offsets) for needle, offsets in found.items()}


def _data_ranges(fd, size):
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError:
            return
        position = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, position


def _find_in_range(fd, start, end, needles, overlap, found):
    step = 8 << 20
    for base in range(start, end, step):
        # bytes.find is several times faster than mmap.find.
        chunk = os.pread(fd, min(step + overlap, end - base), base)
        for needle in needles:
            at = chunk.find(needle)
            while at != -1 and at < step:
                found.setdefault(needle, set()).add(base + at)
                at = chunk.find(needle, at + 1)


@contextlib.contextmanager
def ext4(variant="default", size_mib=128, mkfs=(), options=None, inodes=None, whole=False):
    """A mounted ext4 of the named variant. `mkfs` is added to the arguments of mkfs.ext4.

    The image is sparse unless `whole`: then writing to the disk takes no new memory, as with a real one.
    """
    arguments, variant_options = VARIANTS[variant]
    with Undo() as undo:
        directory = scratch(undo)
        image = os.path.join(directory, "image")
        if whole:
            with open(image, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, size_mib << 20)
        make_ext4(image, size_mib, arguments + list(mkfs), inodes)
        device = attach(undo, image)
        made = Disk(undo, "ext4", variant_options if options is None else options, device, image, directory)
        made.mount()
        yield made


@contextlib.contextmanager
def copy(of):
    """A copy of a mounted ext4 as it is now, mounted beside it: what a snapshot of the disk would be."""
    with Undo() as undo:
        directory = scratch(undo)
        image = os.path.join(directory, "image")
        of.sync()
        shutil.copyfile(of.image, image)
        made = Disk(undo, "ext4", of.options, attach(undo, image), image, directory)
        made.mount()
        yield made


def make_ext4(image, size_mib, arguments=("-O", "encrypt"), inodes=None):
    """Make an ext4 in the file or device `image`; 4 KiB blocks and 256-byte inodes unless told otherwise."""
    if not os.path.exists(image):
        with open(image, "wb") as file:
            file.truncate(size_mib << 20)
    block_size = [] if "-b" in arguments else ["-b", "4096"]
    count = ["-N", str(inodes)] if inodes else [] if "-i" in arguments else ["-i", "4096"]
    tuning = ["-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"]
    if "-E" in arguments:
        at = list(arguments).index("-E")
        tuning[-1] += "," + arguments[at + 1]
        arguments = list(arguments[:at]) + list(arguments[at + 2:])
    run("mkfs.ext4", "-q", "-F", "-I", "256", *block_size, *count, *tuning, *arguments, image)


@contextlib.contextmanager
def xfs(size_mib=320):
    with Undo() as undo:
        directory = scratch(undo)
        image = os.path.join(directory, "image")
        with open(image, "wb") as file:
            file.truncate(size_mib << 20)
        run("mkfs.xfs", "-q", image)
        made = Disk(undo, "xfs", "", attach(undo, image), image, directory)
        made.mount()
        yield made


@contextlib.contextmanager
def tmpfs(size_mib=64):
    with Undo() as undo:
        made = Disk(undo, "tmpfs", f"size={size_mib}m")
        made.mount()
        yield made


@contextlib.contextmanager
def overlay(lower, upper_disk):
    """An overlay of the directory `lower` with its upper and work directories on `upper_disk`."""
    upper, work = (os.path.join(upper_disk.path, name) for name in ("upper", "work"))
    for made in (upper, work):
        os.makedirs(made, exist_ok=True)
    with Undo() as undo:
        made = Disk(undo, "overlay", f"lowerdir={lower},upperdir={upper},workdir={work}")
        made.mount()
        yield made


def break_filesystem(made):
    """As after an error on the disk: with the option errors=remount-ro the kernel makes it read-only."""
    with open(f"/sys/fs/ext4/{os.path.basename(made.device)}/trigger_fs_error", "w") as trigger:
        trigger.write("a test's\n")


def supported(variant):
    """None if this kernel mounts the variant, else why not."""
    try:
        with ext4(variant, size_mib=64):
            return None
    except Unsupported as reason:
        return str(reason)


if os.geteuid() == 0:
    _isolate()
