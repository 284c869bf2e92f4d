"""A real huskd on loopback: $HUSKD, else huskd beside the husk under test.

    authority = self.enterContext(authority.running())
    authority.admin("group set", "default", "--unlock", "auto")
    token = authority.token()
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time

import husk

PROGRAM = os.environ.get("HUSKD", os.path.join(os.path.dirname(husk.PROGRAM), "huskd"))
START_S = 15


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Authority:
    def __init__(self, directory, port):
        self.place, self.port, self.process = directory, port, None
        self.directory = os.path.join(directory, "authority")
        self.root = os.path.join(directory, "root.key")
        self.url = f"http://127.0.0.1:{port}"

    def init(self):
        os.mkdir(self.directory, 0o700)
        self._run("init", "--root-out", self.root, "--address", self.url)

    def _run(self, *words, expect=husk.DONE):
        done = subprocess.run([PROGRAM, *words, "--dir", self.directory, "--json"], capture_output=True, text=True,
                              timeout=60)
        if done.returncode != expect:
            raise AssertionError(f"huskd {' '.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return json.loads(done.stdout)

    def admin(self, verb, *words, expect=husk.DONE):
        """The result of an administrator's verb."""
        return self._run(*verb.split(), *words, expect=expect)["result"]

    def start(self):
        self.log = open(os.path.join(self.place, "log"), "ab")
        self.process = subprocess.Popen([PROGRAM, "serve", "--dir", self.directory, "--listen",
                                         f"127.0.0.1:{self.port}"], stdout=self.log, stderr=self.log)
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            raise AssertionError(f"huskd does not serve: {file.read()}")

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(30)
            self.log.close()
            self.process = None

    def token(self):
        return self.admin("token create")["token"]

    def unlock_by(self, how, *words):
        self.admin("group set", "default", "--unlock", how, *words)

    def requests(self, *states):
        return [request for request in self.admin("request list")["requests"]
                if not states or request["state"] in states]

    def wait_for_request(self, state="pending"):
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            found = self.requests(state)
            if found:
                return found[-1]
            time.sleep(0.05)
        raise AssertionError(f"no request is {state}: {self.requests()}")


@contextlib.contextmanager
def running():
    directory = tempfile.mkdtemp(prefix="husk-test-authority-", dir="/dev/shm")
    authority = Authority(directory, free_port())
    try:
        authority.init()
        authority.start()
        yield authority
    finally:
        authority.stop()
        shutil.rmtree(directory)
