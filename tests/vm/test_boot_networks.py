"""A server opens its root over the network its provider gives it, as it was while the host ran; and by DHCP where that is not
there any more. Afterwards the system's own configuration has the cards.

Guest, authority and the routers between them are in a network namespace, on TAP devices. Each test configures the running
guest anew, lets the agent record that, and reboots, in the order of their names.
"""
# runs alone

import json
import socket
import struct
import threading
import time
import unittest

import husk
import network
from protected_guest import ProtectedGuest, Server, only_in_the_long_form
from root_guest import PATIENCE_S

HUB_6 = "fd77::1"
CARDS = {"tap0": "52:54:00:77:00:01", "tap1": "52:54:00:77:00:02"}
HAND_MADE = "/etc/systemd/network/10-{}.network"


class NetworkServer(Server):
    """At addresses of the namespace, which every router of it knows."""
    namespace = None

    def init(self):
        self.words = ["--listen", f"{network.HUB}:{self.port}", "--listen", f"[{HUB_6}]:{self.port}"]
        self.url = f"http://{network.HUB}:{self.port}"
        return super().init(f"http://[{HUB_6}]:{self.port}")

    def start(self, env=None, **options):
        return super().start(env, preexec_fn=self.namespace.enter, **options)


def tap(name):
    """A card on a TAP device of the namespace, for QEMU's command line."""
    return ["-netdev", f"tap,id={name},ifname={name},script=no,downscript=no",
            "-device", f"virtio-net-pci,id=card-{name},netdev={name},mac={CARDS[name]}"]


def setUpModule():
    only_in_the_long_form()
    space = unittest.enterModuleContext(network.Namespace(
        f"link set lo up\naddress add {network.HUB}/32 dev lo\naddress add {HUB_6}/128 dev lo nodad\n"
        "tuntap add tap0 mode tap\ntuntap add tap1 mode tap\nlink set tap0 up\nlink set tap1 up\n"))
    NetworkServer.namespace = NetworksTest.space = space
    NetworksTest.guest = guest = unittest.enterModuleContext(NetworkGuest("networks"))
    guest.enter = space.enter
    guest.prepare()


class NetworkGuest(ProtectedGuest):
    server_class = NetworkServer

    def enrol(self, root, server):
        token = self.scratch / "token"
        token.write_text(server.token())
        husk.ok("enroll", server.url, "--token-file", token, "--name", "web-1", "--at", root,
                preexec_fn=NetworkServer.namespace.enter)

    def plug(self, name):
        """A further card while it runs."""
        self.monitor("netdev_add", {"type": "tap", "id": name, "ifname": name, "script": "no", "downscript": "no"})
        self.monitor("device_add", {"driver": "virtio-net-pci", "id": f"card-{name}", "netdev": name, "mac": CARDS[name]})
        self.check(f"until grep -l {CARDS[name]} /sys/class/net/*/address; do sleep 0.3; done")

    def configure(self, name, text, recorded):
        """A card as networkd has it from now on; until what is recorded shows these words."""
        path = HAND_MADE.format(name)
        self.check(f"cat >{path}; networkctl reload; c=$(basename $(dirname $(grep -l {CARDS[name]} /sys/class/net/*/address)));"
                   "networkctl reconfigure $c", stdin=f"[Match]\nMACAddress={CARDS[name]}\n{text}".encode())
        self.check("for n in $(seq 600); do systemctl restart husk-agent; sleep 2; "
                   + " && ".join(f"grep -qF '{word}' /.husk/network.json" for word in recorded)
                   + " && exit; done; cat /.husk/network.json; ip addr; exit 1", PATIENCE_S)

    def card(self, name):
        return self.check(f"basename $(dirname $(grep -l {CARDS[name]} /sys/class/net/*/address))").strip()


class NetworksTest(unittest.TestCase):
    guest = space = None

    def opens(self, by_dhcp=False):
        """It opened by itself; over what was recorded, or with the second way."""
        self.guest.is_opened()
        said = self.guest.console.text().split("husk:", 1)[1]
        self.assertEqual("trying DHCP" in said, by_dhcp)

    def is_its_own(self, name, *addresses, gateway=None, family="-4"):
        """networkd has the card, with these addresses and no others, and the route is networkd's."""
        guest = self.guest
        card = guest.card(name)
        guest.check(f"until networkctl --no-legend list {card} | grep -qw configured; do sleep 1; done", PATIENCE_S)
        told = json.loads(guest.check(f"ip -json {family} address show dev {card} scope global"))
        self.assertEqual([f"{a['local']}/{a['prefixlen']}" for a in told[0]["addr_info"]], list(addresses))
        routes = json.loads(guest.check(f"ip -json {family} route show default dev {card}"))
        if gateway:
            self.assertEqual([(route["gateway"], route["protocol"]) for route in routes], [(gateway, "static")])
        else:
            self.assertEqual(routes, [])

    def test_1_an_address_that_changed_since_the_last_run_by_dhcp(self):
        guest = self.guest
        guest.network = ["-nic", "user,model=virtio-net-pci"]
        guest.boot()
        self.opens(by_dhcp=True)
        guest.check("until grep -qF 10.0.2.15/24 /.husk/network.json; do sleep 1; done", PATIENCE_S)
        guest.power_off()
        guest.network = ["-nic", "user,model=virtio-net-pci,net=10.0.9.0/24"]
        guest.boot()
        self.opens(by_dhcp=True)
        self.assertIn("10.0.9.15/24", guest.check("ip -br -4 addr show scope global"))
        self.assertNotIn("10.0.2.", guest.check("ip -4 addr; ip route"))
        guest.check("until grep -qF 10.0.9.15/24 /.husk/network.json; do sleep 1; done", PATIENCE_S)

    def test_2_static(self):
        guest = self.guest
        self.space.ip("address add 10.78.1.1/24 dev tap0\n")
        guest.plug("tap0")
        guest.configure("tap0", "[Network]\nAddress=10.78.1.2/24\nGateway=10.78.1.1\n", ["10.78.1.2/24", "10.78.1.1"])
        guest.power_off()
        guest.network = tap("tap0")
        guest.boot()
        self.opens()
        self.is_its_own("tap0", "10.78.1.2/24", gateway="10.78.1.1")

    def test_3_a_single_address_whose_gateway_is_off_its_subnet(self):
        guest = self.guest
        self.space.ip("address flush dev tap0\naddress add 172.31.1.1/32 dev tap0\nroute add 10.78.2.2/32 dev tap0\n")
        guest.configure("tap0", "[Network]\nAddress=10.78.2.2/32\n[Route]\nGateway=172.31.1.1\nGatewayOnLink=yes\n",
                        ["10.78.2.2/32", "172.31.1.1"])
        guest.power_off()
        guest.boot()
        self.opens()
        self.is_its_own("tap0", "10.78.2.2/32", gateway="172.31.1.1")

    def test_4_ipv6_alone(self):
        """The link's own address is still being looked for by others (DAD) when the boot begins to ask."""
        guest = self.guest
        self.space.ip("route del 10.78.2.2/32 dev tap0\naddress flush dev tap0\naddress add fe80::1/64 dev tap0 nodad\n"
                      "address add fd78::1/64 dev tap0 nodad\n")
        guest.configure("tap0", "[Network]\nAddress=fd78::2/64\nGateway=fe80::1\nIPv6AcceptRA=no\nLinkLocalAddressing=ipv6\n",
                        ["fd78::2/64", "fe80::1"])
        self.assertNotIn("10.78", guest.check("cat /.husk/network.json"))
        guest.power_off()
        guest.boot()
        self.opens()
        self.is_its_own("tap0", "fd78::2/64", gateway="fe80::1", family="-6")
        self.assertEqual(guest.check("ip -4 -br addr show scope global").strip(), "")

    def test_5_two_cards_with_the_authority_behind_the_second(self):
        guest = self.guest
        self.space.ip("address flush dev tap0\naddress add 10.78.3.1/24 dev tap0\naddress add 10.78.4.1/24 dev tap1\n")
        guest.plug("tap1")
        guest.configure("tap0", "[Network]\nAddress=10.78.3.2/24\n", ["10.78.3.2/24"])
        guest.configure("tap1", "[Network]\nAddress=10.78.4.2/24\nGateway=10.78.4.1\n", ["10.78.3.2/24", "10.78.4.2/24"])
        guest.power_off()
        guest.network = tap("tap0") + tap("tap1")
        guest.boot()
        self.opens()
        self.is_its_own("tap0", "10.78.3.2/24")
        self.is_its_own("tap1", "10.78.4.2/24", gateway="10.78.4.1")

    def test_6_an_mtu_of_1450(self):
        guest = self.guest
        guest.configure("tap1", "[Link]\nMTUBytes=1450\n[Network]\nAddress=10.78.4.2/24\nGateway=10.78.4.1\n",
                        ["\"mtu\":1450"])
        guest.power_off()
        with Segments(self.space, "tap1") as segments:
            guest.boot()
            guest.expect("vault root is open, by its authority")
        self.assertEqual(segments.sizes, {1450 - 40})
        guest.wait_ready(PATIENCE_S)
        self.assertEqual(guest.check(f"cat /sys/class/net/{guest.card('tap1')}/mtu").strip(), "1450")

    def test_7_a_link_that_is_up_late(self):
        """Later than husk waits for it: what was recorded is on the card all the same."""
        guest = self.guest
        guest.power_off()
        guest.boot()
        for name in "tap0", "tap1":
            guest.monitor("set_link", {"name": f"card-{name}", "up": False})
        guest.prompted()
        guest.expect("carrier")
        time.sleep(30)
        self.assertNotIn("is open", guest.console.text())
        for name in "tap0", "tap1":
            guest.monitor("set_link", {"name": f"card-{name}", "up": True})
        guest.is_opened()
        self.is_its_own("tap1", "10.78.4.2/24", gateway="10.78.4.1")
        guest.power_off()


class Segments:
    """The sizes of segments that TCP asks for in what comes in at a device, while it is open."""

    def __init__(self, space, device):
        self.sizes = set()
        self._stop = False
        opened = threading.Thread(target=self._open, args=(space, device))
        opened.start()
        opened.join()
        self._thread = threading.Thread(target=self._read)

    def _open(self, space, device):
        space.enter()  # of this thread alone
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        self._socket.bind((device, 0x0800))
        self._socket.settimeout(0.2)

    def _read(self):
        while not self._stop:
            try:
                packet = self._socket.recv(65536)
            except TimeoutError:
                continue
            header = 4 * (packet[0] & 15)
            tcp = packet[header:]
            if packet[9] == socket.IPPROTO_TCP and tcp[13] & 0x12 == 2 and packet[12:16] == bytes([10, 78, 4, 2]):
                self.sizes.update(self._maximum(tcp[20:4 * (tcp[12] >> 4)]))

    @staticmethod
    def _maximum(options):
        while options and options[0] != 0:
            if options[0] == 2:
                yield struct.unpack("!H", options[2:4])[0]
            options = options[1:] if options[0] == 1 else options[max(options[1], 2):]

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop = True
        self._thread.join()
        self._socket.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
