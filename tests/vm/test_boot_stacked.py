"""A server whose only way out is a VLAN on a bond of two cards: its boot makes both, as they were while the host ran.

A bridge joins its cards to that of a second guest, which has the VLAN too, and passes on to the authority what comes by it:
the kernel of the machine that runs the tests need know neither.
"""
# runs alone

import json
import unittest

import network
import network_guest
from guest import Guest
from network_guest import MACS, NetworkGuest, NetworkServer
from protected_guest import only_in_the_long_form
from root_guest import PATIENCE_S

PEER, OWN = "10.80.5.1", "10.80.5.2"
# For systemd-networkd.
CONFIGURED = {
    "10-cards.network": "[Match]\nType=ether\nKind=!*\n[Network]\nBond=bond0\n",
    "10-bond.netdev": "[NetDev]\nName=bond0\nKind=bond\n[Bond]\nMode=active-backup\nMIIMonitorSec=100ms\n",
    "10-bond.network": "[Match]\nName=bond0\n[Network]\nLinkLocalAddressing=no\nVLAN=bond0.5\n",
    "10-vlan.netdev": "[NetDev]\nName=bond0.5\nKind=vlan\n[VLAN]\nId=5\n",
    "10-vlan.network": f"[Match]\nName=bond0.5\n[Network]\nAddress={OWN}/24\nGateway={PEER}\n",
}
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
    called = socket.create_connection((there, port))
    for ends in (caller, called), (called, caller):
        threading.Thread(target=pump, args=ends, daemon=True).start()
"""


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
            for name, text in CONFIGURED.items():
                with open(f"{root}/etc/systemd/network/{name}", "w", encoding="ascii") as file:
                    file.write(text)
            run("chmod 644 /etc/systemd/network/*; update-initramfs -u -k all")
        self.take_initramfs()


def start_peer(space, port):
    space.ip("link add bridge type bridge\nlink set bridge up\ntuntap add tap2 mode tap\nlink set tap2 up\n"
             "link set tap0 master bridge\nlink set tap1 master bridge\nlink set tap2 master bridge\n")
    peer = unittest.enterModuleContext(Guest("peer", memory_mb=256, network=network_guest.card(2) +
                                             ["-nic", "user,model=virtio-net-pci"]))
    peer.enter = space.enter
    peer.start(PATIENCE_S)
    peer.check(f"""
        modprobe 8021q
        card=$(basename $(dirname $(grep -l {MACS[2]} /sys/class/net/*/address)))
        ip link set $card up
        ip link add link $card name lan type vlan id 5
        ip address add {PEER}/24 dev lan
        ip link set lan up""")
    peer.check(f"cat >/root/relay; setsid python3 /root/relay {PEER} {network.HUB} {port} >/root/told 2>&1 &\n"
               "until test -s /root/told; do sleep 1; done; grep listening /root/told", PATIENCE_S, stdin=RELAY.encode())


def setUpModule():
    only_in_the_long_form()
    space = unittest.enterModuleContext(network_guest.space())
    StackedTest.guest = guest = unittest.enterModuleContext(StackedGuest("stacked", space))
    guest.prepare()
    guest.configure()
    guest.network = network_guest.card(0) + network_guest.card(1)
    start_peer(space, guest.server.port)


class StackedTest(unittest.TestCase):
    guest = None

    def test_a_vlan_on_a_bond(self):
        guest = self.guest
        self.addCleanup(guest.kill)
        # Nothing is recorded yet, and there is no DHCP.
        guest.boot()
        guest.prompted()
        guest.type_recovery_key()
        guest.is_opened("its recovery key")
        guest.check("until grep -q '\"vlan\"' /.husk/network.json; do sleep 1; done; husk check --boot", PATIENCE_S)
        guest.power_off()

        guest.boots()
        self.assertNotIn("trying DHCP", guest.console.text())
        guest.check("until networkctl --no-legend list bond0.5 | grep -qw configured; do sleep 1; done", PATIENCE_S)
        addresses = {link["ifname"]: [a["local"] for a in link["addr_info"]]
                     for link in json.loads(guest.check("ip -json -4 address show scope global")) if link["addr_info"]}
        self.assertEqual(addresses, {"bond0.5": [OWN]})
        self.assertEqual(guest.check("ip -json link show master bond0 | grep -o '\"ifname\"' | wc -l"), "2\n")
        guest.check("husk check --boot")


if __name__ == "__main__":
    unittest.main(verbosity=2)
