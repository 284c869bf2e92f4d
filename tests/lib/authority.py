"""A huskd of the test's own, in a directory of its own, and hosts that talk to it.

    with authority.running() as server:      # init, serve, and SIGTERM at the end
        server.run("token", "create")        # a verb over its socket; server.document(...) with --json
        host = server.host("web1")           # enrolled; host.say({"type": "poll", ...})
        server.address                       # ("127.0.0.1", port)

huskd lies beside the husk under test ($HUSK).
"""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import husk

BUILD = os.path.dirname(os.path.abspath(husk.PROGRAM))
PROGRAM = os.path.join(BUILD, "huskd")
MESSAGE_TOOL = os.path.join(BUILD, "tests", "programs", "message_tool")
TIMEOUT_S = 60


def run(*arguments, json=False, stdin=b"", timeout=TIMEOUT_S, env=None, **options):
    """huskd with these words; as husk.run."""
    argv = [PROGRAM, *arguments] + (["--json"] if json else [])
    begun = time.monotonic()
    done = subprocess.run(argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                          env={**os.environ, **(env or {})}, **options)
    return husk.Done(argv, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"),
                     time.monotonic() - begun)


def make_directory():
    """Short, for the path of a socket; outside of /tmp where there is memory."""
    parent = os.environ.get("HUSK_TEST_SCRATCH") or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    return tempfile.mkdtemp(prefix="ad-", dir=parent)


class Ended(AssertionError):
    """huskd ended before it listened."""


class Server:
    def __init__(self, directory, words=()):
        self.directory, self.words = directory, list(words)
        self.path = os.path.join(directory, "a")
        self.root = os.path.join(directory, "root.key")
        self.process = self.address = None
        self.log_path = os.path.join(directory, "log")

    def init(self):
        run("init", "--dir", self.path, "--root-out", self.root, "--address", "http://127.0.0.1:4875").expect(0)
        return self

    def start(self, env=None, **options):
        """Serve at a free port; returns when it listens."""
        log = open(self.log_path, "wb")
        self.process = subprocess.Popen([PROGRAM, "serve", "--dir", self.path, "--listen", "127.0.0.1:0", *self.words],
                                        stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                        env={**os.environ, **(env or {})}, **options)
        log.close()
        limit = time.monotonic() + TIMEOUT_S
        while time.monotonic() < limit and self.process.poll() is None:
            found = re.search(r"listening at 127\.0\.0\.1:(\d+)\n", self.log())
            if found:
                self.address = ("127.0.0.1", int(found[1]))
                return self
            time.sleep(0.01)
        raise Ended(f"huskd does not listen: {self.log()}")

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def end(self, number=signal.SIGTERM):
        """Its exit status, minus the signal where one ended it."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"huskd did not end: {self.log()}") from None
        self.process = None
        return status

    def run(self, *arguments, **options):
        return run(*arguments, "--dir", self.path, **options)

    def ok(self, *arguments, **options):
        return self.run(*arguments, **options).expect(0)

    def document(self, *arguments, **options):
        return self.ok(*arguments, json=True, **options).document

    def connect(self, timeout=TIMEOUT_S):
        return socket.create_connection(self.address, timeout)

    def host(self, name, group="default", headers=""):
        token = self.document("token", "create", "--group", group)["result"]["token"]
        host = Host(self, name, headers)
        host.enroll(token)
        return host


class Host:
    """The host that message_tool plays."""

    def __init__(self, server, name, headers=""):
        self.name = name
        self.tool = subprocess.Popen([MESSAGE_TOOL, str(server.address[1])], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, env={**os.environ, "MESSAGE_TOOL_HEADERS": headers})

    def enroll(self, token):
        told = self.say({"type": "enroll", "token": token.split(".")[1], "name": self.name, "identity": "@identity"})
        assert "result" in told["object"], told

    def post(self, message):
        """Say it and do not wait."""
        self.tool.stdin.write(json.dumps(message).encode() + b"\n")
        self.tool.stdin.flush()

    def take(self, timeout=TIMEOUT_S):
        if not select.select([self.tool.stdout], [], [], timeout)[0]:
            raise AssertionError(f"no answer in {timeout} s")
        line = self.tool.stdout.readline()
        if not line:
            raise AssertionError("message_tool ended")
        return json.loads(line)

    def say(self, message, timeout=TIMEOUT_S):
        self.post(message)
        return self.take(timeout)

    def result(self, message):
        """Of a message that is answered with one; a stale nonce is tried again."""
        for _ in range(3):
            told = self.say(message)
            if told.get("object", {}).get("error", {}).get("code") != "stale-nonce":
                break
        if "result" not in told.get("object", {}):
            raise AssertionError(f"{message} got {told}")
        return told["object"]["result"]

    def has_answer(self):
        return bool(select.select([self.tool.stdout], [], [], 0)[0])

    def close(self):
        self.tool.stdin.close()
        self.tool.stdout.close()
        self.tool.kill()
        self.tool.wait()


FACTS = {"kernel": "6.1.0-test", "cmdline_hash": "5a" * 32}


def poll(wait_s):
    return {"type": "poll", "boot": "@boot", "wait_s": wait_s}


@contextlib.contextmanager
def running(*words, env=None, **options):
    directory = make_directory()
    server = Server(directory, words)
    try:
        server.init().start(env=env, **options)
        yield server
        if server.process is not None:
            status = server.end()
            assert status == 0, f"huskd ended with {status}: {server.log()}"
    finally:
        if server.process is not None:
            server.process.kill()
            server.process.wait()
        shutil.rmtree(directory)


def missing():
    """None when there is a huskd to test, else why not (for skipUnless)."""
    for program in (PROGRAM, MESSAGE_TOOL):
        if not os.access(program, os.X_OK):
            return f"{program} is not built"
    return None
