"""A server whose only way out is a VLAN on a bond of two cards: its boot makes both, as they were while the host ran.

Each card is joined to one of a second guest, which has the same bond and VLAN, so that both speak LACP, and passes on to the
authority what comes by it: the kernel of the machine that runs the tests need know neither. test_network.py has a bond without
LACP.
"""
# runs alone

import json
import re
import unittest

import network
import network_guest
from guest import Guest
from network_guest import MACS, NetworkGuest, NetworkServer
from protected_guest import only_in_the_long_form
from root_guest import PATIENCE_S

PEER, OWN = "10.80.5.1", "10.80.5.2"
PEER_MAC = "52:54:00:77:00:05"  # of its bond
OPTIONS = {"mode": "802.3ad", "miimon": "100", "xmit_hash_policy": "layer3+4", "lacp_rate": "fast"}
# It tells of the bond at each call.
RELAY = """
import socket, sys, threading
def pump(source, sink):
    while data := source.recv(65536):
        sink.sendall(data)
    sink.shutdown(socket.SHUT_WR)
here, there, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
listening = socket.create_server((here, port))
print("listening", flush=True)
while True:
    caller, _ = listening.accept()
    with open("/proc/net/bonding/bond0") as bond:
        print(bond.read(), flush=True)
    called = socket.create_connection((there, port))
    for ends in (caller, called), (called, caller):
        threading.Thread(target=pump, args=ends, daemon=True).start()
"""
# Of the initramfs: keeps what the bond is there.
WATCH = """#!/bin/sh
[ "$1" != prereqs ] || exit 0
while test -e /proc/net; do
    test ! -e /proc/net/bonding/bond0 || cat /proc/net/bonding/bond0
    sleep 1
done >/run/bond-in-boot 2>/dev/null &
"""


def configured(numbers, address, bond="", vlan=""):
    """For systemd-networkd, which gives hosts of one image bonds of one MAC where it is not told another."""
    macs = " ".join(MACS[number] for number in numbers)
    return {
        "10-cards.network": f"[Match]\nPermanentMACAddress={macs}\n[Network]\nBond=bond0\n",
        "10-bond.netdev": f"[NetDev]\nName=bond0\nKind=bond\n{bond}[Bond]\nMode=802.3ad\nLACPTransmitRate=fast\n"
                          "TransmitHashPolicy=layer3+4\nMIIMonitorSec=100ms\n",
        "10-bond.network": "[Match]\nName=bond0\n[Network]\nLinkLocalAddressing=no\nVLAN=bond0.5\n",
        "10-vlan.netdev": "[NetDev]\nName=bond0.5\nKind=vlan\n[VLAN]\nId=5\n",
        "10-vlan.network": f"[Match]\nName=bond0.5\n[Network]\nAddress={address}/24\n{vlan}",
    }


# /proc/net/bonding begins so each time it is read.
HEAD = "Ethernet Channel Bonding Driver"
# Of the state of a port in LACP.
SHORT_TIMEOUT, IN_SYNC = 2, 8


def told_of(text, what):
    """What /proc/net/bonding says of that, once or for each port."""
    return re.findall(rf"^\s*{re.escape(what)}: (.*)$", text, re.MULTILINE)


class StackedServer(NetworkServer):
    def init(self):
        return super().init(f"http://{PEER}:{self.port}")


class StackedGuest(NetworkGuest):
    def server_class(self, directory):
        return StackedServer(directory, self.space)

    def configure(self):
        """And an initramfs that knows of it."""
        with self.chroot() as (root, run):
            self.unlock(root)
            for name, text in configured((0, 1), OWN, vlan=f"Gateway={PEER}\n").items():
                with open(f"{root}/etc/systemd/network/{name}", "w", encoding="ascii") as file:
                    file.write(text)
            watch = "etc/initramfs-tools/scripts/init-premount/watch"
            with open(f"{root}/{watch}", "w", encoding="ascii") as file:
                file.write(WATCH)
            run(f"chmod 755 /{watch}; chmod 644 /etc/systemd/network/*; update-initramfs -u -k all")
        self.take_initramfs()


def start_peer(space, port):
    space.ip("".join(f"tuntap add tap{number} mode tap\nlink set tap{number} up\n" for number in (2, 3)))
    space.join("tap0", "tap2")
    space.join("tap1", "tap3")
    peer = unittest.enterModuleContext(Guest("peer", memory_mb=256, network=network_guest.card(2) + network_guest.card(3) +
                                             ["-nic", "user,model=virtio-net-pci"]))
    peer.enter = space.enter
    peer.start(PATIENCE_S)
    for name, text in configured((2, 3), PEER, bond=f"MACAddress={PEER_MAC}\n").items():
        peer.check(f"cat >/etc/systemd/network/{name}", stdin=text.encode())
    peer.check("networkctl reload; until networkctl --no-legend list bond0.5 | grep -qw configured; do sleep 1; done", PATIENCE_S)
    peer.check(f"cat >/root/relay; setsid python3 /root/relay {PEER} {network.HUB} {port} >>/root/told 2>&1 &\n"
               "until test -s /root/told; do sleep 1; done; grep listening /root/told", PATIENCE_S, stdin=RELAY.encode())
    return peer


def setUpModule():
    only_in_the_long_form()
    space = unittest.enterModuleContext(network_guest.space())
    StackedTest.guest = guest = unittest.enterModuleContext(StackedGuest("stacked", space))
    guest.prepare()
    guest.configure()
    guest.network = network_guest.card(0) + network_guest.card(1)
    StackedTest.peer = start_peer(space, guest.server.port)


class StackedTest(unittest.TestCase):
    guest = peer = None

    def check_bond(self, text):
        """It is as configured and recorded."""
        self.assertEqual([told_of(text, what) for what in ("Bonding Mode", "Transmit Hash Policy", "LACP rate")],
                         [["IEEE 802.3ad Dynamic link aggregation"], ["layer3+4 (1)"], ["fast"]], text)
        self.assertEqual(sorted(told_of(text, "Permanent HW addr")), MACS[:2], text)

    def test_a_vlan_on_a_bond(self):
        guest = self.guest
        self.addCleanup(guest.kill)
        # Nothing is recorded yet, and there is no DHCP.
        guest.boot()
        guest.prompted()
        guest.type_recovery_key()
        guest.is_opened("its recovery key")
        guest.check("until grep -q '\"vlan\"' /.husk/network.json; do sleep 1; done; husk check --boot", PATIENCE_S)
        bond, vlan = json.loads(guest.check("cat /.husk/network.json"))["links"]
        self.assertEqual((bond["name"], bond["kind"], sorted(bond["ports"])), ("bond0", "bond", MACS[:2]))
        self.assertLessEqual(OPTIONS.items(), bond["options"].items())
        self.assertEqual((vlan["name"], vlan["kind"], vlan["parent"], vlan["id"]), ("bond0.5", "vlan", "bond0", 5))
        guest.power_off()

        self.peer.check(": >/root/told")
        guest.boots()
        self.assertNotIn("trying DHCP", guest.console.text())
        self.check_bond(guest.check("cat /run/bond-in-boot").rpartition(HEAD)[2])
        # The first who called was husk in the initramfs.
        called = self.peer.check("cat /root/told").split(HEAD)[1]
        self.assertEqual(told_of(called, "Partner Mac Address"), [bond["mac"]], called)
        states = [int(state) for state in told_of(called, "port state")[1::2]]  # the other side's
        self.assertTrue(any(state & SHORT_TIMEOUT and state & IN_SYNC for state in states), called)

        guest.check("until networkctl --no-legend list bond0.5 | grep -qw configured; do sleep 1; done", PATIENCE_S)
        guest.check("until grep -q 'Number of ports: 2' /proc/net/bonding/bond0; do sleep 1; done", PATIENCE_S)
        running = guest.check("cat /proc/net/bonding/bond0")
        self.check_bond(running)
        self.assertEqual(told_of(running, "Partner Mac Address"), [PEER_MAC], running)
        self.assertEqual(len(set(told_of(running, "Aggregator ID"))), 1, running)
        addresses = {link["ifname"]: [a["local"] for a in link["addr_info"]]
                     for link in json.loads(guest.check("ip -json -4 address show scope global")) if link["addr_info"]}
        self.assertEqual(addresses, {"bond0.5": [OWN]})
        guest.check("husk check --boot")


if __name__ == "__main__":
    unittest.main(verbosity=2)
