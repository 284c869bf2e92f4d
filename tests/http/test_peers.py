"""Peers that are slow, wrong, or not what they seem, against a real huskd over raw sockets."""
# runs long

import os
import random
import re
import socket
import struct
import threading
import time
import unittest

import authority

HEAD = b"POST /v1/message HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n"


def post(body):
    return HEAD % len(body) + b"\r\n" + body


def read_answer(sock):
    """(status, headers, body) of one response; None where the connection ended instead."""
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            got = sock.recv(65536)
        except ConnectionError:
            return None
        if not got:
            return None
        data += got
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    length = int(headers.get("content-length", 0))
    while len(body) < length:
        got = sock.recv(length - len(body))
        if not got:
            return None
        body += got
    assert len(body) == length, (head, body)
    return int(lines[0].split()[1]), headers, body


class PeersTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.running = authority.running()
        cls.server = cls.running.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.running.__exit__(None, None, None)

    def ask(self, data):
        with self.server.connect() as sock:
            sock.sendall(data)
            return read_answer(sock)

    def assert_still_serves(self):
        status, _, body = self.ask(post(b""))
        self.assertEqual((status, body[:6]), (200, b"hska\x01\x02"))

    def test_what_cannot_be_read_gets_the_descriptor(self):
        first = self.ask(post(b""))[2]
        for body in [b"x", b"hskm", b"hskm\x01\x01\x02\0" + bytes(56), b"hskm\x01\x01\x02\0" + os.urandom(200),
                     os.urandom(65536)]:
            status, headers, answer = self.ask(post(body))
            self.assertEqual((status, answer), (200, first))
            self.assertEqual(headers["content-type"], "application/octet-stream")
        self.assertEqual(first[:8], b"hska\x01\x02\0\0")

    def test_healthz_says_200_and_nothing_else(self):
        status, headers, body = self.ask(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual((status, body), (200, b""))
        self.assertNotIn("server", headers)

    def test_methods_and_paths_that_are_none_are_refused_with_a_line(self):
        for method, path, expected in [
                ("GET", "/", 404), ("GET", "/v1/message", 405), ("PUT", "/v1/message", 405), ("BREW", "/v1/message", 405),
                ("DELETE", "/healthz", 405), ("GET", "/healthz/", 404), ("GET", "/v1/message/../../etc/passwd", 404),
                ("GET", "//healthz", 404), ("GET", "/%68ealthz%00", 404), ("GET", "/admin.socket", 404),
                ("OPTIONS", "*", 404), ("GET", "/" + "a" * 3000, 404)]:
            status, headers, body = self.ask(f"{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            self.assertEqual(status, expected, (method, path))
            self.assertRegex(body, rb"\A[\x20-\x7e]+\n\Z")
            self.assertEqual("allow" in headers, status == 405)

    def test_lengths_are_known_first(self):
        for head, expected in [
                (b"", 411), (b"Transfer-Encoding: chunked\r\n", 411), (b"Transfer-Encoding: gzip, chunked\r\n", 411),
                (b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
                (b"Content-Length: 3\r\nContent-Length: 3\r\n", 400), (b"Content-Length: 3\r\nContent-Length: 30\r\n", 400),
                (b"Content-Length: 65537\r\n", 413), (b"Content-Length: 1000000000000\r\n", 413)]:
            answer = self.ask(b"POST /v1/message HTTP/1.1\r\nHost: h\r\n" + head + b"\r\n" +
                              (b"x" * 65537 if b"65537" in head else b"0\r\n\r\n"))
            self.assertEqual(answer[0], expected, head)
        for length in [b"-1", b"0x10", b"1 0", b"99999999999999999999999", b"", b"ten"]:
            with self.server.connect() as sock:
                sock.sendall(b"POST /v1/message HTTP/1.1\r\nHost: h\r\nContent-Length: " + length + b"\r\n\r\n")
                self.assertRegex(sock.recv(4096), rb"\AHTTP/1.1 4(00|11|13) ", length)
        self.assert_still_serves()

    def test_headers_are_small(self):
        for head in [b"X: " + b"y" * 20000, b"\r\n".join(b"X%d: y" % number for number in range(3000))]:
            with self.server.connect() as sock:
                sock.sendall(b"POST /v1/message HTTP/1.1\r\nHost: h\r\n" + head + b"\r\nContent-Length: 0\r\n\r\n")
                answer = read_answer(sock)
                self.assertTrue(answer is None or 400 <= answer[0] < 500, answer)
        self.assert_still_serves()

    def test_garbage_does_no_harm(self):
        chance = random.Random(20260324)
        for number in range(300):
            length = chance.choice([1, 10, 100, 1000, 9000])
            data = chance.randbytes(length)
            if number % 3 == 1:  # a request with something changed
                data = bytearray(post(b"hskm" + chance.randbytes(100)))
                for _ in range(chance.randint(1, 8)):
                    data[chance.randrange(len(data))] = chance.randrange(256)
            if number % 3 == 2:
                data = post(b"abc")[:chance.randrange(60)]
            with self.server.connect() as sock:
                try:
                    sock.sendall(data)
                    if number % 2:  # gone with a reset
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    else:
                        sock.shutdown(socket.SHUT_WR)
                        sock.settimeout(5)
                        sock.recv(65536)
                except (OSError, TimeoutError):
                    pass
        self.assert_still_serves()

    def test_a_body_that_ends_early_is_no_message(self):
        before = self.metric("huskd_messages_total")
        with self.server.connect() as sock:
            sock.sendall(HEAD % 100 + b"\r\n" + b"x" * 99)
            sock.shutdown(socket.SHUT_WR)
            self.assertIsNone(read_answer(sock))
        self.assertEqual(self.metric("huskd_messages_total"), before)

    def metric(self, name):
        text = self.server.ok("metrics").out
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith(name + " ")))

    def test_connections_are_kept_and_requests_may_stand_in_line(self):
        with self.server.connect() as sock:
            for _ in range(20):
                sock.sendall(post(b"one"))
                self.assertEqual(read_answer(sock)[0], 200)
        with self.server.connect() as sock:
            sock.sendall(post(b"") * 10)
            data = b""
            while data.count(b"hska\x01\x02") < 10:
                got = sock.recv(65536)
                self.assertTrue(got, data)
                data += got
            self.assertEqual(data.count(b"HTTP/1.1 200 OK\r\n"), 10)

    def test_a_request_byte_by_byte_is_answered(self):
        with self.server.connect() as sock:
            for byte in post(b"slowly"):
                sock.sendall(bytes([byte]))
            self.assertEqual(read_answer(sock)[0], 200)

    def test_100_continue_is_said_only_for_what_will_be_read(self):
        with self.server.connect() as sock:
            sock.sendall(HEAD % 2 + b"Expect: 100-continue\r\n\r\n")
            self.assertEqual(sock.recv(100).split(b"\r\n")[0], b"HTTP/1.1 100 Continue")
            sock.sendall(b"ab")
            self.assertEqual(read_answer(sock)[0], 200)
        answer = self.ask(HEAD % 100000000 + b"Expect: 100-continue\r\n\r\n")
        self.assertEqual(answer[0], 413)

    def test_http_1_0_is_answered_and_closed(self):
        with self.server.connect() as sock:
            sock.sendall(b"POST /v1/message HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
            self.assertEqual(read_answer(sock)[0], 200)
            self.assertEqual(sock.recv(1), b"")

    def test_addresses_are_forwarded_only_by_trusted_proxies(self):
        headers = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 198.51.100.7, 127.0.0.5\r\n"
        with authority.running("--trusted-proxy", "127.0.0.0/8") as behind:
            for server, seen in ((self.server, "127.0.0.1"), (behind, "198.51.100.7")):
                host = server.host("forwarded", headers=headers)
                host.result({"type": "heartbeat", "boot": "@boot", "lineage": "@id", "facts": authority.FACTS,
                             "descriptor_sequence": 1})
                told = server.document("host", "show", "forwarded")["result"]["hosts"]
                self.assertEqual([found["address"] for found in told], [seen])
                host.close()


class Flood(threading.Thread):
    """Garbage that looks like messages, on one kept connection from an address of its own, many in line at a time."""
    AT_A_TIME, AT_MOST = 50, 200

    def __init__(self, server, source, end):
        super().__init__()
        self.end_of_descriptor = end
        self.sock = socket.create_connection(server.address, 30, (source, 0))
        self.error = None
        self.statuses = []

    def run(self):
        try:
            for _ in range(self.AT_MOST):
                self.sock.sendall(b"".join(post(b"hskm\x01\x01\x02\0" + os.urandom(120)) for _ in range(self.AT_A_TIME)))
                data = b""
                while data.count(b"HTTP/1.1 ") < self.AT_A_TIME or not data.endswith((b"try again\n", self.end_of_descriptor)):
                    got = self.sock.recv(65536)
                    if not got:
                        return
                    data += got
                self.statuses += [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", data)]
                if self.statuses.count(503) > 1000:
                    return
        except OSError as error:
            self.error = error


class FloodTest(unittest.TestCase):
    def test_garbage_on_kept_connections_is_turned_away_and_other_hosts_are_granted(self):
        with authority.running("--connection-rate", "100") as server:  # two thousand in vain at once
            server.ok("group", "set", "auto", "--unlock", "auto")
            host = server.host("web1", "auto")
            self.addCleanup(host.close)
            host.result({"type": "heartbeat", "boot": "@boot", "lineage": "@id", "facts": authority.FACTS,
                         "descriptor_sequence": 1})
            keyslot = os.urandom(16).hex()
            host.result({"type": "bind", "keyslot": keyslot, "vault": os.urandom(16).hex(), "vault_name": "data",
                         "blinded": ["@point", "@point"]})
            with server.connect() as sock:
                sock.sendall(post(b""))
                end = read_answer(sock)[2][-8:]
            floods = [Flood(server, "127.0.0.2", end) for _ in range(4)]
            for flood in floods:
                flood.start()
            granted = 0
            while any(flood.is_alive() for flood in floods):
                opened = host.result({"type": "open", "boot": "@boot", "planned": False, "facts": authority.FACTS,
                                      "open": [{"keyslot": keyslot, "blinded": "@point"}], "wait_s": 0})
                self.assertEqual(opened["state"], "granted")
                granted += 1
                time.sleep(0.05)
            statuses = [status for flood in floods for status in flood.statuses]
            self.assertEqual(([flood.error for flood in floods], set(statuses)), ([None] * 4, {200, 503}))
            self.assertGreaterEqual(statuses.count(200), 2000)
            self.assertGreater(granted, 3)
            for flood in floods:
                flood.sock.close()


class SlowBodiesTest(unittest.TestCase):
    def test_bodies_that_do_not_end_take_so_much_memory_of_an_address_and_no_more(self):
        """32 MiB."""
        with authority.running() as server:
            def begin(length):
                sock = socket.create_connection(server.address, 20, source_address=("127.0.0.2", 0))
                self.addCleanup(sock.close)
                sock.sendall(HEAD % length + b"\r\n" + b"x" * (length - 1))
                return sock
            most = 65536
            slow = [begin(most) for _ in range((32 << 20) // most)]
            time.sleep(0.5)
            refused = begin(most)
            refused.sendall(b"x")
            self.assertEqual(read_answer(refused)[0], 503)
            with server.connect() as sock:  # others are answered
                sock.sendall(post(b"x" * 100))
                self.assertEqual(read_answer(sock)[0], 200)
            slow[0].sendall(b"x")
            self.assertEqual(read_answer(slow[0])[0], 200)
            again = begin(most)
            again.sendall(b"x")
            self.assertEqual(read_answer(again)[0], 200)
            slow[1].close()
            slow[2].close()
            time.sleep(2)  # the sweep
            for _ in range(3):
                again.sendall(HEAD % most + b"\r\n" + b"x" * most)
                self.assertEqual(read_answer(again)[0], 200)


class SlowTest(unittest.TestCase):
    def test_time_for_a_request_ends_however_it_trickles(self):
        """Thirty seconds; all kinds side by side."""
        with authority.running() as server:
            begun = time.monotonic()
            kinds = {"silent": b"", "half a line": b"POST /v1/mess", "no end of headers": HEAD % 10,
                     "half a body": HEAD % 1000 + b"\r\nabc"}
            socks = {name: server.connect() for name in kinds}
            for name, sock in socks.items():
                sock.sendall(kinds[name])
                sock.setblocking(False)
            ended = {}
            while len(ended) < len(socks) and time.monotonic() - begun < 60:
                for name, sock in socks.items():
                    if name in ended:
                        continue
                    try:
                        if name != "silent":
                            sock.send(b"x")
                        if sock.recv(4096) == b"":
                            ended[name] = time.monotonic() - begun
                    except BlockingIOError:
                        pass
                    except ConnectionError:
                        ended[name] = time.monotonic() - begun
                time.sleep(0.5)
            for sock in socks.values():
                sock.close()
            self.assertEqual(set(ended), set(kinds), "connections that never end")
            for name, seconds in ended.items():
                self.assertTrue(25 < seconds < 40, (name, seconds))


if __name__ == "__main__":
    unittest.main()
