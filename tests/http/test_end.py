"""How huskd begins and ends: signals, kill -9, two on one directory, what systemd hands over and hears."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import authority
import husk


class EndTest(unittest.TestCase):
    def test_sigterm_answers_what_is_held_and_ends_with_0(self):
        with authority.running() as server:
            host = server.host("web1")
            host.post(authority.poll(60))
            time.sleep(0.3)
            self.assertFalse(host.has_answer())
            begun = time.monotonic()
            self.assertEqual(server.end(signal.SIGTERM), 0)
            self.assertLess(time.monotonic() - begun, 4)
            self.assertEqual(host.take()["kind"], "try again")
            self.assertFalse(os.path.exists(f"{server.path}/admin.socket"))
            host.close()

    def test_idle_connections_do_not_hold_up_the_end(self):
        with authority.running() as server:
            socks = [server.connect() for _ in range(50)]
            socks[0].sendall(b"POST /v1/mess")
            begun = time.monotonic()
            self.assertEqual(server.end(signal.SIGINT), 0)
            self.assertLess(time.monotonic() - begun, 4)
            for sock in socks:
                sock.close()

    def test_sighup_does_no_harm(self):
        with authority.running() as server:
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.2)
            server.ok("host", "list")
            self.assertIn("SIGHUP", server.log())

    def test_after_kill_9_it_goes_on_with_all_it_promised(self):
        with authority.running() as server:
            host = server.host("web1")
            host.result({"type": "heartbeat", "boot": "@boot", "lineage": "@id", "facts": authority.FACTS,
                         "descriptor_sequence": 1})
            entries = server.document("ledger", "verify")["result"]["entries"]
            host.post(authority.poll(60))
            time.sleep(0.2)
            self.assertEqual(server.end(signal.SIGKILL), -signal.SIGKILL)
            self.assertEqual(host.take()["kind"], "none")
            self.assertTrue(os.path.exists(f"{server.path}/admin.socket"))  # left over
            done = server.run("host", "list").expect_error_line_of("huskd", husk.NOT_NOW)
            self.assertIn("admin.socket", done.err)
            server.start()
            self.assertEqual(server.document("ledger", "verify")["result"]["entries"], entries)
            self.assertEqual([found["name"] for found in server.document("host", "list")["result"]["hosts"]], ["web1"])
            host.close()

    def test_a_second_one_on_the_directory_is_refused_and_harms_nothing(self):
        with authority.running() as server:
            done = server.run("serve", "--listen", "127.0.0.1:0").expect_error_line_of("huskd", husk.REFUSED)
            self.assertIn(server.path, done.err)
            server.ok("host", "list")
            done = server.run("init", "--root-out", f"{server.directory}/other.key", "--address", "http://h")
            done.expect(husk.REFUSED)
            self.assertFalse(os.path.exists(f"{server.directory}/other.key"))
            port = server.address[1]
            with authority.running() as other:
                done = authority.run("serve", "--dir", f"{other.path}", "--listen", f"127.0.0.1:{port}")
                done.expect(husk.FAILED)
                self.assertIn(f"127.0.0.1:{port}", done.err)

    def test_what_cannot_be_served_is_said(self):
        with tempfile.TemporaryDirectory() as empty:
            done = authority.run("serve", "--dir", f"{empty}/none", "--listen", "127.0.0.1:0").expect(husk.FAILED)
            self.assertIn(f"{empty}/none", done.err)
            authority.run("serve", "--dir", empty, "--listen", "127.0.0.1:0").expect(husk.FAILED)
            for words in [["--listen", "127.0.0.1"], ["--listen", "localhost:1"], ["--listen", "127.0.0.1:65536"],
                          ["--listen", "::1:80"], ["--listen", "[::1]"], ["--listen", ":80"], ["--connections", "0"],
                          ["--connections", "x"], ["--trusted-proxy", "10.0.0.0/33"]]:
                authority.run("serve", "--dir", empty, *words).expect_error_line_of("huskd", husk.USAGE)


class SystemdTest(unittest.TestCase):
    """The protocols of systemd, played by the test."""

    def setUp(self):
        self.directory = authority.make_directory()
        self.server = authority.Server(self.directory).init()

    def tearDown(self):
        shutil.rmtree(self.directory)

    def serve_with(self, listeners, count=None, pid=None):
        """huskd with sockets as descriptors from 3 on, LISTEN_PID its own."""
        script = 'exec env LISTEN_PID=${PID:-$$} "$@"'
        fds = [sock.fileno() for sock in listeners]

        def place():
            spare = [os.dup2(fd, 100 + number) for number, fd in enumerate(fds)]
            for number, fd in enumerate(spare):
                os.dup2(fd, 3 + number, inheritable=True)

        environment = {**os.environ, "LISTEN_FDS": str(len(fds) if count is None else count)}
        if pid:
            environment["PID"] = str(pid)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(f"{self.directory}/notify")
        notify.settimeout(20)
        environment["NOTIFY_SOCKET"] = f"{self.directory}/notify"
        process = subprocess.Popen(["sh", "-c", script, "sh", authority.PROGRAM, "serve", "--dir", self.server.path],
                                   env=environment, preexec_fn=place, close_fds=False, stdin=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
        return process, notify

    def test_sockets_are_taken_over_and_ready_is_said(self):
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        process, notify = self.serve_with(listeners)
        try:
            self.assertEqual(notify.recv(100), b"READY=1")
            for listener in listeners:
                with socket.create_connection(listener.getsockname(), 20) as sock:
                    sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
                    self.assertTrue(sock.recv(1000).startswith(b"HTTP/1.1 200 "))
            process.send_signal(signal.SIGTERM)
            self.assertEqual(notify.recv(100), b"STOPPING=1")
            err = process.communicate(timeout=20)[1].decode()
            self.assertEqual(process.returncode, 0, err)
            # The socket is systemd's: whoever connects between two huskd waits, and is not refused.
            with socket.create_connection(listeners[0].getsockname(), 20):
                pass
        finally:
            process.kill()
            process.wait()
            process.stderr.close()
            notify.close()
            for listener in listeners:
                listener.close()

    def test_what_is_no_listening_socket_is_refused(self):
        pair = socket.socketpair()
        process, notify = self.serve_with([pair[0]])
        err = process.communicate(timeout=20)[1].decode()
        self.assertEqual(process.returncode, husk.USAGE, err)
        self.assertIn("descriptor 3", err)
        notify.close()
        for sock in pair:
            sock.close()


if __name__ == "__main__":
    unittest.main()
