"""An authority whose many hosts load_tool plays (tests/load), and whether its database is whole.

    server = fleet.Fleet(directory)      # initialised
    server.fill(0, 1000)                 # hosts load-0000000 ... of group fleet, which opens by itself; before start()
    server.start()
    server.play("open", 0, 1000, 64)     # all open once, 64 at a time: {"granted": ..., "p99_ms": ...}
"""

import contextlib
import json
import os
import re
import sqlite3
import subprocess

import authority

LOAD = os.path.join(authority.BUILD, "tests", "load", "load_tool")


def load(*words, timeout=900):
    """What load_tool says, its last line read as JSON."""
    done = subprocess.run([LOAD, *map(str, words)], stdout=subprocess.PIPE, timeout=timeout, check=True)
    lines = done.stdout.decode().splitlines()
    return json.loads(lines[-1]) if lines else None


def name_of(number):
    return f"load-{number:07}"


class Fleet(authority.Server):
    """path is the authority's directory where it is not to lie in `directory`."""

    def __init__(self, directory, *words, path=None):
        super().__init__(directory, words)
        if path:
            self.path = path
        self.descriptor = os.path.join(directory, "descriptor")
        self.init()

    def fill(self, first, count, group="fleet"):
        load("fill", self.path, group, "auto", first, count, self.descriptor)

    def play(self, action, first, count, more):
        return load(action, self.descriptor, self.address[1], first, count, more)

    def seen(self, first, count, connections, output):
        """A process that writes a line for each grant it sees to `output`: host and request."""
        return subprocess.Popen([LOAD, "seen", self.descriptor, str(self.address[1]), str(first), str(count),
                                 str(connections)], stdin=subprocess.DEVNULL, stdout=output)

    def memory_mb(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) / 1024

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @contextlib.contextmanager
    def database(self):
        """Read only, beside a huskd that runs."""
        with contextlib.closing(sqlite3.connect(f"file:{self.path}/authority.db?mode=ro", uri=True, timeout=30)) as opened:
            yield opened

    def granted(self):
        """The requests that the ledger says were granted."""
        with self.database() as database:
            entries = [json.loads(entry) for (entry,) in database.execute("SELECT entry FROM ledger")]
        return {entry["request"] for entry in entries if entry["kind"] == "granted"}

    def check_whole(self):
        """Raise unless a running huskd has everything in order, and nothing half done."""
        self.ok("ledger", "verify")
        with self.database() as database:
            for what, query, expected in (
                    ("integrity", "PRAGMA integrity_check", "ok"),
                    ("foreign keys", "SELECT count(*) FROM pragma_foreign_key_check", 0),
                    ("erases not finished", "SELECT count(*) FROM erases WHERE done_at IS NULL", 0),
                    ("keyslots without scalar, or erased and with one",
                     "SELECT count(*) FROM keyslots k LEFT JOIN scalars s ON s.keyslot = k.id AND s.bucket = k.bucket "
                     "WHERE (k.erase IS NULL) <> (s.sealed IS NOT NULL)", 0),
                    ("buckets that are miscounted", "SELECT count(*) FROM buckets b WHERE scalars <> "
                     "(SELECT count(*) FROM scalars s WHERE s.bucket = b.id)", 0)):
                found = database.execute(query).fetchone()[0]
                if found != expected:
                    raise AssertionError(f"{what}: {found}")
            generation = database.execute("SELECT generation FROM state").fetchone()[0]
        keyrings = sorted(name for name in os.listdir(self.path) if "keyring" in name)
        if keyrings != [f"keyring.{generation}"]:
            raise AssertionError(f"the database says generation {generation}, there are {keyrings}")

    def state_of(self, number):
        """(state, keyslots that open) of a host."""
        host, = self.document("host", "show", name_of(number))["result"]["hosts"]
        return host["state"], host["keyslots"]
