"""A guest with an encrypted root on a little network of the test's own, with its authority there.

    space = unittest.enterModuleContext(network_guest.space())
    guest = unittest.enterModuleContext(NetworkGuest("networks", space))
    guest.prepare()
    guest.record(cards)                   # husk finds them on a running system, and keeps that
    guest.on_taps(cards)                  # and so the guest has them
"""

import contextlib
import json
import os
import pathlib
import subprocess
import unittest

import disk
import network
from protected_guest import ProtectedGuest, Server

HUB_6 = "fd77::1"
MACS = ["52:54:00:77:00:01", "52:54:00:77:00:02", "52:54:00:77:00:03", "52:54:00:77:00:04"]


def space():
    """Where authority and routers are, with the TAP devices of a guest."""
    if not os.path.exists("/dev/net/tun"):
        raise unittest.SkipTest("this machine's kernel has no TAP devices")
    return network.Namespace(
        f"link set lo up\naddress add {network.HUB}/32 dev lo\naddress add {HUB_6}/128 dev lo nodad\n"
        "tuntap add tap0 mode tap\ntuntap add tap1 mode tap\nlink set tap0 up\nlink set tap1 up\n")


def card(number):
    """QEMU's words for one on a TAP device; LACP is not spoken over one of unknown speed."""
    return ["-netdev", f"tap,id=tap{number},ifname=tap{number},script=no,downscript=no",
            "-device", f"virtio-net-pci,id=card{number},netdev=tap{number},mac={MACS[number]},speed=1000,duplex=full"]


class NetworkServer(Server):
    """At addresses of the namespace, which every router of it knows."""

    def __init__(self, directory, space):
        self.space = space
        super().__init__(directory)

    def init(self, *more):
        self.words = ["--listen", f"{network.HUB}:{self.port}", "--listen", f"[{HUB_6}]:{self.port}"]
        self.url = f"http://{network.HUB}:{self.port}"
        return super().init(f"http://[{HUB_6}]:{self.port}", *more)

    def start(self, env=None, **options):
        return super().start(env, preexec_fn=self.space.enter, **options)


class NetworkGuest(ProtectedGuest):
    def __init__(self, name, space, **options):
        self.space = space
        super().__init__(name, **options)
        self.enter = space.enter

    def server_class(self, directory):
        return NetworkServer(directory, self.space)

    def record(self, cards):
        """husk finds a running system that has these cards, and keeps that."""
        self.space.ip("".join(f"address flush dev tap{number}\nroute flush dev tap{number}\n" for number in range(2)))
        with contextlib.ExitStack() as stack:
            host = stack.enter_context(network.Namespace("link set lo up\n"))
            for number, (router, setup) in enumerate(cards):
                name, peer = f"card{number}", f"peer{number}"
                self.space.ip(f"link add {peer} type veth peer name {name} address {MACS[number]} netns {host.path}\n"
                              f"link set {peer} up\n{router.replace('{}', peer)}")
                stack.callback(self.space.ip, f"link del {peer}\n")
                host.ip(f"link set {name} up\n{setup.replace('{}', name)}")
            root = stack.enter_context(self.opened())
            kept = pathlib.Path(root, ".husk", "network.json")
            kept.unlink(missing_ok=True)
            disk.run("mount", "-t", "proc", "proc", f"{root}/proc")
            stack.callback(disk.unmount, f"{root}/proc")
            subprocess.run(["chroot", root, "/usr/sbin/husk", "ticket"], preexec_fn=host.enter, check=True,
                           stdout=subprocess.DEVNULL)
            return json.loads(kept.read_text())

    def on_taps(self, cards):
        """The guest's cards, on TAP devices with these routers."""
        self.network = []
        for number, (router, _) in enumerate(cards):
            self.space.ip(router.replace("{}", f"tap{number}"))
            self.network += card(number)

    def configure(self, *texts):
        """What systemd-networkd is to do with each card."""
        with self.opened() as root:
            for number, text in enumerate(texts):
                path = pathlib.Path(root, f"etc/systemd/network/10-card{number}.network")
                path.write_text(f"[Match]\nMACAddress={MACS[number]}\n{text}")
                path.chmod(0o644)
