"""The crash tier's own tools: a recorder that loses writes, or a replay that keeps them all, would prove nothing."""

import errno
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import disk
import failing
import recorder
from undo import Undo

CONTENT = b"three synced files " * 300


def write(path, content, sync):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.write(fd, content)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


class RecorderTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with recorder.recording(size_mib=32) as recording:
            cls.begin = recording.position()
            cls.positions = []
            for number in range(3):
                write(f"{recording.disk.path}/file{number}", CONTENT, True)
                cls.positions.append(os.path.getsize(recording._log))
            write(f"{recording.disk.path}/unsynced", CONTENT, False)
            cls.log = recording.finish()

    def setUp(self):
        self.undo = self.enterContext(Undo())
        directory = disk.scratch(self.undo)
        self.image = os.path.join(directory, "image")
        with open(self.image, "wb") as file:
            file.truncate(self.log.size)
        self.mounted = disk.Disk(self.undo, "ext4", "", disk.attach(self.undo, self.image), self.image, directory)

    def contents(self, mend=True):
        """{name: content} of the disk in the image."""
        self.mounted.unmount()
        self.mounted.sync()
        if mend:
            recorder.mend(self.image)
        self.mounted.mount()
        try:
            found = {}
            for name in os.listdir(self.mounted.path):
                if name != "lost+found":
                    with open(f"{self.mounted.path}/{name}", "rb") as file:
                        found[name] = file.read()
            return found
        finally:
            self.mounted.unmount()

    def test_what_was_synced_is_in_every_later_state_and_what_was_not_in_some(self):
        replay = recorder.Replay(self.log)
        synced = [self.log.entry_at(position) for position in self.positions]
        states = replay.states(self.begin, random_states=40)
        self.assertGreater(len(states), 40)
        seen = set()
        for state in states:
            replay.write(state, self.image)
            found = self.contents()
            seen.add(found.get("unsynced") == CONTENT)
            for number, entry in enumerate(synced):
                if state.flush >= entry:
                    self.assertEqual(found.get(f"file{number}"), CONTENT, str(state))
        self.assertEqual(seen, {True, False})

    def test_the_last_state_is_the_disk_as_it_was(self):
        replay = recorder.Replay(self.log)
        count = len(self.log.entries)
        replay.write(recorder.State(count, count), self.image)
        self.assertEqual(len(self.contents()), 4)

    def test_random_states_are_different_and_repeatable(self):
        states = recorder.Replay(self.log).states(self.begin, random_states=60, seed=3)
        self.assertEqual(states, recorder.Replay(self.log).states(self.begin, random_states=60, seed=3))
        self.assertEqual(len(states), len(set(states)))
        replay = recorder.Replay(self.log)
        random_one = next(state for state in states if state.seed >= 0)
        images = []
        for state in (random_one, states[-1], random_one):
            replay.write(state, self.image)
            with open(self.image, "rb") as file:
                images.append(file.read())
        self.assertEqual(images[0], images[2])
        self.assertNotEqual(images[0], images[1])

    def test_a_lost_flushed_write_is_found(self):
        """A disk that lies about flushes: some lost write must be seen by e2fsck or in the files."""
        complained = 0
        end = self.log.entry_at(self.positions[-1])
        begin = self.log.entry_at(self.begin)
        for lost in range(begin, end):
            if self.log.entries[lost].sectors == 0:
                continue
            replay = recorder.Replay(self.log)
            damaged = self.log.entries[lost]
            self.log.entries[lost] = recorder.Entry(damaged.sector, 0, 0, damaged.data_at)
            try:
                replay.write(recorder.State(end, end), self.image)
                found = self.contents()
                complained += any(found.get(f"file{number}") != CONTENT for number in range(3))
            except (RuntimeError, OSError, disk.Unsupported):
                complained += 1
            finally:
                self.log.entries[lost] = damaged
        self.assertGreater(complained, 3)

    def test_a_damaged_log_is_refused(self):
        data = self.log.data
        inside = [entry for entry in self.log.entries if entry.sectors][-1].data_at + 100
        for broken in (b"\0" + data[1:], data[:-1], data[:inside]):
            with self.assertRaises(recorder.Damaged):
                recorder.Log(broken, self.log.size)


class FailingTest(unittest.TestCase):
    def test_writes_fail_when_told_and_heal(self):
        with failing.failing_disk(size_mib=32) as broken:
            write(f"{broken.disk.path}/before", CONTENT, True)
            broken.fail_writes()
            with self.assertRaises(OSError) as caught:
                write(f"{broken.disk.path}/during", CONTENT, True)
            self.assertIn(caught.exception.errno, (errno.EIO, errno.EROFS))
            broken.recover()
            write(f"{broken.disk.path}/after", CONTENT, True)
            with open(f"{broken.disk.path}/before", "rb") as file:
                self.assertEqual(file.read(), CONTENT)

    def test_a_count_of_writes_passes_first(self):
        with failing.failing_disk(size_mib=32) as broken:
            passed = []
            for after in (0, 5, 40):
                broken.fail_writes(after=after)
                passed.append(self.write_until_failure(broken))
                broken.recover()
            self.assertEqual(passed[0], 0)
            self.assertLess(passed[1], passed[2])

    def write_until_failure(self, broken):
        for number in range(1000):
            try:
                write(f"{broken.disk.path}/file{number}", CONTENT, True)
            except OSError:
                return number
        self.fail("nothing failed")

    def test_one_failure_passes_by(self):
        with failing.failing_disk(size_mib=32, mkfs=["-O", "encrypt,^has_journal"]) as broken:
            broken.fail_writes(once=True)
            with self.assertRaises(OSError):
                write(f"{broken.disk.path}/first", CONTENT, True)
            write(f"{broken.disk.path}/second", CONTENT, True)


if __name__ == "__main__":
    unittest.main()
