"""Ten thousand connections at a time, as far as the machine lets one have descriptors."""
# runs alone

import json
import os
import resource
import socket
import subprocess
import time
import unittest

import authority
import disk
import fleet
from undo import Undo

WANTED = 10000
REQUEST = b"POST /v1/message HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"


def descriptors():
    """As many as this process may have, after asking for all."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def memory_kb(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(next(line.split()[1] for line in file if line.startswith("VmRSS:")))


class ManyTest(unittest.TestCase):
    def setUp(self):
        self.count = min(WANTED, descriptors() - 500)
        self.assertGreater(self.count, 500, "too few descriptors for this test")
        self.socks = []

    def tearDown(self):
        for sock in self.socks:
            sock.close()

    def open_all(self, server, count):
        for _ in range(count):
            sock = socket.socket()
            self.socks.append(sock)
            sock.settimeout(30)
            sock.connect(server.address)

    def ask(self, sock):
        sock.sendall(REQUEST)
        data = b""
        while b"hska" not in data:
            got = sock.recv(65536)
            self.assertTrue(got, "the connection ended")
            data += got

    def time_of_one(self, server):
        """The slowest of twenty, on connections of their own."""
        worst = 0
        for _ in range(20):
            begun = time.monotonic()
            with server.connect() as sock:
                self.ask(sock)
            worst = max(worst, time.monotonic() - begun)
        return worst

    def test_ten_thousand_idle_connections_leave_others_in_peace(self):
        with authority.running() as server:
            before_kb, alone_s = memory_kb(server.process.pid), self.time_of_one(server)
            begun = time.monotonic()
            self.open_all(server, self.count)
            for sock in self.socks[::10]:
                self.ask(sock)  # some have said something, most never did
            opened_s = time.monotonic() - begun
            slowest_s = self.time_of_one(server)
            used_kb = memory_kb(server.process.pid) - before_kb
            print(f"note: {self.count} connections in {opened_s:.1f} s, {used_kb / self.count:.1f} KB each; "
                  f"slowest of 20 answers {slowest_s * 1000:.1f} ms, {alone_s * 1000:.1f} ms without them")
            self.assertLess(slowest_s, 2)
            self.assertLess(used_kb, self.count * 40)
            server.ok("host", "list")
            # Those that spoke last are still there, whatever the others' time.
            self.ask(self.socks[0])

    def test_a_thousand_that_ask_at_once_are_all_granted(self):
        """So many are held that they get their answers in batches."""
        directory = disk.scratch(self.enterContext(Undo()))
        server = fleet.Fleet(directory, "--connection-rate", "100000")
        server.fill(0, 1000)
        server.start()
        try:
            told = server.play("open", 0, 1000, 1000)
            self.assertEqual((told["granted"], told["refused"]), (1000, 0), told)
        finally:
            server.end()

    def test_a_thousand_held_polls_take_little_memory(self):
        """What the bench measures, where it can fail."""
        directory = disk.scratch(self.enterContext(Undo()))
        server = fleet.Fleet(directory, "--connection-rate", "100000")
        server.fill(0, 2000)
        server.start()
        try:
            server.play("open", 1000, 1000, 64)  # what it takes to work at all is not the polls'
            before_mb = server.memory_mb()
            words = ["poll", server.descriptor, str(server.address[1]), "0", "1000", "8"]
            with subprocess.Popen([fleet.LOAD, *words], stdout=subprocess.PIPE) as process:
                time.sleep(5)
                used_mb = server.memory_mb() - before_mb
                self.assertIsNone(process.poll(), "it was over before it was looked at")
                told = json.loads(process.communicate(timeout=120)[0])
        finally:
            server.end()
        self.assertEqual(told["held"], 1000, told)
        print(f"note: {used_mb:.1f} MB for 1,000 held polls, beside {before_mb:.0f} MB")
        self.assertLess(used_mb, 40)

    def test_beyond_the_limit_the_silent_make_room(self):
        with authority.running("--connections", "200") as server:
            self.open_all(server, 260)
            limit = time.monotonic() + 30
            while True:  # those waiting longest without a word go first
                try:
                    with server.connect() as sock:
                        self.ask(sock)
                    break
                except (AssertionError, OSError):
                    self.assertLess(time.monotonic(), limit, "nobody gets in any more")
                    time.sleep(0.2)

    def test_one_address_takes_not_more_than_its_part(self):
        with authority.running("--connections-per-address", "50") as server:
            self.open_all(server, 50)
            for sock in self.socks:
                self.ask(sock)
            with server.connect() as sock, self.assertRaises((AssertionError, OSError)):
                self.ask(sock)
            for sock in self.socks:
                self.ask(sock)

    def test_many_held_polls_wait_and_all_are_told_at_the_end(self):
        hosts = []
        with authority.running() as server:
            try:
                for number in range(40):
                    hosts.append(server.host(f"web{number}"))
                for host in hosts:
                    host.post(authority.poll(60))
                time.sleep(0.5)
                self.assertFalse(any(host.has_answer() for host in hosts))
                begun = time.monotonic()
                with server.connect() as sock:
                    self.ask(sock)
                self.assertLess(time.monotonic() - begun, 2)
                self.assertEqual(server.end(), 0)
                self.assertEqual({host.take()["kind"] for host in hosts}, {"try again"})
            finally:
                for host in hosts:
                    host.close()


if __name__ == "__main__":
    unittest.main()
