"""Power cuts: records every write and flush a disk gets, and makes the images a power cut could have left.

    with recorder.recording(size_mib=48) as r:     # an ext4, mounted
        ... fill r.disk.path ...
        begin = r.position()                       # all before is on the disk
        ... what is under test ...
        log = r.finish()                           # unmounted
    replay = recorder.Replay(log)
    for state in replay.states(begin, random_states=200, seed=1):
        replay.write(state, image)                 # go on with rising states
        recorder.mend(image)                       # as a boot does

A state is all writes up to a flush, or that and a random part of the writes up to the next one: what was flushed is
there, of what was not any part may be, in any order, torn at any 4 KiB. The log has the format of dm-log-writes.
"""

import contextlib
import dataclasses
import mmap
import os
import random
import struct

import disk
from storage import Daemon
from undo import Undo

MAGIC = 0x6A736677736872
SECTOR = 512
# In sectors, what a disk writes whole or not at all. ext4 itself needs 4 KiB: half a superblock is none.
BLOCK = 8
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8


class Damaged(Exception):
    """The log is not one of dm-log-writes."""


@dataclasses.dataclass(frozen=True)
class Entry:
    sector: int
    sectors: int
    flags: int
    data_at: int


class Log:
    """What happened to a disk: the entries, and the bytes written."""

    def __init__(self, data, size):
        self.data, self.size = data, size
        magic, version, _count, sector_size = struct.unpack_from("<QQQI", data)
        if magic != MAGIC or version != 1 or sector_size != SECTOR:
            raise Damaged("no log of writes")
        # The count in the header is behind until the end; the entries themselves are all there.
        self.entries = []
        at = SECTOR
        while at + SECTOR <= len(data):
            sector, sectors, flags, _length = struct.unpack_from("<QQQQ", data, at)
            self.entries.append(Entry(sector, sectors, flags, at + SECTOR))
            at += SECTOR + (0 if flags & DISCARD else sectors * SECTOR)
        if at != len(data):
            raise Damaged("the log ends inside an entry")

    def entry_at(self, position):
        """The number of the first entry at or behind `position` bytes of the log."""
        return next((number for number, entry in enumerate(self.entries) if entry.data_at > position),
                    len(self.entries))


class Recording:
    def __init__(self, undo, directory, size_mib, mkfs):
        self._log = os.path.join(directory, "log")
        self._size = size_mib << 20
        base = os.path.join(directory, "base")
        for path, size in ((base, self._size), (self._log, 0)):
            with open(path, "wb") as file:
                file.truncate(size)
        self._undo = undo
        daemon = Daemon(undo, directory, [
            {"driver": "file", "node-name": "base", "filename": base, "discard": "unmap"},
            {"driver": "file", "node-name": "log", "filename": self._log},
            {"driver": "blklogwrites", "node-name": "top", "file": "base", "log": "log", "discard": "unmap"}])
        device = disk.attach(undo, daemon.file)
        disk.make_ext4(device, size_mib, mkfs)
        self.disk = disk.Disk(undo, "ext4", "", device, base, directory)
        self.disk.mount()

    def position(self):
        """Where in the log we are, after all writes so far were flushed."""
        self.disk.sync()
        return os.path.getsize(self._log)

    def size(self):
        """Bytes of the log as it is now: what was flushed before lies below."""
        return os.path.getsize(self._log)

    def finish(self):
        """Unmount and return the Log."""
        self.disk.unmount()
        self.disk.sync()
        with open(self._log, "rb") as file:
            return Log(file.read(), self._size)


@contextlib.contextmanager
def recording(size_mib=48, mkfs=("-O", "encrypt")):
    with Undo() as undo:
        yield Recording(undo, disk.scratch(undo), size_mib, list(mkfs))


@dataclasses.dataclass(frozen=True, order=True)
class State:
    """All entries before `flush` and, with a seed, a random part of those from there to before `end`."""
    flush: int
    end: int
    seed: int = -1

    def __str__(self):
        if self.seed < 0:
            return f"{self.flush} entries up to a flush"
        return f"{self.flush} entries up to a flush and part of the next {self.end - self.flush} (seed {self.seed})"


class Replay:
    def __init__(self, log):
        self.log = log
        self._image = bytearray(log.size)
        self._done = 0

    def flushes(self, begin=0):
        """Numbers of the entries behind each flush from `begin` bytes of the log on, one per different image."""
        first = self.log.entry_at(begin)
        numbers, dirty = [first], False
        for number in range(first, len(self.log.entries)):
            entry = self.log.entries[number]
            dirty = dirty or entry.sectors > 0
            if entry.flags & FLUSH and dirty:
                numbers.append(number + 1)
                dirty = False
        return numbers

    def states(self, begin=0, random_states=200, seed=0):
        """Every flush, and up to `random_states` different states in between; in the order write() wants."""
        flushes = self.flushes(begin)
        chosen = [State(flush, flush) for flush in flushes]
        spans = list(zip(flushes, flushes[1:] + [len(self.log.entries)]))
        writes = [sum(entry.sectors > 0 for entry in self.log.entries[flush:end]) for flush, end in spans]
        if not any(writes):
            return chosen
        dice = random.Random(seed)
        seen = set()
        for _attempt in range(20 * random_states):
            if len(seen) == random_states:
                break
            # Where more writes are under way there are more states; but no span takes all the turns.
            flush, end = dice.choices(spans, [min(count, 30) for count in writes])[0]
            state = State(flush, end, dice.randrange(1 << 32))
            pieces = tuple(self._pieces(state))
            if pieces and len(pieces) < end - flush and (flush, pieces) not in seen:
                seen.add((flush, pieces))
                chosen.append(state)
        return sorted(chosen)

    def write(self, state, path):
        """Make the file `path` the disk in this state. Quick when states come in rising order."""
        if state.flush < self._done:
            self._image, self._done = bytearray(self.log.size), 0
        for number in range(self._done, state.flush):
            self._apply(self._image, number, 0, self.log.entries[number].sectors)
        self._done = state.flush
        # The same pages again and again: fresh ones cost ten times as much.
        with open(path, "r+b" if os.path.exists(path) else "w+b") as file:
            file.write(self._image)
            file.truncate(self.log.size)
            if state.seed >= 0:
                with mmap.mmap(file.fileno(), self.log.size) as image:
                    for piece in self._pieces(state):
                        self._apply(image, *piece)

    def _pieces(self, state):
        """(entry, first sector, last sector) of the unflushed writes that reached the disk, by the state's seed."""
        dice = random.Random(state.seed)
        # Sometimes nearly all is there, sometimes nearly nothing, and sometimes time stopped at one write.
        share = dice.choice((0.05, 0.5, 0.95, 1.0))
        end = state.end if dice.random() < 0.5 else dice.randrange(state.flush, state.end) + 1
        for number in range(state.flush, end):
            entry = self.log.entries[number]
            if entry.sectors == 0 or dice.random() >= share and not entry.flags & FUA:
                continue
            first, last = 0, entry.sectors
            cuts = list(range(-entry.sector % BLOCK, entry.sectors, BLOCK))
            if len(cuts) > 1 and dice.random() < 0.3:
                first, last = sorted(dice.sample(cuts, 2))
            yield number, first, last

    def _apply(self, image, number, first, last):
        entry = self.log.entries[number]
        start, end = (entry.sector + first) * SECTOR, (entry.sector + last) * SECTOR
        if entry.flags & DISCARD:
            image[start:end] = bytes(end - start)
        elif last > first:
            image[start:end] = memoryview(self.log.data)[entry.data_at + first * SECTOR:entry.data_at + last * SECTOR]


def mend(image):
    """What a boot does after a power cut: replay the journal. Afterwards e2fsck must find nothing to mend."""
    disk.run("e2fsck", "-p", image, accept=(0, 1))
    disk.run("e2fsck", "-fn", image)
