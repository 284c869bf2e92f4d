"""Manifests: everything about a tree that a conversion must preserve, as data that can be kept and compared.

    before = manifest.take(directory)
    ...
    manifest.same(before, manifest.take(directory))      # raises Differs with readable lines

    python3 manifest.py DIR > before                     # one JSON object a line
    python3 manifest.py --diff before after              # exit 1 and the differences

Per entry: type, mode, owner, group, size, atime and mtime in ns, link count and hard link group, xattrs of all
namespaces (ACLs and capabilities among them), flags of chattr, project id, device number, symlink target, a hash of
the contents, runs of data, unwritten extents and holes in blocks, fs-verity digest. Not looked at: inode numbers,
ctimes, birth times, and sizes and link counts of directories. Taking one changes no atime, crosses no mount point and
works at any depth.
"""

import argparse
import hashlib
import json
import os
import stat
import struct
import sys

import sys_calls as sysc

TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo",
         stat.S_IFSOCK: "socket", stat.S_IFCHR: "character device", stat.S_IFBLK: "block device"}
CHUNK = 1 << 16
SHOWN = 15


class Differs(AssertionError):
    """Two manifests are not the same; the message lists how."""


def text(raw):
    """Bytes as text that JSON can hold and that tells every byte apart."""
    return raw.decode("utf-8", "surrogateescape")


class _Walk:
    def __init__(self, fd):
        self.device = os.fstat(fd).st_dev
        self.block = os.fstatvfs(fd).f_bsize
        self.first_names = {}
        self.entries = {}

    def add(self, path, name, directory):
        """Record one entry; returns whether it is a directory to walk."""
        handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            status = os.fstat(handle)
            kind = TYPES[stat.S_IFMT(status.st_mode)]
            if status.st_dev != self.device:
                self.entries[path] = {"type": "mount point"}
                return False
            if kind != "directory" and status.st_nlink > 1:
                first = self.first_names.setdefault(status.st_ino, path)
                if first != path:
                    self.entries[path] = {"type": kind, "hard link of": first}
                    return False
            self.entries[path] = self.describe(handle, status, kind)
            return kind == "directory"
        finally:
            os.close(handle)

    def describe(self, handle, status, kind):
        entry = {"type": kind, "mode": f"{stat.S_IMODE(status.st_mode):04o}", "uid": status.st_uid,
                 "gid": status.st_gid, "atime": status.st_atime_ns, "mtime": status.st_mtime_ns}
        if kind != "directory":
            entry["nlink"] = status.st_nlink
        if "device" in kind:
            entry["device"] = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        # The magic link leads to the very inode, a symlink's too.
        proc = f"/proc/self/fd/{handle}"
        attributes = {name: text(os.getxattr(proc, name)) for name in sorted(os.listxattr(proc))}
        if attributes:
            entry["xattrs"] = attributes
        if kind == "symlink":
            entry["target"] = text(_read_link(handle, status))
        elif kind in ("file", "directory"):
            fd = os.open(proc, os.O_RDONLY | os.O_NOATIME | os.O_CLOEXEC)
            try:
                self.open_parts(entry, fd, status, kind)
            finally:
                os.close(fd)
        return entry

    def open_parts(self, entry, fd, status, kind):
        flags = sysc.get_flags(fd)
        letters = "".join(letter for letter, bit in sysc.FLAGS.items() if flags & bit)
        if letters:
            entry["flags"] = letters
        project = sysc.get_project(fd)
        if project:
            entry["project"] = project
        if kind == "directory":
            return
        if flags & sysc.FLAG_VERITY:
            entry["verity"] = sysc.measure_verity(fd)
        entry["size"] = status.st_size
        if status.st_size or status.st_blocks:
            runs = self.runs(fd, status.st_size)
            entry["extents"] = " ".join(f"{kind}:{start}+{end - start}" for kind, start, end in runs)
            entry["content"] = self.hash(fd, status.st_size, runs)

    def runs(self, fd, size):
        """[kind, first block, end block] of data and unwritten runs; what is between them is a hole."""
        runs = []
        for offset, length, flags in sysc.extents(fd):
            kind = "unwritten" if flags & sysc.EXTENT_UNWRITTEN else "data"
            if flags & sysc.EXTENT_INLINE:
                offset, length = 0, size
            start, end = offset // self.block, -(-(offset + length) // self.block)
            if runs and runs[-1][0] == kind and runs[-1][2] == start:
                runs[-1][2] = end
            else:
                runs.append([kind, start, end])
        return runs

    def hash(self, fd, size, runs):
        """A hash of what a reader gets, whatever the layout: chunks that are all zeros are left out."""
        digest = hashlib.sha256()
        done = 0
        for _kind, start, end in runs:
            position = max(done, start * self.block // CHUNK * CHUNK)
            limit = min(size, end * self.block)
            while position < limit:
                chunk = os.pread(fd, CHUNK, position)
                if not chunk:
                    raise EOFError("the file became shorter while it was read")
                if chunk.count(0) != len(chunk):
                    digest.update(struct.pack("<Q", position))
                    digest.update(chunk)
                position += CHUNK
            done = max(done, position)
        return digest.hexdigest()


def _read_link(handle, status):
    target = os.readlink(b"", dir_fd=handle)
    if os.fstat(handle).st_atime_ns != status.st_atime_ns:
        os.utime(f"/proc/self/fd/{handle}", ns=(status.st_atime_ns, status.st_mtime_ns))
    return target


def take(directory):
    """{path: entry} of `directory` and all below it; paths are text, "." is the directory itself."""
    fd = sysc.clone_mount(directory)
    if fd is None:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOATIME)
    walk = _Walk(fd)
    walk.add(".", b".", fd)
    # One descriptor at a time, going back up through "..", so that no depth is too deep.
    levels = [("", _names(fd))]
    try:
        while levels:
            prefix, names = levels[-1]
            if not names:
                levels.pop()
                if levels:
                    fd = _move(fd, b"..")
                continue
            name = names.pop()
            path = prefix + text(name)
            if walk.add(path, name, fd):
                fd = _move(fd, name)
                levels.append((path + "/", _names(fd)))
    finally:
        os.close(fd)
    return walk.entries


def _names(fd):
    return sorted(map(os.fsencode, os.listdir(fd)), reverse=True)


def _move(fd, name):
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NOATIME, dir_fd=fd)
    finally:
        os.close(fd)


def diff(old, new, ignore=()):
    """Lines that tell how `new` differs from `old`; `ignore` names fields that may."""
    lines = _tops("gone", old, new) + _tops("new", new, old)
    for path in old:
        before, after = old[path], new.get(path)
        if after is None or before == after:
            continue
        for field in sorted(before.keys() | after.keys()):
            was, is_ = before.get(field), after.get(field)
            if was == is_ or field in ignore:
                continue
            if field == "xattrs":
                lines += _diff_xattrs(path, was or {}, is_ or {})
            else:
                lines.append(f"{show(path)}: {field}: {show(was)} became {show(is_)}")
    return lines


def _tops(word, these, others):
    """What is in one manifest only; of a directory that is, its name alone."""
    lines, top, below = [], None, 0
    for path in [path for path in these if path not in others] + [""]:
        if top is not None and path.startswith(top + "/"):
            below += 1
            continue
        if top is not None:
            lines.append(f"{word}: {show(top)}" + (f" and {below} below it" if below else ""))
        top, below = path, 0
    return lines


def _diff_xattrs(path, was, is_):
    return [f"{show(path)}: xattr {name}: {show(was.get(name))} became {show(is_.get(name))}"
            for name in sorted(was.keys() | is_.keys()) if was.get(name) != is_.get(name)]


def show(value):
    shown = value if isinstance(value, str) and value.isascii() and value.isprintable() else ascii(value)
    return shown if len(shown) <= 200 else f"{shown[:140]}...{shown[-50:]} ({len(shown)} characters)"


def same(old, new, ignore=(), what="the tree"):
    lines = diff(old, new, ignore)
    if lines:
        more = [f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        raise Differs(f"{what} differs in {len(lines)}:\n  " + "\n  ".join(lines[:SHOWN] + more))


def write(entries, stream):
    for path, entry in entries.items():
        stream.write(json.dumps({"path": path, **entry}) + "\n")


def read(stream):
    entries = {}
    for line in stream:
        entry = json.loads(line)
        entries[entry.pop("path")] = entry
    return entries


def main():
    parser = argparse.ArgumentParser(description="Takes the manifest of a tree, or compares two.")
    parser.add_argument("directory", nargs="?")
    parser.add_argument("--diff", nargs=2, metavar=("OLD", "NEW"))
    parser.add_argument("--ignore", default="", help="fields that may differ, by comma")
    chosen = parser.parse_args()
    if chosen.diff:
        with open(chosen.diff[0]) as old, open(chosen.diff[1]) as new:
            lines = diff(read(old), read(new), [field for field in chosen.ignore.split(",") if field])
        print("\n".join(lines) or "same")
        return 1 if lines else 0
    if not chosen.directory:
        parser.error("give a directory, or --diff OLD NEW")
    write(take(chosen.directory), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
