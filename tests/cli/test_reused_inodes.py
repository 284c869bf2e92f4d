"""Who has a descriptor of an old directory makes new files in it while it is scrubbed, or appends to old ones."""

import os
import struct
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import disk
import husk
import sys_calls
import test_changing

COUNT = 20
RECORD, MAGIC, BORN = struct.Struct("=IIIIIIqqQqQ"), 0x6b737568, 7  # struct tree_record


class Scrubbed(test_changing.Changing):
    """Several files in one directory, small, so that the inodes of those that are gone are used again."""

    mkfs = ()

    def setUp(self):
        self.disk = self.enterContext(disk.ext4(size_mib=64, mkfs=self.mkfs))
        self.key = husk.keyfile(self.disk.directory)
        self.tree = os.path.join(self.disk.path, "data")
        self.kept = os.path.join(self.disk.path, ".husk/plaintext/v/0")
        os.makedirs(self.path("below"))
        for number in range(COUNT):
            self.write(f"below/file{number}", b"old" * 3000)
        self.received = test_changing.InFlightTest.in_flight(self.path("below"))

    def left(self):
        """{name: path} of the files in the old tree, whose directories may have got other names."""
        return {name: os.path.join(top, name) for top, _, names in os.walk(self.kept) for name in names}

    def kept_and_named(self, done, names):
        """These and no others, with what was written."""
        done.expect(husk.INCOMPLETE)
        left = self.left()
        self.assertEqual(sorted(left), sorted(names))
        for name, path in left.items():
            self.assertIn(f"/{name}: ", done.out)
            with open(path, "rb") as file:
                self.assertTrue(file.read().endswith(b"new"))
            os.unlink(path)
        self.protect().expect(husk.DONE)

    def add(self, flags, *names):
        """Write to these in the old directory; their inode numbers."""
        inodes = set()
        with self.received() as directory:
            for name in names:
                fd = os.open(name, flags | os.O_WRONLY, 0o644, dir_fd=directory)
                os.write(fd, b"new")
                os.fsync(fd)
                inodes.add(os.fstat(fd).st_ino)
                os.close(fd)
        return inodes


class ReusedTest(Scrubbed):
    mkfs = ("-I", "128")  # no room for a birth time

    def setUp(self):
        super().setUp()
        self.old = {os.stat(self.path(f"below/file{number}")).st_ino for number in range(COUNT)}
        self.new = [f"new{number}" for number in range(8)]

    def test_new_files_in_the_same_run_are_kept_and_named(self):
        with self.paused_protect("destroy.unlink", hit=15) as paused:
            self.assertTrue(self.add(os.O_CREAT, *self.new) & self.old, "no inode was used again")
        self.kept_and_named(paused.done, self.new)

    def test_so_are_those_between_two_runs(self):
        self.assertTrue(self.protect(fault="destroy.unlink:crash:15").crashed)
        self.assertTrue(self.add(os.O_CREAT, *self.new) & self.old, "no inode was used again")
        self.kept_and_named(self.protect(), self.new)


    def forget_generations(self):
        """The records as a husk wrote them that did not ask for generations."""
        with open(os.path.join(self.disk.path, ".husk/vaults/v/private/records"), "r+b") as file:
            records = file.read()
            for at in range(0, len(records), RECORD.size):
                record = list(RECORD.unpack_from(records, at))
                if record[0] == MAGIC:
                    self.assertLess(record[BORN], 0)
                    record[BORN] = 0
                    file.seek(at)
                    file.write(RECORD.pack(*record))

    def test_older_records_are_believed_where_nothing_has_changed(self):
        os.link(self.path("below/file1"), self.path("below/link"))
        self.assertTrue(self.protect(fault="convert.proven-old:crash").crashed)
        self.add(0, "file2")
        self.forget_generations()
        done = self.protect().expect(husk.INCOMPLETE)
        self.assertEqual(list(self.left()), ["file2"], done)
        os.unlink(self.left()["file2"])
        self.protect().expect(husk.INCOMPLETE)  # what was deleted by hand was not overwritten
        self.assertFalse(os.path.exists(self.kept))

    def test_older_records_are_not_believed_of_what_is_half_overwritten(self):
        self.assertTrue(self.protect(fault="destroy.unlink:crash:15").crashed)
        names = [*self.left(), *self.new]
        self.add(os.O_CREAT, *self.new)
        self.forget_generations()
        self.protect().expect(husk.INCOMPLETE)
        self.assertEqual(sorted(self.left()), sorted(names))


class AppendedTest(Scrubbed):
    def test_what_is_appended_to_a_file_whose_overwriting_was_cut_short_is_kept_and_named(self):
        self.assertTrue(self.protect(fault="destroy.overwrite:crash:5").crashed)
        names = list(self.left())
        self.add(os.O_APPEND, *names)
        self.kept_and_named(self.protect(), names)

    def test_one_that_has_blocks_beyond_its_end_goes_with_the_next_run(self):
        """Overwriting makes it longer, by all of them."""
        with open(self.path("below/file1"), "r+b") as file:
            sys_calls.fallocate(file.fileno(), sys_calls.FALLOC_KEEP_SIZE, 0, 100_000)
        before = os.stat(self.path("below/file1")).st_size
        self.assertTrue(self.protect(fault="destroy.flush:crash").crashed)
        self.assertGreater(os.stat(os.path.join(self.kept, "below/file1")).st_size, before + 8192)
        with self.received():
            pass
        self.protect().expect(husk.DONE)


if __name__ == "__main__":
    unittest.main()
