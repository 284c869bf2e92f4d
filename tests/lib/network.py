"""Small networks of the test's own: namespaces without names, which end with the descriptor that holds them.

    hub = self.enterContext(network.Namespace())
    host = self.enterContext(hub.spoke(1))           # it is 10.77.1.2, and the hub is network.HUB to it
    subprocess.run([...], preexec_fn=host.enter)
    with host.cut():                                 # nothing passes meanwhile
        ...

Needs root and ip(8).
"""

import contextlib
import os
import subprocess

import disk
import sys_calls

HUB = "10.77.0.1"


class Namespace:
    def __init__(self):
        with subprocess.Popen(["sleep", "infinity"], preexec_fn=sys_calls.new_network) as process:
            self._fd = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY)
            process.kill()
        self.hub, self.link = None, None
        self.ip("link", "set", "lo", "up")
        self.ip("address", "add", f"{HUB}/32", "dev", "lo")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._fd)

    def enter(self):
        """For preexec_fn."""
        sys_calls.enter_network(self._fd)

    def ip(self, *words):
        return disk.run("ip", *words, preexec_fn=self.enter)

    def spoke(self, number):
        """A namespace that this one is the hub of, by a cable of their own."""
        made = Namespace()
        made.hub, made.link = self, f"spoke{number}"
        made.ip("address", "del", f"{HUB}/32", "dev", "lo")
        self.ip("link", "add", made.link, "type", "veth", "peer", "name", "hub", "netns", f"/proc/{os.getpid()}/fd/{made._fd}")
        for end, device, address in ((self, made.link, 1), (made, "hub", 2)):
            end.ip("address", "add", f"10.77.{number}.{address}/24", "dev", device)
            end.ip("link", "set", device, "up")
        made.ip("route", "add", "default", "via", f"10.77.{number}.1")
        made.address = f"10.77.{number}.2"
        return made

    @contextlib.contextmanager
    def cut(self):
        """The cable is pulled at the hub; what is sent meanwhile is lost."""
        self.hub.ip("link", "set", self.link, "down")
        try:
            yield
        finally:
            self.hub.ip("link", "set", self.link, "up")
