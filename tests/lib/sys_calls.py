"""The system calls and ioctls the tests need that Python's os module lacks."""

import contextlib
import ctypes
import fcntl
import os
import select
import struct

_libc = ctypes.CDLL(None, use_errno=True)

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = 0o2000000
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_ATIME_MASK = 0x70
_NR_OPEN_TREE, _NR_MOUNT_SETATTR = 428, 442

CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
LOOP_SET_STATUS64, LOOP_GET_STATUS64 = 0x4C04, 0x4C05
LOOP_INFO64_SIZE, LOOP_INFO64_FLAGS = 232, 52  # the whole struct loop_info64, and where lo_flags is
LO_FLAGS_AUTOCLEAR = 4

FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 16

FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FS_IOC_FSGETXATTR = 0x801C581F
FS_IOC_FSSETXATTR = 0x401C5820
FS_IOC_FIEMAP = 0xC020660B
FS_IOC_MEASURE_VERITY = 0xC0046686
FS_IOC_ENABLE_VERITY = 0x40806685
FS_IOC_GET_ENCRYPTION_POLICY_EX = 0xC0096616
FS_IOC_GET_ENCRYPTION_KEY_STATUS = 0xC080661A
FSCRYPT_KEY_SPEC_TYPE_IDENTIFIER, FSCRYPT_KEY_STATUS_PRESENT = 2, 2
EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH = 0x8004587D, 2

# name: bit of FS_IOC_GETFLAGS; the letters are those of chattr(1).
FLAGS = {
    "s": 0x1, "u": 0x2, "c": 0x4, "S": 0x8, "i": 0x10, "a": 0x20, "d": 0x40, "A": 0x80, "j": 0x4000, "t": 0x8000,
    "D": 0x10000, "T": 0x20000, "C": 0x800000, "x": 0x2000000, "P": 0x20000000, "F": 0x40000000,
}
FLAG_ENCRYPT, FLAG_VERITY = 0x800, 0x100000

FIEMAP_SYNC = 1
EXTENT_LAST, EXTENT_UNKNOWN, EXTENT_DELALLOC, EXTENT_INLINE, EXTENT_UNWRITTEN = 0x1, 0x2, 0x4, 0x200, 0x800


def _check(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def fallocate(fd, mode, offset, length):
    _check(_libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)))


def exchange(old, new):
    """Exchange two names (RENAME_EXCHANGE)."""
    _check(_libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), 2))


def clone_mount(path):
    """An O_RDONLY descriptor of directory `path` on a private, read-only clone of its mount, which updates no atimes
    and shows what mounts below hide. None where the kernel cannot (before 5.12)."""
    tree = _libc.syscall(_NR_OPEN_TREE, AT_FDCWD, os.fsencode(path), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
    if tree < 0:
        return None
    try:
        attributes = struct.pack("<QQQQ", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOATIME, MOUNT_ATTR_ATIME_MASK, 0, 0)
        if _libc.syscall(_NR_MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, attributes, len(attributes)) < 0:
            return None
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=tree)
    finally:
        os.close(tree)


def unshare_mounts():
    _check(_libc.unshare(CLONE_NEWNS))


def new_network():
    """Be in a network of one's own from now on, which has nothing but a loopback that is down."""
    _check(_libc.unshare(CLONE_NEWNET))


def enter_network(fd):
    """Be in the network of a descriptor of /proc/PID/ns/net from now on."""
    _check(_libc.setns(fd, CLONE_NEWNET))


def enter_mounts(fd):
    """See the mounts of a descriptor of /proc/PID/ns/mnt from now on."""
    _check(_libc.setns(fd, CLONE_NEWNS))


def set_autoclear(loop_fd):
    """The loop device is gone with its last user, and this descriptor is one."""
    status = bytearray(fcntl.ioctl(loop_fd, LOOP_GET_STATUS64, bytes(LOOP_INFO64_SIZE)))
    flags = struct.unpack_from("<I", status, LOOP_INFO64_FLAGS)[0]
    struct.pack_into("<I", status, LOOP_INFO64_FLAGS, flags | LO_FLAGS_AUTOCLEAR)
    fcntl.ioctl(loop_fd, LOOP_SET_STATUS64, bytes(status))


def get_flags(fd):
    return struct.unpack("<I", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8))[:4])[0]


def set_flags(fd, flags):
    fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("<Q", flags))


def add_flags(path, letters):
    """chattr +letters path"""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        set_flags(fd, get_flags(fd) | sum(FLAGS[letter] for letter in letters))
    finally:
        os.close(fd)


def clear_flags(fd, letters):
    set_flags(fd, get_flags(fd) & ~sum(FLAGS[letter] for letter in letters))


def get_project(fd):
    return struct.unpack("<5I8x", fcntl.ioctl(fd, FS_IOC_FSGETXATTR, bytes(28)))[3]


def set_project(fd, project):
    fields = list(struct.unpack("<5I8x", fcntl.ioctl(fd, FS_IOC_FSGETXATTR, bytes(28))))
    fields[3] = project
    fcntl.ioctl(fd, FS_IOC_FSSETXATTR, struct.pack("<5I8x", *fields))


def extents(fd):
    """Yields (offset, length, flags) in bytes, as FIEMAP gives them, after writing the file out."""
    count = 256
    position = 0
    while True:
        request = bytearray(struct.pack("<QQIIII", position, (1 << 64) - 1 - position, FIEMAP_SYNC, 0, count, 0))
        request += bytes(56 * count)
        fcntl.ioctl(fd, FS_IOC_FIEMAP, request)
        mapped = struct.unpack_from("<I", request, 20)[0]
        for number in range(mapped):
            at = 32 + 56 * number
            offset, _physical, length = struct.unpack_from("<QQQ", request, at)
            flags = struct.unpack_from("<I", request, at + 40)[0]
            yield offset, length, flags
            position = offset + length
        if mapped == 0 or flags & EXTENT_LAST:
            return


def measure_verity(fd):
    """'sha256:HEX' of a file under fs-verity, or None."""
    try:
        answer = fcntl.ioctl(fd, FS_IOC_MEASURE_VERITY, struct.pack("<HH", 0, 64) + bytes(64))
    except OSError:
        return None
    algorithm, size = struct.unpack_from("<HH", answer)
    return {1: "sha256", 2: "sha512"}.get(algorithm, str(algorithm)) + ":" + answer[4:4 + size].hex()


def enable_verity(path, block_size=4096):
    fd = os.open(path, os.O_RDONLY)
    try:
        # struct fsverity_enable_arg: version, hash algorithm (1 is sha256), block size; no salt, no signature.
        fcntl.ioctl(fd, FS_IOC_ENABLE_VERITY, struct.pack("<III", 1, 1, block_size) + bytes(116))
    finally:
        os.close(fd)


def is_encrypted(path):
    """Whether the directory has an fscrypt policy of its own (or inherited); needs no key."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, FS_IOC_GET_ENCRYPTION_POLICY_EX, struct.pack("<Q", 24) + bytes(24))
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


IN_CLOSE_NOWRITE = 0x10


def has_key(fd, identifier):
    """Whether the kernel has the key of this identifier for the filesystem of fd."""
    asked = struct.pack("<II16s", FSCRYPT_KEY_SPEC_TYPE_IDENTIFIER, 0, identifier) + bytes(104)
    return struct.unpack_from("<I", fcntl.ioctl(fd, FS_IOC_GET_ENCRYPTION_KEY_STATUS, asked), 64)[0] == FSCRYPT_KEY_STATUS_PRESENT


def shut_down_ext4(fd):
    """From now on nothing is written or read any more, as when a disk goes."""
    fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("<I", EXT4_GOING_FLAGS_NOLOGFLUSH))


@contextlib.contextmanager
def watch_closing(path):
    """A function that waits until somebody who only read the file has closed it, once for each call; False when
    that takes longer than `timeout_s`."""
    watch = _check(_libc.inotify_init1(os.O_CLOEXEC))
    try:
        _check(_libc.inotify_add_watch(watch, os.fsencode(path), IN_CLOSE_NOWRITE))

        def closed(timeout_s=60):
            return bool(select.select([watch], [], [], timeout_s)[0]) and bool(os.read(watch, struct.calcsize("iIII")))
        yield closed
    finally:
        os.close(watch)
