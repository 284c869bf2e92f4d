"""A huskd (tests/lib/authority.py) that hosts find again: it also listens where its descriptor says, ended and
started again too.

    server = self.enterContext(known_address.running())    # on loopback; or with an address of a network of its own
    server.unlock_by("auto")
    token = server.token()
"""

import contextlib
import random
import shutil
import socket
import time

import authority

WAIT_S = 15


def free_port():
    """Below those that the kernel gives away by itself: no connection of a test beside this one takes it meanwhile."""
    while True:
        with contextlib.suppress(OSError), socket.socket() as probe:
            port = random.randrange(20_000, 32_000)
            probe.bind(("127.0.0.1", port))
            return port


class Server(authority.Server):
    def __init__(self, directory, address="127.0.0.1", port=None, also=(), holder=None):
        super().__init__(directory)
        self.holder = ("--holder", holder) if holder else ()
        self.known_address = address
        self.also = also  # further addresses, for its descriptor
        self.listen_at(port or free_port())

    def listen_at(self, port):
        self.port, self.url = port, f"http://{self.known_address}:{port}"
        self.words = ["--listen", f"{self.known_address}:{port}", *self.holder]

    def init(self):
        addresses = [word for url in (self.url, *self.also) for word in ("--address", url)]
        authority.run("init", "--dir", self.path, "--root-out", self.root, *addresses, *self.holder).expect(0)
        return self

    def admin(self, verb, *words):
        """The result of an administrator's verb."""
        return self.document(*verb.split(), *words)["result"]

    def token(self):
        return self.admin("token create")["token"]

    def unlock_by(self, how):
        self.admin("group set", "default", "--unlock", how)

    def requests(self, *states):
        return [request for request in self.admin("request list")["requests"]
                if not states or request["state"] in states]

    def wait_for_request(self, state="pending"):
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            found = self.requests(state)
            if found:
                return found[-1]
            time.sleep(0.05)
        raise AssertionError(f"no request is {state}: {self.requests()}")


@contextlib.contextmanager
def running(address="127.0.0.1", port=None, also=(), holder=None, **options):
    """The options are those of subprocess.Popen."""
    directory = authority.make_directory()
    server = Server(directory, address, port, also, holder)
    try:
        server.init().start(**options)
        yield server
    finally:
        server.end()
        shutil.rmtree(directory)
