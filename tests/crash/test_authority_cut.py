"""Power cuts while an authority grants and erases: what was answered is there, and an erase is whole or was never begun."""

import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import authority
import cuts
import disk
import fleet
import recorder
from undo import Undo

LONG = bool(os.environ.get("HUSK_TEST_LONG"))
JOBS = max(2, len(os.sched_getaffinity(0)))
HOSTS, ERASED = 40, 20


class Granting(cuts.Scenario):
    """Ten hosts open, one is erased, ten more open."""

    name = "an authority grants and erases"

    def __init__(self, directory):
        self.directory = directory
        self.answered = []  # (bytes of the log when it was answered, what)

    def server(self, d):
        """On a disk that has an authority, or gets one."""
        here = os.path.join(self.directory, f"log-{os.getpid()}")
        os.makedirs(here, exist_ok=True)
        made = fleet.Fleet.__new__(fleet.Fleet)
        authority.Server.__init__(made, here)
        made.path, made.descriptor = f"{d.path}/a", f"{self.directory}/descriptor"
        return made

    def prepare(self, d):
        server = self.server(d).init()
        server.fill(0, HOSTS)
        generation = next(name for name in os.listdir(server.path) if name.startswith("keyring."))
        with open(f"{server.path}/{generation}", "rb") as file:
            keyring = file.read()
        # All of it but its header.
        self.old_keyring = [keyring[at:at + 48] for at in range(32, len(keyring) - 48, 48)]

    def open_some(self, server, first):
        done = subprocess.run([fleet.LOAD, "seen", server.descriptor, str(server.address[1]), str(first), "10", "4"],
                              stdout=subprocess.PIPE, check=True, timeout=60)
        for line in done.stdout.decode().splitlines():
            self.answered.append((self.log_size(), line.split()[1]))

    def run(self, d):
        server = self.server(d).start()
        try:
            self.open_some(server, 0)
            server.ok("host", "erase", fleet.name_of(ERASED), "--confirm", fleet.name_of(ERASED))
            self.answered.append((self.log_size(), "erased"))
            self.open_some(server, 10)
        finally:
            if server.end() != 0:
                raise AssertionError(server.log())

    def recorded(self, log):
        self.answered = [(log.entry_at(size), what) for size, what in self.answered]

    def check(self, d, state):
        must_be_there = {what for entry, what in self.answered if entry <= state.flush}
        server = self.server(d).start()
        try:
            server.check_whole()
            missing = must_be_there - server.granted() - {"erased"}
            if missing:
                raise AssertionError(f"answered and not in the ledger: {missing}")
            found = server.state_of(ERASED)
        finally:
            server.end()
        if found not in [("active", 1), ("erased", 0)] or ("erased" in must_be_there and found[0] != "erased"):
            raise AssertionError(f"the host is {found}")
        d.remount()
        self.check_old_keyring(d, found[0] == "erased")

    def check_old_keyring(self, d, is_erased):
        """Where nothing is erased it is the keyring, and found: the search sees what is there."""
        with open(d.image, "rb") as image:
            disk_bytes = image.read()
        there = sum(piece in disk_bytes for piece in self.old_keyring)
        if there != (0 if is_erased else len(self.old_keyring)):
            raise AssertionError(f"{there} of {len(self.old_keyring)} pieces of the keyring from before the erase are on "
                                 f"the disk, and the host is {'' if is_erased else 'not '}erased")


class AuthorityCutTest(unittest.TestCase):
    def setUp(self):
        if authority.missing():
            self.skipTest(authority.missing())
        self.directory = disk.scratch(self.enterContext(Undo()))

    def test_grants_and_an_erase(self):
        states, told, failures = cuts.try_all(Granting(self.directory), 400 if LONG else 10, JOBS,
                                              only_flushes=None if LONG else 14)
        self.assertFalse(failures, "\n".join(map(str, failures)))
        self.assertGreater(told, 10)


if __name__ == "__main__":
    unittest.main()
