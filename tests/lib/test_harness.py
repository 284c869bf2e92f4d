"""The harness itself: a manifest that sees nothing, or a canary search that finds nothing, would pass every test."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

import disk
import husk
import manifest
import sys_calls as sysc
import torture
from canary import Canaries, Found

HERE = os.path.dirname(os.path.abspath(__file__))


def rewrite(path, content):
    """Other content of the same length, with the times put back."""
    status = os.stat(path)
    with open(path, "r+b") as file:
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def unlink_and_copy(path):
    """The same file by itself, no longer a hard link."""
    shutil.copy2(path, path + ".copy")
    os.rename(path + ".copy", path)


def fill(path, offset, length):
    """Zeros written where a hole or an unwritten extent was."""
    status = os.stat(path)
    fd = os.open(path, os.O_WRONLY)
    os.pwrite(fd, bytes(length), offset)
    os.fsync(fd)
    os.close(fd)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def cut_behind_end(path):
    """Drops what is preallocated beyond the end."""
    status = os.stat(path)
    os.truncate(path, status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def swap(path, make):
    os.unlink(path)
    make(path)


def copy_symlink(path):
    target = os.readlink(path)
    os.unlink(path)
    os.symlink(target, path)


# What is changed, a change to the torture tree `t`, and the words the difference must be told with.
CHANGES = (
    ("a mode", lambda t: os.chmod(f"{t}/modes/file-0444", 0o445), "modes/file-0444: mode: 0444 became 0445"),
    ("a mode of zero", lambda t: os.chmod(f"{t}/modes/file-0000", 0o4000), "mode: 0000 became 4000"),
    ("an owner", lambda t: os.chown(f"{t}/modes/owner-0", 3, -1), "modes/owner-0: uid: 0 became 3"),
    ("a symlink's owner", lambda t: os.lchown(f"{t}/symlinks/self", 9, -1), "symlinks/self: uid"),
    ("a nanosecond", lambda t: os.utime(f"{t}/times/file-ns", ns=(1, 3)), "times/file-ns: mtime: 2 became 3"),
    ("an atime", lambda t: os.utime(f"{t}/times/file-ns", ns=(0, 2)), "times/file-ns: atime: 1 became 0"),
    ("a directory's time", lambda t: os.utime(f"{t}/times/directory-1901", ns=(1, 2)), "times/directory-1901: mtime"),
    ("a symlink's time", lambda t: os.utime(f"{t}/times/link-2400", ns=(1, 2), follow_symlinks=False),
     "times/link-2400: mtime"),
    ("content", lambda t: rewrite(f"{t}/sizes/canary-00004097", b"X"), "sizes/canary-00004097: content"),
    ("a last byte", lambda t: rewrite(f"{t}/sizes/noise-00000001", b"\0"), "sizes/noise-00000001: content"),
    ("a size", lambda t: os.truncate(f"{t}/sizes/canary-00000001", 2), "sizes/canary-00000001: size: 1 became 2"),
    ("an xattr", lambda t: os.setxattr(f"{t}/xattrs/file", "user.one", b"valuf"), "xattrs/file: xattr user.one"),
    ("a trusted xattr", lambda t: os.removexattr(f"{t}/xattrs/directory", "trusted.empty"), "xattr trusted.empty"),
    ("a symlink's xattr", lambda t: os.removexattr(f"{t}/xattrs/symlink", "security.one", follow_symlinks=False),
     "xattrs/symlink: xattr security.one"),
    ("a device's xattr", lambda t: os.removexattr(f"{t}/xattrs/null", "trusted.one"), "xattrs/null: xattr trusted"),
    ("a capability", lambda t: os.removexattr(f"{t}/xattrs/capable", "security.capability"), "security.capability"),
    ("an ACL", lambda t: os.removexattr(f"{t}/acls/fifo", "system.posix_acl_access"), "acls/fifo: xattr system."),
    ("a default ACL", lambda t: os.removexattr(f"{t}/acls/default", "system.posix_acl_default"), "acls/default: xa"),
    ("a flag", lambda t: sysc.add_flags(f"{t}/flags/flag-d", "A"), "flags/flag-d: flags: d became dA"),
    ("immutable", torture.unseal, "flags/immutable-directory: flags: i became None"),
    ("a link broken", lambda t: unlink_and_copy(f"{t}/links/b/other-file"), "links/b/other-file: hard link of"),
    ("a symlink's link", lambda t: copy_symlink(f"{t}/links/b/other-short"), "links/b/other-short: hard link of"),
    ("one link fewer", lambda t: os.unlink(f"{t}/links/b/group-3"), "links/b/group-0: nlink: 41 became 40"),
    ("a hole filled", lambda t: fill(f"{t}/holes/comb", 4096, 4096), "holes/comb: extents"),
    ("unwritten filled", lambda t: fill(f"{t}/unwritten/whole", 0, 64 * 4096), "unwritten/whole: extents"),
    ("beyond the end", lambda t: cut_behind_end(f"{t}/unwritten/beyond-gap"), "unwritten/beyond-gap: extents"),
    ("a target", lambda t: swap(f"{t}/symlinks/length-0059", lambda p: os.symlink("u" * 59, p)), "0059: target"),
    ("a device number", lambda t: swap(f"{t}/specials/null", lambda p: os.mknod(p, 0o620 | stat.S_IFCHR, 261)),
     "specials/null: device: 1:3 became 1:5"),
    ("a type", lambda t: swap(f"{t}/specials/socket", os.mkfifo), "specials/socket: type: socket became fifo"),
    ("a name gone", lambda t: os.rmdir(f"{t}/empty/directory/in/directory"), "gone: empty/directory/in/directory"),
    ("a new name", lambda t: os.mkdir(f"{t}/empty/more"), "new: empty/more"),
    ("a name's case", lambda t: os.rename(f"{t}/names/files/a", f"{t}/names/files/A"), "gone: names/files/a"),
    ("an invalid byte", lambda t: os.rename(os.fsencode(t) + b"/names/files/\xff\xfe",
                                            os.fsencode(t) + b"/names/files/\xff\xfd"),
     r"new: 'names/files/\udcff\udcfd'"),
    ("the top directory", lambda t: os.removexattr(t, "trusted.top"), ".: xattr trusted.top"),
)


class ManifestTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.disk = cls.enterClassContext(disk.ext4("strictatime", size_mib=256))
        cls.tree = os.path.join(cls.disk.path, "tree")
        torture.build(cls.tree, size="small")
        cls.before = manifest.take(cls.tree)

    def test_every_change_is_told(self):
        for what, change, words in CHANGES:
            with self.subTest(what):
                fresh = os.path.join(self.disk.path, "fresh")
                torture.build(fresh, size="small")
                old = manifest.take(fresh)
                change(fresh)
                lines = manifest.diff(old, manifest.take(fresh))
                self.assertTrue([line for line in lines if words in line], lines[:9])
                torture.unseal(fresh)
                subprocess.run(["rm", "-rf", fresh], check=True)

    def test_taking_one_changes_nothing_it_looks_at(self):
        # strictatime: any read that is not careful would show, symlinks and directories too.
        manifest.same(self.before, manifest.take(self.tree))
        self.disk.remount()
        manifest.same(self.before, manifest.take(self.tree))

    def test_without_a_clone_of_the_mount_atimes_stay_too(self):
        with mock.patch.object(sysc, "clone_mount", return_value=None):
            manifest.same(self.before, manifest.take(self.tree))
        manifest.same(self.before, manifest.take(self.tree))

    def test_paths_beyond_path_max_are_in_it(self):
        longest = max(self.before, key=len)
        self.assertGreater(len(longest), 5000)
        self.assertIn("content", self.before[longest.rsplit("/", 1)[0] + "/" + "f" * 250])

    def test_kept_in_a_file_it_stays_the_same(self):
        with tempfile.TemporaryFile("w+") as file:
            manifest.write(self.before, file)
            file.seek(0)
            self.assertEqual(self.before, manifest.read(file))

    def test_extents_and_holes_are_as_they_were_made(self):
        extents = {path.split("/")[1]: entry.get("extents") for path, entry in self.before.items()
                   if path.startswith(("holes/", "unwritten/"))}
        self.assertEqual(extents["middle"], "data:0+1 data:29+1")
        self.assertEqual(extents["written-middle"], "unwritten:0+20 data:20+3 unwritten:23+41")
        self.assertEqual(extents["beyond-empty"], "unwritten:0+16")
        self.assertEqual(extents["huge"], "data:0+1 data:1048576+1")
        self.assertEqual(extents["zeros"], "data:0+8")

    def test_a_mount_point_inside_is_not_entered(self):
        point = os.path.join(self.tree, "empty/once-full")
        subprocess.run(["mount", "-t", "tmpfs", "none", point], check=True)
        try:
            open(os.path.join(point, "in-the-way"), "w").close()
            manifest.same(self.before, manifest.take(self.tree))
        finally:
            subprocess.run(["umount", point], check=True)


class VariantTest(unittest.TestCase):
    def test_cp_preserves_contents_names_and_links_on_every_kind_of_ext4(self):
        for variant in ("default", "1k", "inline", "nojournal", "datajournal", "bigalloc"):
            with self.subTest(variant), disk.ext4(variant, size_mib=256) as d:
                parts = ["names", "links", "symlinks", "sizes", "holes", "xattrs", "acls", "modes", "times"]
                torture.build(f"{d.path}/tree", size="small", only=parts)
                subprocess.run(["cp", "-a", f"{d.path}/tree", f"{d.path}/copy"], check=True)
                before, after = (manifest.take(f"{d.path}/{name}") for name in ("tree", "copy"))
                # cp finds holes through SEEK_HOLE but writes runs of zeros as holes or not as it likes.
                manifest.same(before, after, ignore=("extents", "atime"))
                d.fsck()


class CanaryTest(unittest.TestCase):
    def test_planted_canaries_are_found_and_no_others(self):
        d = self.enterContext(disk.ext4())
        planted, never = Canaries(), Canaries()
        planted.plant(f"{d.path}/tree")
        found = planted.find(d)
        self.assertEqual(sorted(found), ["content", "long symlink", "name", "short symlink"])
        self.assertGreaterEqual(found["content"], sum(9000 * n // 512 for n in range(1, 9)))
        never.gone(d)
        with self.assertRaises(Found):
            planted.gone(d)

    def test_a_deleted_file_is_still_found(self):
        d = self.enterContext(disk.ext4())
        planted = Canaries()
        planted.plant(f"{d.path}/tree")
        d.sync()
        shutil.rmtree(f"{d.path}/tree")
        self.assertIn("content", planted.find(d))

    def test_a_needle_across_two_reads_is_found_once(self):
        with tempfile.NamedTemporaryFile() as file:
            file.seek((8 << 20) - 5)
            file.write(b"needle-needle")
            file.flush()
            self.assertEqual(disk.find_in_file(file.name, [b"needle-needle", b"absent"]),
                             {b"needle-needle": [(8 << 20) - 5]})


def attached():
    """The files behind all loop devices."""
    return subprocess.run(["losetup", "--list", "--noheadings", "--output", "BACK-FILE"],
                          stdout=subprocess.PIPE, check=True).stdout.decode()


class UndoTest(unittest.TestCase):
    PROGRAM = ("import sys, time; sys.path.insert(0, %r); import disk\n"
               "with disk.ext4() as d:\n"
               "    print(d.device, d.path, flush=True)\n"
               "    time.sleep(60)\n" % HERE)

    def begin(self):
        process = subprocess.Popen([sys.executable, "-c", self.PROGRAM], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        self.addCleanup(process.stdout.close)
        path = process.stdout.readline().decode().split()[1]
        directory = os.path.dirname(path)
        self.assertIn(directory, attached())
        return process, directory

    def test_a_test_that_is_told_to_end_leaves_nothing(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with self.subTest(number):
                process, directory = self.begin()
                process.send_signal(number)
                process.wait(timeout=30)
                self.assertFalse(os.path.exists(directory))
                self.assertNotIn(directory, attached())

    def test_a_killed_test_leaves_files_but_no_loop_device(self):
        process, directory = self.begin()
        process.kill()
        process.wait(timeout=30)
        limit = time.monotonic() + 20
        while directory in attached() and time.monotonic() < limit:
            time.sleep(0.05)
        self.assertNotIn(directory, attached())
        shutil.rmtree(directory)


class HuskTest(unittest.TestCase):
    """With a stand-in for husk, a shell script."""

    def stand_in(self, script):
        directory = self.enterContext(tempfile.TemporaryDirectory())
        path = os.path.join(directory, "husk")
        with open(path, "w") as file:
            file.write("#!/bin/sh\n" + script)
        os.chmod(path, 0o755)
        self.enterContext(mock.patch.object(husk, "PROGRAM", path))

    def test_status_output_and_fault_go_through(self):
        self.stand_in('echo "{\\"fault\\": \\"$HUSK_FAULT\\"}"; echo "husk: bad: no" >&2; exit 3')
        done = husk.run("check", fault="a.b:eio", json=True)
        self.assertEqual(done.document, {"fault": "a.b:eio"})
        done.expect_error_line(husk.REFUSED)
        with self.assertRaises(husk.Unexpected):
            done.expect(husk.DONE)

    def test_a_crash_is_told_from_a_failure(self):
        self.stand_in("kill -9 $$")
        self.assertTrue(husk.run().crashed)

    def test_a_paused_run_stops_and_goes_on(self):
        self.stand_in("kill -STOP $$; echo went on")
        with husk.paused("a.b") as process:
            time.sleep(0.05)
            self.assertIsNone(process.process.poll())
        self.assertEqual(process.done.out, "went on\n")

    def test_a_run_that_never_pauses_is_an_error(self):
        self.stand_in("exit 0")
        with self.assertRaises(husk.Unexpected):
            with husk.paused("a.b"):
                pass


if __name__ == "__main__":
    unittest.main()
