"""Builds the torture tree: everything ext4 can hold that a conversion must carry over.

    made = torture.build(directory)                       # full: 50,000 names in one directory, deep paths
    made = torture.build(directory, size="small")         # the same kinds, a few hundred entries, about 3 MB
    made.skipped                                          # {part or item: why the kernel or filesystem refused}

Each part has a directory of its own below `directory`, which is made when missing. `only` names the parts to build
(see PARTS). Contents, names and symlink targets carry the canaries given, or made.canaries. What is immutable can be
removed only after torture.unseal(directory).
As a program: python3 torture.py DIR [--size small] [--many N].
"""

import argparse
import errno
import os
import random
import socket
import stat
import struct
import sys

import sys_calls as sysc
from canary import Canaries

NSEC = 1_000_000_000
REFUSED = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EPERM, errno.EINVAL, errno.EFBIG)


class Torture:
    def __init__(self, directory, size, many, canaries, seed):
        self.root = os.fsencode(directory)
        self.small = size == "small"
        self.many = many if many is not None else (300 if self.small else 50_000)
        self.canaries = canaries or Canaries()
        self.random = random.Random(seed)
        self.block = os.statvfs(self.root).f_bsize
        self.skipped = {}
        self.seals = []

    def at(self, *parts):
        return os.path.join(self.root, *(os.fsencode(part) for part in parts))

    def dir(self, *parts):
        path = self.at(*parts)
        os.makedirs(path, exist_ok=True)
        return path

    def file(self, path, content=b"x"):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view):]
        finally:
            os.close(fd)
        return path

    def attempt(self, what, function, *args):
        """Do it, or note why it is not to be had on this kernel or filesystem."""
        try:
            function(*args)
            return True
        except OSError as refused:
            if refused.errno not in REFUSED:
                raise
            self.skipped[what] = os.strerror(refused.errno)
            return False

    def noise(self, size):
        return self.random.randbytes(size)


# --- names and shapes ----------------------------------------------------------------------------------------------

def odd_names():
    names = [b"new\nline", b"\n", b"tab\t", b" lead", b"trail ", b" ", b"-rf", b"--", b"*", b"?", b"back\\slash",
             b"...", b".hidden", b"quote'\"", b"$(id)", b"\x01\x1b[31m", b"\x7f", b"\xff\xfe", b"\xc3\x28",
             b"\xed\xa0\x80", "e\u0301".encode(), "\u00e9".encode(), "\u540d".encode() * 85, b"lost+found", b"a", b"\x80" * 255]
    # Around the padding of encrypted names (16 and 32 bytes) and the longest there are.
    lengths = [2, 15, 16, 17, 31, 32, 33, 47, 48, 49, 149, 150, 223, 224, 239, 240, 253, 254, 255]
    return names + [b"n" * length for length in lengths]


def names(t):
    files, directories, symlinks_ = (t.dir("names", kind) for kind in ("files", "directories", "links"))
    for name in odd_names() + [t.canaries.name(suffix) for suffix in ("-a", "-b", "-" + "c" * 200)]:
        t.file(os.path.join(files, name), t.canaries.content(100))
        os.mkdir(os.path.join(directories, name))
        t.file(os.path.join(directories, name, name))
        os.symlink(name, os.path.join(symlinks_, name))


def deep(t):
    """Paths beyond PATH_MAX, made relative: long names, and more levels than a process usually has descriptors."""
    wide, levels = (20, 60) if t.small else (40, 1500)
    for name, depth, component in (("long", wide, b"d" * 250), ("many", levels, b"d")):
        fd = os.open(t.dir("deep", name), os.O_RDONLY)
        for level in range(depth):
            os.mkdir(component, dir_fd=fd)
            lower = os.open(component, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = lower
        bottom = os.open(b"f" * 250, os.O_WRONLY | os.O_CREAT, 0o640, dir_fd=fd)
        os.write(bottom, t.canaries.content(5000))
        os.setxattr(bottom, "user.deep", b"yes")
        os.close(bottom)
        os.symlink(b"../" * 20 + b"up", b"link", dir_fd=fd)
        os.mkfifo(b"fifo", dir_fd=fd)
        os.link(b"f" * 250, b"second", src_dir_fd=fd, dst_dir_fd=fd)
        os.close(fd)


def links(t):
    """Hard links across directories: to a file, an empty file, a symlink, a fifo, a socket and devices."""
    for place in ("a", "b", "b/deeper"):
        t.dir("links", place)
    a = t.at("links", "a")
    t.file(os.path.join(a, b"file"), t.canaries.content(6000))
    t.file(os.path.join(a, b"empty"), b"")
    os.symlink(t.canaries.short_target(), os.path.join(a, b"short"))
    os.symlink(t.canaries.long_target(), os.path.join(a, b"long"))
    special(t, a)
    for name in sorted(os.listdir(a)):
        for place in ("b", "b/deeper"):
            os.link(os.path.join(a, name), t.at("links", place, b"other-" + name), follow_symlinks=False)
    group = t.file(t.at("links", "group"), b"many names")
    for number in range(40 if t.small else 2000):
        os.link(group, t.at("links", "b", f"group-{number}"))


def special(t, directory):
    os.mkfifo(os.path.join(directory, b"fifo"), 0o620)
    os.mknod(os.path.join(directory, b"socket"), 0o755 | stat.S_IFSOCK)
    for name, mode, major, minor in ((b"null", stat.S_IFCHR, 1, 3), (b"block", stat.S_IFBLK, 7, 200),
                                     (b"big", stat.S_IFCHR, 4095, 0xFFFFF), (b"bigblock", stat.S_IFBLK, 259, 0x12345),
                                     (b"whiteout", stat.S_IFCHR, 0, 0)):
        path = os.path.join(directory, name)
        t.attempt(f"device {name.decode()}", os.mknod, path, 0o640 | mode, os.makedev(major, minor))


def specials(t):
    where = t.dir("specials")
    special(t, where)
    # A socket that was bound, as services leave them.
    bound = socket.socket(socket.AF_UNIX)
    here = os.open(where, os.O_RDONLY)
    bound.bind(f"/proc/self/fd/{here}/bound")
    bound.close()
    os.close(here)
    for name in os.listdir(where):
        os.chown(os.path.join(where, name), 101, 4294967294)
        os.utime(os.path.join(where, name), ns=(1_234_567_890, -987_654_321))
    os.chmod(os.path.join(where, b"fifo"), 0o4751)


def symlinks(t):
    where = t.dir("symlinks")
    longest = min(4093, t.block - 3)  # what an encrypted directory can hold
    for length in (1, 2, 15, 16, 17, 58, 59, 60, 61, 255, 1000, longest - 1, longest):
        os.symlink(b"t" * length, os.path.join(where, b"length-%04d" % length))
    targets = {"dangling": b"no/such/place", "self": b"self", "absolute": b"/etc/hostname", "up": b"../" * 30,
               "newline": b"a\nb", "invalid": b"\xff\xfe\x80", "directory": b".", "slashes": b"//names///files//"}
    for name, target in targets.items():
        os.symlink(target, t.at("symlinks", name))
    os.symlink(t.canaries.short_target(), t.at("symlinks", "canary-short"))
    os.symlink(t.canaries.long_target(), t.at("symlinks", "canary-long"))
    os.lchown(t.at("symlinks", "self"), 1000, 1001)
    os.utime(t.at("symlinks", "dangling"), ns=(-1, -NSEC - 1), follow_symlinks=False)


def many(t):
    where = t.dir("many")
    directory = os.open(where, os.O_RDONLY)
    for number in range(t.many):
        fd = os.open(f"{number:x}-{'n' * (number % 90)}", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=directory)
        if number % 4 == 0:
            os.write(fd, b"%d\n" % number)
        os.close(fd)
    os.close(directory)


def empties(t):
    t.dir("empty", "directory", "in", "directory")
    t.file(t.at("empty", "file"), b"")
    grown = t.dir("empty", "once-full")
    for number in range(200):
        t.file(os.path.join(grown, b"%0200d" % number), b"")
    for name in os.listdir(grown):
        os.unlink(os.path.join(grown, name))


# --- contents ------------------------------------------------------------------------------------------------------

def sizes(t):
    where = t.dir("sizes")
    near = {0, 1, 59, 60, 61, 100, 156, 160, 4095, 4096, 4097, 65535, 65536, 65537, 262143, 1048577}
    near |= {t.block * k + d for k in (1, 2) for d in (-1, 0, 1)}
    for size in sorted(near):
        t.file(os.path.join(where, b"canary-%08d" % size), t.canaries.content(size))
        if size < 100_000 or not t.small:
            t.file(os.path.join(where, b"noise-%08d" % size), t.noise(size))
    if not t.small:
        t.file(os.path.join(where, b"large"), t.noise(24 << 20))


def holes(t):
    """Sparse files. Each: size, then the blocks that hold data."""
    where, block = t.dir("holes"), t.block
    shapes = {"only": (1 << 20, []), "tail": (1 << 20, [0]), "head": (10 * block, [9]),
              "middle": (30 * block, [0, 29]), "comb": (64 * block, range(0, 64, 2)),
              "odd-size": (20 * block + 7, [3, 20]), "huge": (1 << 40, [0, 1 << 20]), "huge-empty": ((1 << 42) - 1, [])}
    for name, (size, blocks) in shapes.items():
        with open(os.path.join(where, name.encode()), "xb") as file:
            if not t.attempt(f"hole {name}", os.ftruncate, file.fileno(), size):
                continue
            for number in blocks:
                os.pwrite(file.fileno(), t.canaries.content(block)[:size - number * block], number * block)
    # Zeros that were written are data, not holes.
    t.file(os.path.join(where, b"zeros"), bytes(8 * block))
    t.file(os.path.join(where, b"zeros-inside"), t.noise(block) + bytes(8 * block) + t.noise(block))
    # As many blocks as its size asks for, but one of them holds an attribute and there is a hole.
    with open(os.path.join(where, b"made-up-for"), "xb") as file:
        os.write(file.fileno(), t.noise(block))
        os.ftruncate(file.fileno(), 2 * block)
        t.attempt("large xattr", os.setxattr, file.fileno(), "user.large", t.noise(block - 300))
    with open(os.path.join(where, b"punched"), "xb") as file:
        os.write(file.fileno(), t.noise(16 * block))
        os.fsync(file.fileno())
        t.attempt("punched holes", sysc.fallocate, file.fileno(), sysc.FALLOC_PUNCH_HOLE | sysc.FALLOC_KEEP_SIZE,
                  4 * block + 5, 5 * block)


def unwritten(t):
    """Preallocated extents, inside the size and beyond it. Each: size, fallocate calls, blocks written afterwards."""
    where, block, keep = t.dir("unwritten"), t.block, sysc.FALLOC_KEEP_SIZE
    shapes = {
        "whole": (0, [(0, 0, 64 * block)], []),
        "odd": (0, [(0, 0, 40 * block + 11)], []),
        "written-middle": (0, [(0, 0, 64 * block)], [20, 21, 22]),
        "written-ends": (0, [(0, 0, 64 * block)], [0, 63]),
        "inside-hole": (100 * block, [(keep, 40 * block, 20 * block)], [0, 99]),
        "beyond": (10 * block, [(keep, 0, 40 * block)], range(10)),
        "beyond-odd": (block + 1, [(keep, 2 * block, 9 * block)], [0]),
        "beyond-empty": (0, [(keep, 0, 16 * block)], []),
        "beyond-gap": (3 * block, [(keep, 50 * block, 8 * block)], [0]),
        "large": (0, [(0, 0, 1 << 20)], [100]),
    }
    for name, (size, calls, blocks) in shapes.items():
        with open(os.path.join(where, name.encode()), "xb") as file:
            fd = file.fileno()
            os.ftruncate(fd, size)
            if not all(t.attempt("unwritten extents", sysc.fallocate, fd, *call) for call in calls):
                continue
            for number in blocks:
                os.pwrite(fd, t.noise(block)[:max(0, os.fstat(fd).st_size - number * block)], number * block)
            os.fsync(fd)
    with open(os.path.join(where, b"zero-range"), "xb") as file:
        os.write(file.fileno(), t.noise(20 * block))
        os.fsync(file.fileno())
        t.attempt("zero range", sysc.fallocate, file.fileno(), sysc.FALLOC_ZERO_RANGE, 5 * block, 10 * block)


# --- attributes ----------------------------------------------------------------------------------------------------

def capability(permitted):
    return struct.pack("<5I", 0x02000001, permitted, 0, 0, 0)


def set_xattr(path, name, value):
    os.setxattr(path, name, value, follow_symlinks=False)


def set_all(t, what, path, namespaces):
    for namespace in namespaces:
        for name, value in ((f"{namespace}.one", b"value"), (f"{namespace}.empty", b""),
                            (f"{namespace}.\u00fc odd", bytes(range(256)))):
            t.attempt(f"xattr {namespace} on {what}", set_xattr, path, name, value)


def xattrs(t):
    where = t.dir("xattrs")
    for kind in ("file", "directory"):
        path = os.path.join(where, kind.encode())
        t.file(path) if kind == "file" else os.mkdir(path)
        set_all(t, kind, path, ("user", "trusted", "security"))
    os.symlink(b"target", os.path.join(where, b"symlink"))
    special(t, where)
    for name in os.listdir(where):
        if name not in (b"file", b"directory"):
            set_all(t, "specials and symlinks", os.path.join(where, name), ("trusted", "security"))
    t.attempt("capability", os.setxattr, t.file(os.path.join(where, b"capable")), "security.capability",
              capability(1 << 13))
    both = t.file(os.path.join(where, b"capable-setuid"))
    os.chown(both, 7, 8)
    t.attempt("capability", os.setxattr, both, "security.capability", capability(0x3FF))
    os.chmod(both, 0o6755)
    # Values that need a block of their own, and many small ones that share one.
    t.attempt("large xattr", os.setxattr, t.file(os.path.join(where, b"large")), "user.large", t.noise(t.block - 300))
    small = t.file(os.path.join(where, b"many"))
    for number in range(20):
        t.attempt("many xattrs", os.setxattr, small, f"user.number-{number}", b"%d" % number)


def acl(*entries):
    """A posix_acl xattr of (tag, permissions, id) entries."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NO_ID = 0xFFFFFFFF
ACL_ACCESS = acl((1, 6, NO_ID), (2, 4, 1000), (2, 7, 4294967294), (4, 4, NO_ID), (8, 5, 2000), (16, 5, NO_ID),
                 (32, 0, NO_ID))
ACL_DEFAULT = acl((1, 7, NO_ID), (2, 7, 33), (4, 5, NO_ID), (16, 7, NO_ID), (32, 5, NO_ID))


def acls(t):
    where = t.dir("acls")
    t.attempt("ACL", os.setxattr, t.file(os.path.join(where, b"file")), "system.posix_acl_access", ACL_ACCESS)
    os.mkfifo(os.path.join(where, b"fifo"))
    t.attempt("ACL on fifo", os.setxattr, os.path.join(where, b"fifo"), "system.posix_acl_access", ACL_ACCESS)
    inside = t.dir("acls", "default")
    t.attempt("ACL", os.setxattr, inside, "system.posix_acl_default", ACL_DEFAULT)
    # These inherit; the last one lost what it inherited, and must not get it again.
    t.file(os.path.join(inside, b"inherited"))
    os.makedirs(os.path.join(inside, b"directory", b"below"))
    bare = t.file(os.path.join(inside, b"bare"))
    if "ACL" not in t.skipped:
        os.removexattr(bare, "system.posix_acl_access")


def modes(t):
    where = t.dir("modes")
    for mode in (0o000, 0o001, 0o200, 0o400, 0o444, 0o666, 0o755, 0o777, 0o1644, 0o2755, 0o4755, 0o6711, 0o7777):
        for kind in ("file", "directory"):
            path = os.path.join(where, f"{kind}-{mode:04o}".encode())
            if kind == "file":
                t.file(path)
            else:
                os.mkdir(path)
                t.file(os.path.join(path, b"inside"))
            os.chown(path, 12345, 54321)
            os.chmod(path, mode)
    for owner in (0, 1, 65534, 65535, 65536, 1 << 31, 4294967294):
        os.chown(t.file(os.path.join(where, b"owner-%d" % owner)), owner, 4294967294 - owner)
    # What is made in here gets the directory's group.
    inherit = t.dir("modes", "setgid")
    os.chown(inherit, 0, 4242)
    os.chmod(inherit, 0o2775)
    t.file(os.path.join(inherit, b"inherits"))
    os.chown(t.file(os.path.join(inherit, b"does-not")), 0, 0)
    os.mkdir(os.path.join(inherit, b"sub"))


def times(t):
    where = t.dir("times")
    moments = {"epoch": 0, "ns": 1, "before": -1, "before-ns": -NSEC - 999_999_999, "1901": -(1 << 31) * NSEC,
               "1938": -1_000_000_000 * NSEC + 123_456_789, "2038": (1 << 31) * NSEC + 5,
               "2100": 4_102_444_800 * NSEC + 999_999_999,
               "2400": 13_569_465_600 * NSEC + 7, "last-ns": 1_700_000_000 * NSEC + 999_999_999}
    for name, moment in moments.items():
        file = t.file(os.path.join(where, f"file-{name}".encode()))
        directory = t.dir("times", f"directory-{name}")
        t.file(os.path.join(directory, b"inside"))
        link, fifo = (os.path.join(where, f"{kind}-{name}".encode()) for kind in ("link", "fifo"))
        os.symlink(b"x" * 80, link)
        os.mkfifo(fifo)
        for path in (file, directory, link, fifo):
            os.utime(path, ns=(moment, moment + 1), follow_symlinks=False)


def flags(t):
    where = t.dir("flags")
    for letter in "dASjtTDsuc":
        path = os.path.join(where, b"flag-" + letter.encode())
        if letter in "TD":
            os.mkdir(path)
            t.attempt(f"flag {letter}", sysc.add_flags, path, letter)
        else:
            t.file(path)
            t.attempt(f"flag {letter}", sysc.add_flags, path, letter)
    inherits = t.dir("flags", "inherits")
    t.attempt("flag A", sysc.add_flags, inherits, "Ad")
    t.file(os.path.join(inherits, b"file"))
    os.mkdir(os.path.join(inherits, b"directory"))
    for letter, word in (("i", "immutable"), ("a", "append"), ("ia", "both")):
        file = t.file(t.at("flags", f"{word}-file"), t.canaries.content(3000))
        os.chown(file, 5, 6)
        os.chmod(file, 0o4711)
        os.link(file, t.at("flags", f"{word}-second-name"))
        t.attempt("xattr on sealed", os.setxattr, file, "user.sealed", b"yes")
        directory = t.dir("flags", f"{word}-directory", "sub")
        inside = t.file(os.path.join(directory, b"inside"), b"content\n")
        t.seals += [(file, letter), (inside, letter), (directory, letter), (os.path.dirname(directory), letter)]
        for path in (file, inside, directory, os.path.dirname(directory)):
            os.utime(path, ns=(-5, 1_600_000_000 * NSEC + 77))


def projects(t):
    """Project ids, and the flag that hands them down; needs a kernel with quota and the feature project."""
    where = t.dir("projects")
    file, directory = t.file(os.path.join(where, b"file")), t.dir("projects", "directory")
    for path, project in ((file, 42), (directory, 4294967294)):
        fd = os.open(path, os.O_RDONLY)
        t.attempt("project ids", sysc.set_project, fd, project)
        os.close(fd)
    t.attempt("project inheritance", sysc.add_flags, directory, "P")
    t.file(os.path.join(directory, b"inherits"))


def verity(t):
    where = t.dir("verity")
    for size in (0, 1, 4096, 300_000):
        path = t.file(os.path.join(where, b"verity-%d" % size), t.noise(size))
        os.chmod(path, 0o555)
        if not t.attempt("fs-verity", sysc.enable_verity, path):
            return


def casefold(t):
    where = t.dir("casefold")
    if t.attempt("casefold", sysc.add_flags, where, "F"):
        t.file(os.path.join(where, b"MixedCase"))
        os.mkdir(os.path.join(where, b"Sub"))
        t.file(os.path.join(where, b"Sub", "\u00c4rger".encode()))


def whole(t):
    """The top directory's own attributes."""
    t.attempt("xattr on top", os.setxattr, t.root, "user.top", b"yes")
    t.attempt("xattr on top", os.setxattr, t.root, "trusted.top", b"yes")
    t.attempt("ACL", os.setxattr, t.root, "system.posix_acl_default", ACL_DEFAULT)
    os.chown(t.root, 33, 44)
    os.chmod(t.root, 0o2751)
    os.utime(t.root, ns=(-3, 1_500_000_000 * NSEC + 3))


def dax(t):
    """A flag that an encrypted file cannot have."""
    t.attempt("flag x", sysc.add_flags, t.file(t.at("dax")), "x")


def long_symlink(t):
    """A symlink longer than an encrypted directory can hold."""
    os.symlink(b"t" * min(4095, t.block - 1), t.at("long-symlink"))


PARTS = {part.__name__: part for part in (
    names, deep, links, specials, symlinks, many, empties, sizes, holes, unwritten, xattrs, acls, modes, times, flags,
    projects, verity, casefold, whole)}
# Built only when named in `only`: what a conversion has to refuse.
REFUSED_PARTS = {part.__name__: part for part in (dax, long_symlink)}


def build(directory, size="full", many=None, canaries=None, only=None, seed=1):
    os.makedirs(directory, exist_ok=True)
    old_mask = os.umask(0o022)
    try:
        made = Torture(directory, size, many, canaries, seed)
        for name in only if only is not None else PARTS:
            (PARTS | REFUSED_PARTS)[name](made)
        for path, letters in made.seals:
            made.attempt(f"flag {letters}", sysc.add_flags, path, letters)
        return made
    finally:
        os.umask(old_mask)


def unseal(directory):
    """Clear the immutable and append-only flags that build() set below `directory`, so that it can be removed."""
    for path, directories, files in os.walk(os.path.join(os.fsencode(directory), b"flags")):
        for name in [b"."] + directories + files:
            fd = os.open(os.path.join(path, name), os.O_RDONLY | os.O_NOFOLLOW)
            sysc.clear_flags(fd, "ia")
            os.close(fd)


def main():
    parser = argparse.ArgumentParser(description="Builds the torture tree.")
    parser.add_argument("directory")
    parser.add_argument("--size", choices=("full", "small"), default="full")
    parser.add_argument("--many", type=int, help="names in one directory")
    parser.add_argument("--only", help="parts, by comma: " + ",".join(PARTS | REFUSED_PARTS))
    chosen = parser.parse_args()
    made = build(chosen.directory, chosen.size, chosen.many, only=chosen.only and chosen.only.split(","))
    for what, why in made.skipped.items():
        print(f"not here: {what}: {why}", file=sys.stderr)


if __name__ == "__main__":
    main()
