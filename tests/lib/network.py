"""Small networks of the test's own: namespaces without names, which end with the descriptor that holds them.

    hub = self.enterContext(network.Namespace())
    host = self.enterContext(hub.spoke(1))           # it is 10.77.1.2, and the hub is network.HUB to it
    subprocess.run([...], preexec_fn=host.enter)
    with host.cut():                                 # nothing passes meanwhile
        ...

Needs root, ip(8) and tc(8).
"""

import contextlib
import os
import subprocess

import sys_calls

HUB = "10.77.0.1"


class Namespace:
    def __init__(self, setup=f"link set lo up\naddress add {HUB}/32 dev lo\n"):
        with subprocess.Popen(["sleep", "infinity"], preexec_fn=sys_calls.new_network) as process:
            self._fd = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY)
            process.kill()
        self.path = f"/proc/{os.getpid()}/fd/{self._fd}"
        self.ip(setup)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._fd)

    def enter(self):
        """For preexec_fn."""
        sys_calls.enter_network(self._fd)

    def ip(self, commands):
        """What ip(8) is to do, a command a line."""
        subprocess.run(["ip", "-batch", "-"], input=commands.encode(), check=True, preexec_fn=self.enter)

    def join(self, one, other):
        """A cable between two devices: what comes in by one goes out by the other, be it what a bridge would keep."""
        commands = "".join(f"qdisc add dev {here} clsact\nfilter add dev {here} ingress protocol all u32 match u32 0 0 "
                           f"action mirred egress redirect dev {there}\n" for here, there in ((one, other), (other, one)))
        subprocess.run(["tc", "-batch", "-"], input=commands.encode(), check=True, preexec_fn=self.enter)

    def spoke(self, number):
        """A namespace that this one is the hub of, by a cable of their own."""
        made = Namespace("link set lo up\n")
        made.hub, made.link, made.address = self, f"spoke{number}", f"10.77.{number}.2"
        self.ip(f"link add {made.link} type veth peer name hub netns {made.path}\n"
                f"address add 10.77.{number}.1/24 dev {made.link}\nlink set {made.link} up\n")
        made.ip(f"address add {made.address}/24 dev hub\nlink set hub up\nroute add default via 10.77.{number}.1\n")
        return made

    @contextlib.contextmanager
    def cut(self):
        """The cable is pulled at the hub; what is sent meanwhile is lost."""
        self.hub.ip(f"link set {self.link} down\n")
        try:
            yield
        finally:
            self.hub.ip(f"link set {self.link} up\n")
