"""Power cuts while an authority with its holder on a disk of its own binds, takes a descriptor, erases; and in a restore."""

import contextlib
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import authority
import cuts
import disk
import fleet
from undo import Undo

LONG = bool(os.environ.get("HUSK_TEST_LONG"))
JOBS = max(2, len(os.sched_getaffinity(0)))
GROUPS = {"fleet": 3, "customer": 3}
MEDIUM_MIB = 12


@contextlib.contextmanager
def medium(d):
    """The holder's disk, mounted: an image on the disk `d`, so that a cut takes both at the same moment."""
    with Undo() as mine:
        image = f"{d.path}/medium"
        disk.run("e2fsck", "-p", image, accept=(0, 1))
        made = disk.Disk(mine, "ext4", "", disk.attach(mine, image), image)
        made.mount()
        yield made.path


class Server(fleet.Fleet):
    """At path, with its log elsewhere, and maybe a holder."""

    def __init__(self, log_directory, path, *words):
        os.makedirs(log_directory, exist_ok=True)
        authority.Server.__init__(self, log_directory, words)
        self.path = path

    def bound(self, name, group):
        """A host with a keyslot."""
        host = self.host(name, group=group)
        keyslot = os.urandom(16).hex()
        host.result({"type": "bind", "keyslot": keyslot, "vault": os.urandom(16).hex(), "vault_name": "data",
                     "blinded": ["@point", "@point"]})
        return host, keyslot

    def sequence(self):
        """Of the descriptor that whoever it cannot read gets."""
        with self.connect() as sock:
            sock.sendall(b"POST /v1/message HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
        return json.loads(answer[answer.index(b"hska\x01\x02") + 8 + 64:])["sequence"]

    def generation(self):
        with self.database() as database:
            return database.execute("SELECT generation FROM state").fetchone()[0]

    def host_states(self):
        return {host["name"]: (host["state"], host["keyslots"])
                for host in self.document("host", "list")["result"]["hosts"]}


def make_hosts(server):
    for group, count in GROUPS.items():
        server.ok("group", "set", group, "--unlock", "auto")
        for number in range(count):
            server.bound(f"{group}{number}", group)[0].close()


class Leaving(cuts.Scenario):
    """A host of a new group is bound, which takes another bucket, and unbound; keys change; a whole group is erased."""

    name = "an authority with a holder binds, unbinds, takes a descriptor, erases a group"
    size_mib = 48 + MEDIUM_MIB

    def __init__(self, directory):
        self.directory = directory
        self.answered = []  # (bytes of the log when it was answered, what)

    def server(self, d, holder_directory):
        return Server(f"{self.directory}/log-{os.getpid()}", f"{d.path}/a", "--holder", f"{holder_directory}/h")

    def prepare(self, d):
        # All of its blocks are there: writing to it changes nothing but what is in them.
        with open(f"{d.path}/medium", "wb") as file:
            file.write(b"\xff" * (MEDIUM_MIB << 20))
        disk.make_ext4(f"{d.path}/medium", MEDIUM_MIB, ("-E", "nodiscard"))
        with medium(d) as path:
            server = self.server(d, path)
            authority.run("init", "--dir", server.path, "--root-out", f"{self.directory}/root.key", "--address",
                          "http://127.0.0.1:4875", *server.words).expect(0)
            server.start()
            try:
                make_hosts(server)
                server.ok("group", "set", "other")
            finally:
                server.end()
            self.first = server.generation()
            with open(f"{server.path}/keyring.{self.first}", "rb") as file:
                keyring = file.read()
            with open(f"{path}/h.{self.first}", "rb") as file:
                self.old = [file.read()]
        # All of the keyring but its header, and the holder that opens it.
        self.old += [keyring[at:at + 48] for at in range(32, len(keyring) - 48, 48)]

    def rotate(self, server):
        text, signed = f"{self.directory}/text", f"{self.directory}/signed"
        server.ok("descriptor", "prepare", "--out", text)
        server.ok("descriptor", "sign", text, "--root", f"{self.directory}/root.key", "--out", signed)
        server.ok("descriptor", "install", signed)

    def say(self, what):
        self.answered.append((self.log_size(), what))

    def run(self, d):
        with medium(d) as path:
            server = self.server(d, path).start()
            try:
                host, keyslot = server.bound("late", "other")
                self.say("bound")
                host.result({"type": "unbind", "keyslot": keyslot})
                self.say("unbound")
                host.close()
                self.rotate(server)
                self.say("installed")
                server.ok("group", "erase", "customer", "--confirm", "customer")
                self.say("erased")
            finally:
                if server.end() != 0:
                    raise AssertionError(server.log())

    def recorded(self, log):
        self.answered = [(log.entry_at(size), what) for size, what in self.answered]

    def check(self, d, state):
        must_be_so = {what for entry, what in self.answered if entry <= state.flush}
        with medium(d) as path:
            server = self.server(d, path).start()
            try:
                server.check_whole()
                generation, states, sequence = server.generation(), server.host_states(), server.sequence()
                server.host("after").close()  # the keys are there that the descriptor names
            finally:
                server.end()
            holders = [name for name in os.listdir(path) if "h." in name]
            if holders != [f"h.{generation}"]:
                raise AssertionError(f"the database says generation {generation}, the holder's disk has {holders}")
        self.check_states(states, must_be_so)
        if sequence < (2 if "installed" in must_be_so else 1):
            raise AssertionError(f"the descriptor that was installed is gone, there is {sequence}")
        d.remount()
        with open(d.image, "rb") as image:
            disk_bytes = image.read()
        there = sum(piece in disk_bytes for piece in self.old)
        if there != (len(self.old) if generation == self.first else 0):
            raise AssertionError(f"{there} of {len(self.old)} pieces of generation {self.first} are on the disk, and the "
                                 f"database says {generation}")

    def check_states(self, states, must_be_so):
        customers = {states[f"customer{number}"] for number in range(GROUPS["customer"])}
        if customers not in [{("active", 1)}, {("erased", 0)}] or ("erased" in must_be_so and ("active", 1) in customers):
            raise AssertionError(f"the group's hosts are {customers}")
        if {states[f"fleet{number}"] for number in range(GROUPS["fleet"])} != {("active", 1)}:
            raise AssertionError(f"others suffered: {states}")
        late = states.get("late")
        if ("unbound" in must_be_so and late != ("active", 0)) or ("bound" in must_be_so and late is None):
            raise AssertionError(f"after {must_be_so} the new host is {late}")


class Restoring(cuts.Scenario):
    """A backup is restored, with the export that tells what was erased since."""

    name = "an authority is restored"

    def __init__(self, directory):
        self.directory = directory
        self.done_at = None

    def file(self, name):
        return os.path.join(self.directory, name)

    def prepare(self, d):
        origin = Server(self.directory, self.file("origin"))
        origin.init().start()
        try:
            make_hosts(origin)
            origin.ok("backup", "--out", self.file("bulk"), "--envelope-out", self.file("envelope"),
                      "--backup-key-out", self.file("key"))
            origin.ok("host", "erase", "customer0", "--confirm", "customer0")
            origin.ok("ledger", "export", "--out", self.file("export"))
        finally:
            origin.end()

    def restore(self, path):
        out = self.file(f"text-{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(out)
        return authority.run("restore", "--dir", path, "--bulk", self.file("bulk"), "--envelope", self.file("envelope"),
                             "--backup-key", self.file("key"), "--record", self.file("export"), "--out", out,
                             "--address", "http://127.0.0.1:4875")

    def run(self, d):
        self.restore(f"{d.path}/a").expect(0)
        self.done_at = self.log_size()

    def recorded(self, log):
        self.done_at = log.entry_at(self.done_at)

    def check(self, d, state):
        path = f"{d.path}/a"
        if not os.path.exists(f"{path}/authority.db"):
            if state.flush >= self.done_at:
                raise AssertionError("it was told that it is restored, and it is not there")
            self.restore(path).expect(0)
        server = Server(self.file(f"log-{os.getpid()}"), path).start()
        try:
            server.check_whole()
            states = server.host_states()
        finally:
            server.end()
        expected = {f"{group}{number}": 1 for group, count in GROUPS.items() for number in range(count)}
        if {name: keyslots for name, (_, keyslots) in states.items()} != {**expected, "customer0": 0}:
            raise AssertionError(f"the hosts are {states}")
        left = [name for name in os.listdir(path) if "restore" in name]
        if left:
            raise AssertionError(f"left behind: {left}")


@unittest.skipIf(authority.missing(), authority.missing() or "")
class AuthorityLeavingTest(unittest.TestCase):
    def setUp(self):
        self.directory = disk.scratch(self.enterContext(Undo()))

    def try_all(self, scenario, flushes):
        states, told, failures = cuts.try_all(scenario(self.directory), 200 if LONG else 6, JOBS,
                                              only_flushes=None if LONG else flushes)
        self.assertFalse(failures, "\n".join(map(str, failures)))
        self.assertGreater(told, 8)
        self.assertGreater(states, 8)

    def test_a_holder_on_a_disk_of_its_own_and_a_group_that_goes(self):
        self.try_all(Leaving, 12)

    def test_a_restore(self):
        self.try_all(Restoring, 8)


if __name__ == "__main__":
    unittest.main()
