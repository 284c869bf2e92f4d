"""A server opens its root over the network its provider gives it, as it was while the host ran, or as it is since. Afterwards
the system's own configuration has the cards.

While the host "runs", husk records the network of a namespace with cards like the guest's: so only those cases boot to their
end that look at what comes after.
"""
# runs alone

import json
import socket
import struct
import threading
import time
import unittest

import network_guest
from network_guest import MACS, NetworkGuest
from protected_guest import LONG, unless_missing
from root_guest import PATIENCE_S

LATE_S = 30

# For each card what its router has, and what the host has; as ip(8) sets it up. {} is the device.
STATIC = [("address add 10.78.1.1/24 dev {}\n",
           "link set {} mtu 1450\naddress add 10.78.1.2/24 dev {}\nroute add default via 10.78.1.1\n")]
OFF_SUBNET = [("address add 172.31.1.1/32 dev {}\nroute add 10.78.2.2/32 dev {}\n",
               "address add 10.78.2.2/32 dev {}\nroute add 172.31.1.1 dev {}\nroute add default via 172.31.1.1 dev {}\n")]
SIX = [("address add fe80::1/64 dev {} nodad\naddress add fd78::1/64 dev {} nodad\n",
        "address add fd78::2/64 dev {} nodad\nroute add ::/0 via fe80::1 dev {}\n")]
# A private network without a way out, and the one that leads to the authority.
TWO = [("address add 10.79.1.1/24 dev {}\n", "address add 10.79.1.2/24 dev {}\n"), *OFF_SUBNET]

only_long = unittest.skipUnless(LONG, "only in the long form")


def setUpModule():
    unless_missing()
    NetworksTest.space = space = unittest.enterModuleContext(network_guest.space())
    NetworksTest.guest = guest = unittest.enterModuleContext(NetworkGuest("networks", space))
    guest.prepare()
    guest.keep()


class NetworksTest(unittest.TestCase):
    guest = space = None

    def setUp(self):
        self.guest.put_back()
        self.addCleanup(self.guest.kill)

    def opens(self):
        """By itself, over what was recorded."""
        self.guest.boot()
        self.guest.expect("vault root is open, by its authority")
        self.assertNotIn("trying DHCP", self.guest.console.text())
        self.guest.expect("the root is open")

    def is_its_own(self, number, *addresses, gateway=None):
        """networkd has the card, with these addresses and no others, and the route is networkd's."""
        guest = self.guest
        card = guest.check(f"basename $(dirname $(grep -l {MACS[number]} /sys/class/net/*/address))").strip()
        guest.check(f"until networkctl --no-legend list {card} | grep -qw configured; do sleep 1; done", PATIENCE_S)
        (link,) = json.loads(guest.check(f"ip -json -4 address show dev {card} scope global"))
        self.assertEqual([f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"]], list(addresses))
        routes = json.loads(guest.check(f"ip -json -4 route show default dev {card}"))
        self.assertEqual([(route["gateway"], route["protocol"]) for route in routes], [(gateway, "static")] if gateway else [])
        return link

    def then_it_is_the_systems(self, family, address, gateway):
        """As is_its_own, of either family, once the system runs: what husk had set as well came and went."""
        guest = self.guest
        guest.wait_ready(PATIENCE_S)
        card = guest.check(f"basename $(dirname $(grep -l {MACS[0]} /sys/class/net/*/address))").strip()
        guest.check(f"until networkctl --no-legend list {card} | grep -qw configured; do sleep 1; done", PATIENCE_S)
        (link,) = json.loads(guest.check(f"ip -json {family} address show dev {card} scope global"))
        # ip(8) leaves an empty object for an address of another scope.
        self.assertEqual([f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"] if a], [address])
        routes = json.loads(guest.check(f"ip -json {family} route show default dev {card}"))
        self.assertEqual([(route["gateway"], route["protocol"]) for route in routes], [(gateway, "static")])

    @only_long
    def test_static_with_an_mtu_of_1450_and_then_the_systems_own(self):
        guest = self.guest
        recorded = guest.record(STATIC)
        self.assertEqual((recorded["links"][0]["mtu"], recorded["links"][0]["mac"]), (1450, MACS[0]))
        guest.configure("[Network]\nAddress=10.78.1.2/24\nGateway=10.78.1.1\n")
        guest.on_taps(STATIC)
        with Segments(self.space, "tap0", "10.78.1.2") as segments:
            self.opens()
        self.assertEqual(segments.sizes, {1450 - 40})
        guest.wait_ready(PATIENCE_S)
        # husk took its MTU off again with all else, and the system asks for none.
        self.assertEqual(self.is_its_own(0, "10.78.1.2/24", gateway="10.78.1.1")["mtu"], 1500)

    def test_a_single_address_whose_gateway_is_off_its_subnet(self):
        self.guest.record(OFF_SUBNET)
        self.guest.configure("[Network]\nAddress=10.78.2.2/32\n[Route]\nGateway=172.31.1.1\nGatewayOnLink=yes\n")
        self.guest.on_taps(OFF_SUBNET)
        self.opens()
        self.then_it_is_the_systems("-4", "10.78.2.2/32", "172.31.1.1")

    @only_long
    def test_two_cards_and_then_the_systems_own(self):
        guest = self.guest
        recorded = guest.record(TWO)
        self.assertEqual([link["addresses"] for link in recorded["links"]], [["10.79.1.2/24"], ["10.78.2.2"]])
        guest.configure("[Network]\nAddress=10.79.1.2/24\n",
                        "[Network]\nAddress=10.78.2.2/32\n[Route]\nGateway=172.31.1.1\nGatewayOnLink=yes\n")
        guest.on_taps(TWO)
        self.opens()
        guest.wait_ready(PATIENCE_S)
        self.is_its_own(0, "10.79.1.2/24")
        self.is_its_own(1, "10.78.2.2/32", gateway="172.31.1.1")

    @only_long
    def test_a_network_that_changed_since(self):
        """What was recorded leads nowhere any more, and no router tells of another way: DHCP does, and that is recorded."""
        guest = self.guest
        guest.record(STATIC)
        guest.network = ["-nic", f"user,model=virtio-net-pci,mac={MACS[0]},ipv6=off"]
        guest.boot()
        guest.expect("trying DHCP")
        guest.is_opened()
        guest.check("until grep -q 10.0.2.15/24 /.husk/network.json; do sleep 1; done; ! grep 10.78 /.husk/network.json",
                    PATIENCE_S)
        self.assertEqual(guest.check("ip -json -4 address show scope global | grep -o 10.78 || true"), "")
        guest.power_off()
        self.opens()

    @only_long
    def test_ipv6_alone(self):
        """The link's own address is still being looked for by others (DAD) when the boot begins to ask."""
        recorded = self.guest.record(SIX)
        self.assertEqual(recorded["links"][0]["addresses"], ["fd78::2/64"])
        self.guest.configure("[Network]\nAddress=fd78::2/64\nGateway=fe80::1\nIPv6AcceptRA=no\n")
        self.guest.on_taps(SIX)
        self.opens()
        self.then_it_is_the_systems("-6", "fd78::2/64", "fe80::1")

    @only_long
    def test_a_link_that_is_up_late(self):
        """Later than husk waits for it: what was recorded is on the card all the same."""
        guest = self.guest
        guest.record(OFF_SUBNET)
        guest.on_taps(OFF_SUBNET)
        guest.boot()
        guest.monitor("set_link", {"name": "card0", "up": False})
        guest.expect("a network card has no carrier")
        time.sleep(LATE_S)
        self.assertNotIn("is open", guest.console.text())
        guest.monitor("set_link", {"name": "card0", "up": True})
        guest.expect("vault root is open, by its authority")
        self.assertNotIn("trying DHCP", guest.console.text())


class Segments:
    """The sizes of segments that TCP asks for in what comes in from an address at a device, while it is open."""

    def __init__(self, space, device, address):
        self.sizes, self._from = set(), socket.inet_aton(address)
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
            if packet[9] == socket.IPPROTO_TCP and tcp[13] & 0x12 == 2 and packet[12:16] == self._from:
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
