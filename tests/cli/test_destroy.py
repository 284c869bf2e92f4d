"""The destroy room on real ext4, by the raw image: what was there before is not there afterwards, and nothing else is
touched. Driven through tests/programs/destroy_tool.c."""

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import time
import unittest
from unittest import mock

import disk
import husk
import manifest
import sys_calls as sysc
import torture
from canary import Canaries
from undo import Undo

TOOL = os.path.join(os.path.dirname(husk.PROGRAM), "tests", "programs", "destroy_tool")
KINDS = {"content", "name", "short symlink", "long symlink"}


class Ran:
    """What a run of the tool said: findings as (kind, subject, cause), steps, files it asked about."""

    def __init__(self, status, out):
        self.status, self.out = status, out
        lines = [line.split(" ", 1) for line in out.splitlines() if " " in line]
        self.findings = [tuple(rest.split(" | ")[:3]) for word, rest in lines if word == "finding"]
        self.kinds = {kind for kind, _subject, _cause in self.findings}
        self.steps = dict(rest.rsplit(" (", 1)[0].split(": ") for word, rest in lines if word == "step")
        self.asked = [rest for word, rest in lines if word == "asked"]
        self.words = {word: rest for word, rest in lines}

    def expect(self, *statuses):
        if self.status not in statuses:
            raise AssertionError(f"exit {self.status}, not {statuses}: {self.out}")
        return self


def start(*arguments, fault=None):
    environment = {key: value for key, value in os.environ.items() if key != "HUSK_FAULT"}
    if fault:
        environment["HUSK_FAULT"] = fault
    return subprocess.Popen([TOOL, *map(os.fsencode, arguments)], env=environment, stdout=subprocess.PIPE)


def finish(process):
    out, _ = process.communicate(timeout=300)
    return Ran(process.returncode, out.decode(errors="replace"))


def run(*arguments, fault=None):
    return finish(start(*arguments, fault=fault))


def wait_until_stopped(process):
    """Until its fault point has paused it."""
    while True:
        with open(f"/proc/{process.pid}/stat") as file:
            if file.read().rsplit(")", 1)[1].split()[0] == "T":
                return
        time.sleep(0.01)


@contextlib.contextmanager
def ext4_without_discard(*arguments, **options):
    """An ext4 whose device takes no discards, so that only what is overwritten goes from the image: it lies on a
    ramfs, which cannot punch holes."""
    with Undo() as undo:
        memory = disk.scratch(undo)
        disk.run("mount", "-t", "ramfs", "ramfs", memory)
        undo.push(disk.unmount, memory)
        with mock.patch.dict(os.environ, HUSK_TEST_SCRATCH=memory):
            with disk.ext4(*arguments, **options) as made:
                yield made


def physical(fd):
    """[(offset, physical, length)] of a file in blocks; unwritten or not."""
    request = bytearray(struct.pack("<QQIIII", 0, (1 << 64) - 1, sysc.FIEMAP_SYNC, 0, 512, 0)) + bytes(56 * 512)
    fcntl.ioctl(fd, sysc.FS_IOC_FIEMAP, request)
    count = struct.unpack_from("<I", request, 20)[0]
    blocks = []
    for number in range(count):
        offset, where, length = struct.unpack_from("<QQQ", request, 32 + 56 * number)
        blocks += [(offset + step, where + step) for step in range(0, length, 4096)]
    return blocks


class OnDisk(unittest.TestCase):
    variant = "default"
    size_mib = 128

    def setUp(self):
        self.disk = self.enterContext(ext4_without_discard(self.variant, size_mib=self.size_mib))
        self.path = self.disk.path
        self.canaries = Canaries()
        os.mkdir(self.at("private"), 0o700)

    def at(self, *parts):
        return os.path.join(self.path, *parts)

    def write(self, name, content):
        with open(self.at(name), "wb") as file:
            file.write(content)

    def image(self, offset, length=4096):
        """Bytes of the raw image."""
        self.disk.sync()
        with open(self.disk.image, "rb") as image:
            return os.pread(image.fileno(), length, offset)


class FileTest(OnDisk):
    def test_a_file_is_destroyed_and_each_step_is_told(self):
        self.write("keyslot", self.canaries.content(4096))
        self.assertEqual(self.canaries.find(self.disk), {"content": 8})
        done = run("file", self.path, "keyslot").expect(0)
        self.assertEqual(done.steps, {"overwritten": "done", "re-read": "done", "discarded": "not supported",
                                      "journal zeroed": "done", "unlinked": "done"})
        self.assertNotIn("keyslot", os.listdir(self.path))
        self.canaries.gone(self.disk)
        self.disk.fsck()

    def test_a_missing_file_is_fine_and_nothing_is_tried(self):
        done = run("file", self.path, "keyslot").expect(0)
        self.assertEqual(set(done.steps.values()), {"not tried"})

    def test_what_is_not_a_regular_file_is_refused_and_stays(self):
        self.write("target", b"stays")
        os.symlink("target", self.at("link"))
        os.mkdir(self.at("directory"))
        os.mkfifo(self.at("fifo"))
        for name in ("link", "directory", "fifo"):
            run("file", self.path, name).expect(1)
            self.assertTrue(os.path.lexists(self.at(name)))
        with open(self.at("target"), "rb") as target:
            self.assertEqual(target.read(), b"stays")

    def test_an_immutable_file_is_destroyed(self):
        self.write("keyslot", self.canaries.content(4096))
        sysc.add_flags(self.at("keyslot"), "i")
        run("file", self.path, "keyslot").expect(0)
        self.canaries.gone(self.disk)

    def test_what_could_not_be_overwritten_stays_for_the_next_call(self):
        for fault in ("destroy.overwrite", "destroy.flush"):
            with self.subTest(fault):
                canaries = Canaries()
                self.write("keyslot", canaries.content(4096))
                canaries.find(self.disk)
                done = run("file", self.path, "keyslot", fault=fault + ":eio").expect(1)
                self.assertEqual([done.steps[step] for step in ("overwritten", "discarded", "unlinked")],
                                 ["failed", "not tried", "not tried"])
                self.assertEqual(done.steps["journal zeroed"], "done")
                self.assertTrue(os.path.exists(self.at("keyslot")))
                run("file", self.path, "keyslot").expect(0)
                self.assertFalse(os.path.exists(self.at("keyslot")))
                canaries.gone(self.disk)

    def test_a_failed_re_reading_is_an_error_but_all_else_is_done(self):
        self.write("keyslot", b"k" * 4096)
        done = run("file", self.path, "keyslot", fault="destroy.reread:eio").expect(1)
        self.assertEqual([done.steps[step] for step in ("overwritten", "re-read", "journal zeroed", "unlinked")],
                         ["done", "failed", "done", "done"])
        self.assertFalse(os.path.exists(self.at("keyslot")))

    def test_a_failed_journal_or_discard_is_told_and_no_error(self):
        for fault, step in (("destroy.journal", "journal zeroed"), ("destroy.discard", "discarded")):
            with self.subTest(fault):
                self.write("keyslot", b"k" * 4096)
                done = run("file", self.path, "keyslot", fault=fault + ":eio").expect(0)
                self.assertEqual(done.steps[step], "failed")
                self.assertEqual(done.steps["unlinked"], "done")

    def test_a_rename_or_unlink_that_fails_is_an_error(self):
        for fault in ("destroy.rename", "destroy.unlink"):
            with self.subTest(fault):
                self.write("keyslot", b"k" * 4096)
                done = run("file", self.path, "keyslot", fault=fault + ":eio").expect(1)
                self.assertEqual(done.steps["unlinked"], "failed")

    def test_a_crash_at_each_step_is_gone_on_from(self):
        for fault in ("destroy.overwrite", "destroy.flush", "destroy.reread", "destroy.discard", "destroy.journal",
                      "destroy.rename"):
            with self.subTest(fault):
                canaries = Canaries()
                self.write("keyslot", canaries.content(4096))
                canaries.find(self.disk)
                run("file", self.path, "keyslot", fault=fault + ":crash").expect(-signal.SIGKILL)
                self.assertTrue(os.path.exists(self.at("keyslot")))
                run("file", self.path, "keyslot").expect(0)
                self.assertFalse(os.path.exists(self.at("keyslot")))
                canaries.gone(self.disk)

    def test_a_crash_after_the_rename_leaves_an_empty_file_only(self):
        self.write("keyslot", self.canaries.content(4096))
        run("file", self.path, "keyslot", fault="destroy.unlink:crash").expect(-signal.SIGKILL)
        left = set(os.listdir(self.path)) - {"private", "lost+found"}
        self.assertEqual([os.stat(self.at(name)).st_size for name in left], [0])
        self.canaries.gone(self.disk)


class DiscardTest(unittest.TestCase):
    def test_exactly_the_blocks_of_the_file_are_discarded(self):
        with disk.ext4(size_mib=64) as d:
            path = os.path.join(d.path, "keyslot")
            with open(path, "wb") as file:
                file.write(b"k" * 4096)
                file.flush()
                (_offset, where), = physical(file.fileno())
            d.sync()
            done = run("file", d.path, "keyslot").expect(0)
            self.assertEqual(done.steps["discarded"], "done")
            d.sync()
            with open(d.image, "rb") as image:
                self.assertEqual(os.lseek(image.fileno(), where, os.SEEK_HOLE), where, "not a hole")


class TreeTest(OnDisk):
    def test_contents_names_and_short_targets_are_gone_from_the_image(self):
        self.canaries.plant(self.at("tree"), files=8)
        self.assertEqual(set(self.canaries.find(self.disk)), KINDS)
        run("tree", self.path, "tree").expect(0)
        run("journal", self.path).expect(0)
        self.assertFalse(os.path.lexists(self.at("tree")))
        # Only the block of a long symlink cannot be reached: destroying free space is for that.
        self.assertEqual(set(self.canaries.find(self.disk)), {"long symlink"})
        self.disk.fsck()

    def test_the_torture_tree_goes(self):
        made = torture.build(self.at("tree"), size="small", canaries=self.canaries)
        self.assertEqual(set(self.canaries.find(self.disk)), KINDS)
        count = sum(len(names) + len(more) for _, names, more in os.walk(os.fsencode(self.at("tree"))))
        self.assertGreater(count, 300, made.skipped)
        run("tree", self.path, "tree").expect(0)
        run("journal", self.path).expect(0)
        self.assertFalse(os.path.lexists(self.at("tree")))
        found = self.canaries.find(self.disk)
        self.assertFalse({"content", "short symlink"} & set(found), found)
        self.disk.fsck()

    def test_names_of_a_directory_that_was_split_many_times_are_gone(self):
        os.mkdir(self.at("tree"))
        for number in range(3000):
            name = os.fsencode(self.at("tree")) + b"/" + self.canaries.name(f"-{number}-{'n' * (number % 200)}")
            os.mkdir(name) if number % 3 == 0 else os.mknod(name)
        self.assertGreater(self.canaries.find(self.disk)["name"], 3000)
        run("tree", self.path, "tree").expect(0)
        run("journal", self.path).expect(0)
        self.canaries.gone(self.disk)

    def test_overwriting_is_in_place_for_written_unwritten_and_preallocated_blocks(self):
        os.mkdir(self.at("tree"))
        with open(self.at("tree/file"), "wb+") as file:
            fd = file.fileno()
            sysc.fallocate(fd, 0, 0, 8 * 4096)                                # unwritten
            os.pwrite(fd, self.canaries.content(4096 + 100), 4096)            # written, with a tail
            os.ftruncate(fd, 10 * 4096)                                       # a hole
            sysc.fallocate(fd, sysc.FALLOC_KEEP_SIZE, 12 * 4096, 3 * 4096)    # beyond the end
            os.fsync(fd)
            blocks = physical(fd)
        before = [self.image(where) for _offset, where in blocks]
        self.assertEqual(len(blocks), 11)
        # Stopped before anything is unlinked: what is on disk now is what overwriting made.
        run("tree", self.path, "tree", fault="destroy.unlink:crash").expect(-signal.SIGKILL)
        with open(self.at("tree/file"), "rb") as file:
            self.assertEqual(physical(file.fileno()), blocks)
        after = [self.image(where) for _offset, where in blocks]
        for (offset, _where), was, is_ in zip(blocks, before, after):
            self.assertNotEqual(was, is_, f"the block at {offset}")
            self.assertGreater(len(set(is_)), 200, "not random")

    def test_a_sparse_file_takes_no_time(self):
        os.mkdir(self.at("tree"))
        with open(self.at("tree/sparse"), "wb") as file:
            file.truncate(1 << 40)
            os.pwrite(file.fileno(), self.canaries.content(4096), 1 << 39)
        begun = time.monotonic()
        done = run("tree", self.path, "tree").expect(0)
        self.assertLess(time.monotonic() - begun, 5)
        self.assertEqual(done.words["progress"], "1 files, 4096 bytes")
        self.canaries.gone(self.disk)

    def test_a_file_that_must_stay_stays_as_it_is_and_is_named(self):
        os.makedirs(self.at("tree/a/b"))
        self.write("tree/a/b/stays", self.canaries.content(10000))
        self.write("tree/a/goes", b"x" * 10000)
        sysc.add_flags(self.at("tree/a/b/stays"), "a")
        sysc.add_flags(self.at("tree/a/b"), "i")
        before = manifest.take(self.at("tree/a/b"))
        done = run("tree", self.path, "tree", "keep", "stays").expect(5)
        self.assertEqual([finding[:2] for finding in done.findings], [("kept-file", "tree/a/b/stays")])
        self.assertEqual(sorted(done.asked), ["tree/a/b/stays", "tree/a/goes"])
        manifest.same(before, manifest.take(self.at("tree/a/b")))
        self.assertEqual(os.listdir(self.at("tree/a")), ["b"])
        run("tree", self.path, "tree").expect(0)
        self.assertFalse(os.path.lexists(self.at("tree")))

    def test_symlinks_are_never_followed(self):
        os.makedirs(self.at("outside/directory"))
        self.write("outside/directory/file", b"stays")
        os.mkdir(self.at("tree"))
        os.symlink(self.at("outside/directory"), self.at("tree/directory"))
        os.symlink(self.at("outside/directory/file"), self.at("tree/file"))
        before = manifest.take(self.at("outside"))
        run("tree", self.path, "tree").expect(0)
        manifest.same(before, manifest.take(self.at("outside")))
        os.symlink("outside", self.at("top"))
        run("tree", self.path, "top").expect(0)
        self.assertFalse(os.path.lexists(self.at("top")))
        manifest.same(before, manifest.take(self.at("outside")))

    FAULTS = ("destroy.overwrite", "destroy.flush", "destroy.reread", "destroy.unlink", "destroy.rename",
              "destroy.remove-directory", "destroy.tree.batch", "destroy.tree.sync", "destroy.tree.top",
              "destroy.tree.aside", "destroy.tree.enter", "destroy.open")

    def plant_for_faults(self):
        self.canaries = Canaries()
        self.canaries.plant(self.at("tree"), files=4)
        self.write("tree/large", self.canaries.content(5 << 20))
        self.assertEqual(set(self.canaries.find(self.disk)), KINDS)

    def test_a_crash_at_every_fault_point_is_gone_on_from(self):
        for fault in self.FAULTS:
            for hit in (1, 2, 3):
                with self.subTest(f"{fault}, hit {hit}"):
                    self.plant_for_faults()
                    done = run("tree", self.path, "tree", fault=f"{fault}:crash:{hit}")
                    if hit == 1:
                        done.expect(-signal.SIGKILL)
                    again = run("tree", self.path, "tree", fault=f"{fault}:crash:{hit}")
                    run("tree", self.path, "tree").expect(0)
                    run("journal", self.path).expect(0)
                    self.assertFalse(os.path.lexists(self.at("tree")), again.out)
                    self.assertEqual(sorted(os.listdir(self.path)), ["lost+found", "private"])
                    self.assertLessEqual(set(self.canaries.find(self.disk)), {"long symlink"})
        self.disk.fsck()

    def test_an_error_at_every_fault_point_is_told_and_gone_on_from(self):
        quiet = {"destroy.rename", "destroy.tree.aside"}  # the names are gone nevertheless, or replaced where they are
        for fault in self.FAULTS:
            with self.subTest(fault):
                self.plant_for_faults()
                done = run("tree", self.path, "tree", fault=fault + ":eio")
                done.expect(0) if fault in quiet else done.expect(1, 5)
                if done.status == 5:
                    self.assertTrue(done.findings, done.out)
                run("tree", self.path, "tree").expect(0)
                run("journal", self.path).expect(0)
                self.assertEqual(sorted(os.listdir(self.path)), ["lost+found", "private"])
                if fault not in ("destroy.overwrite", "destroy.tree.aside"):
                    self.assertLessEqual(set(self.canaries.find(self.disk)), {"long symlink"})
        self.disk.fsck()

    def test_a_missing_tree_is_fine_and_a_single_file_is_a_tree(self):
        run("tree", self.path, "tree").expect(0)
        self.write("tree", self.canaries.content(5000))
        self.canaries.find(self.disk)
        run("tree", self.path, "tree").expect(0)
        self.canaries.gone(self.disk)


class VariantTest(unittest.TestCase):
    def check(self, variant, told=()):
        with ext4_without_discard(variant, size_mib=64) as d:
            canaries = Canaries()
            canaries.plant(os.path.join(d.path, "tree"), files=4)
            for number in range(20):  # fits into an inode where there is inline data
                with open(os.path.join(d.path, "tree", f"small{number}"), "wb") as file:
                    file.write(canaries.content(60))
            self.assertEqual(set(canaries.find(d)), KINDS)
            done = run("tree", d.path, "tree").expect(0)
            run("journal", d.path).expect(0)
            self.assertEqual(set(canaries.find(d)), {"long symlink"})
            self.assertEqual(done.kinds, set(told))
            d.fsck()

    def test_1k(self):
        self.check("1k")

    def test_inline_data_cannot_be_re_read_and_that_is_told(self):
        self.check("inline", told=["not-re-read"])

    def test_nojournal(self):
        self.check("nojournal")

    def test_datajournal(self):
        self.check("datajournal")

    def test_noextents(self):
        self.check("noextents")

    def test_bigalloc(self):
        self.check("bigalloc")

    def test_an_inline_file_is_destroyed_in_its_inode(self):
        with ext4_without_discard("inline", size_mib=64) as d:
            canaries = Canaries()
            with open(os.path.join(d.path, "keyslot"), "wb") as file:
                file.write(canaries.content(60))
            canaries.find(d)
            done = run("file", d.path, "keyslot").expect(0)
            self.assertEqual((done.steps["overwritten"], done.steps["re-read"]), ("done", "not supported"))
            canaries.gone(d)


class AwkwardTest(OnDisk):
    """Trees that are deep, wide, sealed, shared, mounted upon or changing."""

    def test_a_leased_file_with_several_names_is_destroyed_once(self):
        os.makedirs(self.at("tree/a"))
        self.write("tree/a/0", self.canaries.content(1 << 20))
        for number in range(1, 1000):
            os.link(self.at("tree/a/0"), self.at("tree/a", str(number)))
        done = run("tree", self.path, "tree", "lease").expect(0)
        self.assertEqual(done.words["progress"], f"1000 files, {1 << 20} bytes")
        self.canaries.gone(self.disk)

    def test_a_file_something_has_open_is_kept_under_all_its_names(self):
        os.makedirs(self.at("tree"))
        self.write("tree/one", self.canaries.content(10000))
        os.link(self.at("tree/one"), self.at("tree/two"))
        self.write("tree/three", b"x" * 10000)
        before = manifest.take(self.at("tree"))
        with open(self.at("tree/one"), "rb"):
            done = run("tree", self.path, "tree", "lease").expect(5)
        self.assertEqual({finding[:2] for finding in done.findings},
                         {("kept-file", "tree/one"), ("kept-file", "tree/two")})
        before.pop("three")
        manifest.same(before, manifest.take(self.at("tree")), ignore=("mtime",))

    def test_a_running_program_is_kept(self):
        os.makedirs(self.at("tree"))
        shutil.copy("/bin/sleep", self.at("tree/sleep"))
        process = subprocess.Popen([self.at("tree/sleep"), "60"])
        try:
            done = run("tree", self.path, "tree").expect(5)
            self.assertEqual([finding[:2] for finding in done.findings], [("not-opened", "tree/sleep")])
        finally:
            process.kill()
            process.wait()
        run("tree", self.path, "tree").expect(0)

    def test_mounts_inside_are_never_touched(self):
        """A bind mount of the same filesystem, another filesystem, and a mount over a file, each at any depth."""
        for name in ("outside/a", "tree/x/bind", "tree/x/other", "tree/x/deep/bind"):
            os.makedirs(self.at(name))
        for name in ("outside/a/file", "outside/file", "tree/x/file", "tree/x/fifo"):
            self.write(name, self.canaries.content(9000))
        os.unlink(self.at("tree/x/fifo"))
        os.mkfifo(self.at("tree/x/fifo"))
        outside = manifest.take(self.at("outside"))
        with Undo() as undo:
            for what, where in (("outside/a", "tree/x/bind"), ("outside/a", "tree/x/deep/bind"),
                                ("outside/file", "tree/x/file"), ("outside/file", "tree/x/fifo")):
                disk.run("mount", "--bind", self.at(what), self.at(where))
                undo.push(disk.run, "umount", self.at(where))
            disk.run("mount", "-t", "tmpfs", "tmpfs", self.at("tree/x/other"))
            undo.push(disk.run, "umount", self.at("tree/x/other"))
            self.write("tree/x/other/file", b"stays")
            done = run("tree", self.path, "tree").expect(5)
            self.assertEqual({finding[:2] for finding in done.findings}, {
                ("mount-point", f"tree/x/{name}") for name in ("bind", "other", "deep/bind", "file", "fifo")})
            manifest.same(outside, manifest.take(self.at("outside")))
            with open(self.at("tree/x/other/file"), "rb") as file:
                self.assertEqual(file.read(), b"stays")
        run("tree", self.path, "tree").expect(0)
        manifest.same(outside, manifest.take(self.at("outside")))

    def test_the_tree_itself_a_mount_point_is_refused(self):
        os.makedirs(self.at("outside"))
        os.makedirs(self.at("tree"))
        self.write("outside/file", b"stays")
        disk.run("mount", "--bind", self.at("outside"), self.at("tree"))
        try:
            self.assertIn("mount-point", run("tree", self.path, "tree").expect(5).kinds)
        finally:
            disk.run("umount", self.at("tree"))
        self.assertTrue(os.path.exists(self.at("outside/file")))

    def test_eight_thousand_levels_go(self):
        fd = os.open(self.path, os.O_RDONLY)
        for name in [b"tree"] + [b"d"] * 8192:
            os.mkdir(name, dir_fd=fd)
            lower = os.open(name, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = lower
        for level in range(100):  # at the bottom and on the way up
            os.close(os.open(b"file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
            upper = os.open("..", os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = upper
        os.close(fd)
        done = run("tree", self.path, "tree").expect(0)
        self.assertFalse(os.path.lexists(self.at("tree")))
        self.assertLess(int(done.words["memory"]), 64 << 10)
        self.disk.fsck()

    def test_something_kept_far_down_is_named_and_stays_where_it_is(self):
        path = self.at("tree")
        for _ in range(200):
            path = os.path.join(path, "d" * 10)
        os.makedirs(path)
        with open(os.path.join(path, "stays"), "wb") as file:
            file.write(b"stays")
        done = run("tree", self.path, "tree", "keep", "stays").expect(5)
        (kind, subject, _cause), = done.findings
        self.assertEqual((kind, subject), ("kept-file", os.path.relpath(path, self.path) + "/stays"))
        with open(os.path.join(path, "stays"), "rb") as file:
            self.assertEqual(file.read(), b"stays")

    def exchanged_at(self, fault, old, new):
        """Runs with two names exchanged at the moment the fault point is reached."""
        process = start("tree", self.path, "tree", fault=fault)
        wait_until_stopped(process)
        sysc.exchange(self.at(old), self.at(new))
        process.send_signal(signal.SIGCONT)
        return finish(process)

    def test_a_directory_exchanged_for_a_symlink_when_it_is_entered_does_not_lead_outside(self):
        os.makedirs(self.at("outside"))
        self.write("outside/file", b"stays")
        outside = manifest.take(self.at("outside"))
        os.makedirs(self.at("tree/victim"))
        os.symlink(self.at("outside"), self.at("link"))
        self.exchanged_at("destroy.tree.enter:pause:2", "tree/victim", "link").expect(0)
        manifest.same(outside, manifest.take(self.at("outside")))
        self.assertFalse(os.path.lexists(self.at("tree")))

    def test_a_file_exchanged_for_something_else_when_it_is_opened_does_not_lead_outside(self):
        self.write("outside", b"stays")
        makers = {"symlink": lambda path: os.symlink(self.at("outside"), path), "fifo": os.mkfifo,
                  "device": lambda path: os.mknod(path, 0o600 | stat.S_IFBLK, os.makedev(7, 63)), "directory": os.mkdir}
        for kind, make in makers.items():
            with self.subTest(kind):
                os.makedirs(self.at("tree"))
                self.write("tree/victim", b"goes")
                make(self.at("other"))
                self.exchanged_at("destroy.open:pause", "tree/victim", "other").expect(0)
                self.assertFalse(os.path.lexists(self.at("tree")))
                with open(self.at("other"), "rb") as file:
                    self.assertEqual(file.read(), b"goes")
                os.unlink(self.at("other"))
        with open(self.at("outside"), "rb") as file:
            self.assertEqual(file.read(), b"stays")

    def test_what_takes_the_place_of_a_file_before_it_is_unlinked_is_looked_at_first(self):
        os.makedirs(self.at("tree"))
        self.write("tree/victim", self.canaries.content(5000))
        self.write("other", self.canaries.content(5000))
        process = start("tree", self.path, "tree", "keep", "nothing", fault="destroy.flush:pause")
        wait_until_stopped(process)
        sysc.exchange(self.at("tree/victim"), self.at("other"))
        process.send_signal(signal.SIGCONT)
        finish(process).expect(0)
        # What came into the tree was overwritten before it went; what was moved out had been.
        self.canaries.gone(self.disk)

    def test_a_directory_moved_out_while_being_deep_inside_ends_it(self):
        path = self.at("tree/a")
        os.makedirs(path + "/d" * 100)
        os.mkdir(self.at("outside"))
        self.write("outside/file", b"stays")
        process = start("tree", self.path, "tree", fault="destroy.tree.enter:pause:100")
        wait_until_stopped(process)
        os.rename(path + "/d", self.at("outside/d"))
        process.send_signal(signal.SIGCONT)
        self.assertIn("was moved", finish(process).expect(3).words["error"])
        with open(self.at("outside/file"), "rb") as file:
            self.assertEqual(file.read(), b"stays")
        run("tree", self.path, "tree").expect(0)

    def test_a_hostile_user_who_exchanges_directories_as_fast_as_can_be_never_leads_outside(self):
        os.makedirs(self.at("outside/victim"))
        for number in range(200):
            self.write(f"outside/victim/{number}", b"stays")
        outside = manifest.take(self.at("outside"))
        for _round in range(3):
            for number in range(40):
                os.makedirs(self.at(f"tree/{number}/victim"))
                for name in range(5):
                    self.write(f"tree/{number}/victim/{name}", b"goes" * 2000)
                os.symlink(self.at("outside/victim"), self.at(f"tree/{number}/link"))
            racer = subprocess.Popen([sys.executable, "-c", RACER, self.at("tree")], stdout=subprocess.PIPE)
            try:
                racer.stdout.readline()
                for _ in range(20):
                    if run("tree", self.path, "tree").status == 0:
                        break
            finally:
                racer.kill()
                racer.communicate()
            run("tree", self.path, "tree").expect(0)
            manifest.same(outside, manifest.take(self.at("outside")))
        self.disk.fsck()

    def test_what_comes_into_the_tree_meanwhile_is_told_or_goes_too(self):
        os.makedirs(self.at("tree/a"))
        process = start("tree", self.path, "tree", fault="destroy.tree.sync:pause")
        wait_until_stopped(process)
        for name in os.listdir(self.at("tree")):
            self.write(f"tree/{name}/late", b"late")
        process.send_signal(signal.SIGCONT)
        finish(process).expect(0)
        self.assertFalse(os.path.lexists(self.at("tree")))

    def test_interrupted_it_goes_on_later(self):
        os.makedirs(self.at("tree"))
        self.write("tree/large", self.canaries.content(20 << 20))
        process = start("tree", self.path, "tree", fault="destroy.overwrite:pause:3")
        wait_until_stopped(process)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        self.assertIn("interrupted", finish(process).expect(1).words["error"])
        self.assertTrue(os.path.exists(self.at("tree/large")))
        run("tree", self.path, "tree").expect(0)
        self.canaries.gone(self.disk)


RACER = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
top = os.open(sys.argv[1], os.O_RDONLY)
print("ready", flush=True)
while True:
    for number in range(40):
        try:
            where = os.open(str(number), os.O_RDONLY | os.O_NOFOLLOW, dir_fd=top)
        except OSError:
            continue
        libc.renameat2(where, b"victim", where, b"link", 2)  # RENAME_EXCHANGE
        os.close(where)
"""


class FreeSpaceChecks(OnDisk):
    def free(self):
        space = os.statvfs(self.path)
        return space.f_bfree * space.f_frsize

    def fragment(self, count):
        """Free space in many small pieces."""
        os.mkdir(self.at("many"))
        for number in range(count):
            self.write(f"many/{number}", b"m" * (1, 4097, 9000, 20000)[number % 4])
        self.disk.sync()
        for number in range(0, count, 3):
            os.unlink(self.at(f"many/{number}"))

    def check_that_deleted_things_go(self):
        self.canaries.plant(self.at("tree"), files=8)
        self.disk.sync()
        subprocess.run(["rm", "-r", self.at("tree")], check=True)
        self.assertLessEqual({"content", "long symlink"}, set(self.canaries.find(self.disk)))
        self.disk.remount()  # the kernel sets free blocks aside for small files until then
        before = self.free()
        done = run("free-space", self.at("private")).expect(0)
        run("journal", self.path).expect(0)
        self.canaries.gone(self.disk)
        self.assertEqual(os.listdir(self.at("private")), [])
        self.assertEqual(self.free(), before)
        self.assertLessEqual(done.kinds, {"free-space-left", "no-discard"})
        self.assertIn("no-discard", done.kinds)
        self.assertLess(self.left(done), 2 << 20, done.out)
        self.disk.fsck()

    def left(self, done, *kinds):
        """Bytes it says were not overwritten."""
        return sum(int(cause.split()[0]) for kind, _subject, cause in done.findings
                   if kind in (kinds or ("free-space-left", "free-space-withheld")))


class FreeSpaceTest(FreeSpaceChecks):
    size_mib = 96

    def test_what_was_deleted_before_is_gone_from_the_image_though_nothing_was_discarded(self):
        self.check_that_deleted_things_go()

    def test_what_the_kernel_sets_aside_for_small_files_is_overwritten_too(self):
        """Pieces of free space that no map of it has, and no large file gets, until the next mount."""
        self.check_that_what_is_set_aside_goes()

    def test_it_is_also_where_what_holds_the_free_space_takes_blocks_of_its_own(self):
        """In many pieces the extents of files need blocks."""
        self.fragment(1000)
        self.check_that_what_is_set_aside_goes()

    def check_that_what_is_set_aside_goes(self):
        self.canaries.plant(self.at("tree"), files=8)
        self.disk.sync()
        subprocess.run(["rm", "-r", self.at("tree")], check=True)
        self.disk.sync()  # the blocks are free
        for processor in os.sched_getaffinity(0):
            subprocess.run(["taskset", "-c", str(processor), "cp", "/etc/passwd", self.at(f"small{processor}")], check=True)
            self.disk.sync()
        done = run("free-space", self.at("private")).expect(0)
        run("journal", self.path).expect(0)
        self.assertLess(self.left(done, "free-space-withheld"), 64 << 10, done.out)
        self.canaries.gone(self.disk)

    def test_what_it_says_of_what_is_left_is_true(self):
        """Every free block was marked; the marks that are left are no more than it says."""
        for variant in ("default", "1k", "bigalloc", "noextents", "datajournal"):
            with self.subTest(variant), ext4_without_discard(variant, size_mib=96) as d:
                mark = Canaries()
                with open(os.path.join(d.path, "marks"), "wb") as file, contextlib.suppress(OSError):
                    while True:
                        os.write(file.fileno(), mark.content(1 << 20))
                d.sync()
                os.unlink(os.path.join(d.path, "marks"))
                d.remount()
                done = run("free-space", d.path).expect(0)
                run("journal", d.path).expect(0)
                still = mark.find(d).get("content", 0) * 512
                self.assertLessEqual(still, self.left(done), done.out)

    def test_others_always_have_their_reserve(self):
        self.fragment(1000)
        self.disk.remount()
        process = start("free-space", self.at("private"))
        least = 1 << 60
        while process.poll() is None:
            space = os.statvfs(self.path)
            least = min(least, space.f_bavail * space.f_frsize)
        finish(process).expect(0)
        self.assertGreater(least, 15 << 20)
        self.assertLess(least, 18 << 20, "it never came near the reserve: the test shows nothing")

    def test_killed_it_leaves_nothing(self):
        before = self.free()
        for fault in ("destroy.free-space.create", "destroy.free-space.allocate", "destroy.free-space.release",
                      "destroy.overwrite:crash:20"):
            name = fault if ":" in fault else fault + ":crash"
            run("free-space", self.at("private"), fault=name).expect(-signal.SIGKILL)
            self.assertEqual(os.listdir(self.at("private")), [])
            self.assertEqual(self.free(), before)
        self.disk.fsck()

    def test_interrupted_it_gives_all_back(self):
        before = self.free()
        process = start("free-space", self.at("private"), fault="destroy.overwrite:pause:10")
        wait_until_stopped(process)
        self.assertLess(self.free(), before - (20 << 20))
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        done = finish(process)
        self.assertEqual(done.status, 1)
        self.assertIn("interrupted", done.words["error"])
        self.assertEqual(self.free(), before)

    def test_others_get_their_space_at_once(self):
        before = self.free()
        process = start("free-space", self.at("private"), fault="destroy.overwrite:pause:10")
        wait_until_stopped(process)
        with open(self.at("other"), "wb") as other:
            sysc.fallocate(other.fileno(), 0, 0, self.free() - (4 << 20))
        process.send_signal(signal.SIGCONT)
        done = finish(process).expect(0)
        self.assertIn("free-space-stopped", done.kinds)
        os.unlink(self.at("other"))
        self.disk.sync()
        self.assertEqual(self.free(), before)

    def test_errors_are_told(self):
        for fault, status, kind in (("destroy.overwrite:eio:5", 1, None), ("destroy.reread:eio", 1, None),
                                    ("destroy.free-space.create:eio", 1, None),
                                    ("destroy.free-space.allocate:eio", 1, None),
                                    ("destroy.free-space.release:eio", 1, None),
                                    ("destroy.free-space.discard:eio", 0, "no-discard")):
            with self.subTest(fault):
                done = run("free-space", self.at("private"), fault=fault).expect(status)
                if kind:
                    self.assertIn(kind, done.kinds)


class FragmentedTest(FreeSpaceChecks):
    """Several block groups, much of whose free space is in small pieces."""
    size_mib = 400

    def test_what_was_deleted_before_is_gone_from_the_image_though_nothing_was_discarded(self):
        self.fragment(12000)
        self.check_that_deleted_things_go()


if __name__ == "__main__":
    unittest.main()
