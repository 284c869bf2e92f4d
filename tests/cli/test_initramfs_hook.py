"""The hook of initramfs-tools, on a root of the test's own: where it takes along what VLANs and bonds need."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import husk

HOOK = pathlib.Path(husk.ROOT, "packaging", "initramfs", "hook")
# Where the hook looks, and what it calls by a path.
PLACES = ("/usr/share/initramfs-tools/hook-functions", "/usr/sbin/husk", "/.husk/", "/etc/network", "/etc/netplan",
          "/etc/systemd/network", "/etc/NetworkManager", "/sys/class/net", "/boot/config-", "/lib/modules/")
FUNCTIONS = """
manual_add_modules() { printf '%s\\n' "$@" >>"$DESTDIR/modules"; }
copy_exec() { mkdir "$DESTDIR$2" && cp "$1" "$DESTDIR$2"; }
prepend_earlyinitramfs() { cp "$1" "$DESTDIR/mark"; }
"""
PROGRAMS = {
    "modprobe": "case $* in *--resolve-alias*) echo some ;; esac",
    "cpio": 'read -r name && cat "$name"',
}
# As installers, cloud-init and Debian's packages write them.
PLAIN = {
    ".husk/network.json": '{"version":1,"links":[{"name":"eth0","mac":"52:54:00:00:00:01","mtu":1500}]}',
    "etc/network/interfaces": "source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n\n"
                              "allow-hotplug ens3\niface ens3 inet static\n\taddress 192.0.2.10/24\n\tgateway 192.0.2.1\n",
    "etc/network/interfaces.d/50-cloud-init": "auto eth0\niface eth0 inet dhcp\n\nauto eth0:0\niface eth0:0 inet6 dhcp\n",
    "etc/netplan/50-cloud-init.yaml": "network:\n  version: 2\n  ethernets:\n    eth0:\n      dhcp4: true\n",
    "etc/NetworkManager/system-connections/Wired.nmconnection":
        "[connection]\nid=Wired\ntype=ethernet\n\n[ipv4]\nmethod=auto\n",
    "etc/systemd/network/10-eth0.network": "[Match]\nName=eth0\n\n[Network]\nDHCP=yes\n",
    "sys/class/net/eth0/uevent": "INTERFACE=eth0\nIFINDEX=2\n",
    "sys/class/net/br0/uevent": "DEVTYPE=bridge\nINTERFACE=br0\nIFINDEX=3\n",
    "sys/class/net/wlan0/uevent": "DEVTYPE=wlan\nINTERFACE=wlan0\nIFINDEX=4\n",
}
STACKED = {
    "a VLAN that husk recorded": (
        ".husk/network.json", '{"version":1,"links":[{"name":"v5","mac":"52:54:00:00:00:01","kind":"vlan","id":5}]}'),
    "a VLAN of ifupdown": (
        "etc/network/interfaces", "auto v5\niface v5 inet static\n\taddress 192.0.2.10/24\n\tvlan-raw-device eth0\n"),
    "a VLAN of ifupdown by its name alone": ("etc/network/interfaces", "auto eth0.5\niface eth0.5 inet dhcp\n"),
    "a bond of ifupdown": (
        "etc/network/interfaces.d/uplink", "auto uplink\niface uplink inet dhcp\n\tbond-slaves eth0 eth1\n"),
    "VLANs of netplan": ("etc/netplan/60-five.yaml", "network:\n  vlans:\n    five: {id: 5, link: eth0, dhcp4: true}\n"),
    "a bond of netplan": ("etc/netplan/60-up.yaml", "network:\n  bonds:\n    up: {interfaces: [eth0, eth1], dhcp4: true}\n"),
    "a VLAN of NetworkManager": ("etc/NetworkManager/system-connections/five.nmconnection",
                                 "[connection]\nid=five\ntype=vlan\ninterface-name=five\n"),
    "a bond of NetworkManager": ("etc/NetworkManager/system-connections/up.nmconnection",
                                 "[connection]\nid=up\ntype=bond\ninterface-name=up\n"),
    "a VLAN of networkd": ("etc/systemd/network/five.netdev", "[NetDev]\nName=five\nKind=vlan\n"),
    "a bond of networkd": ("etc/systemd/network/up.netdev", "[NetDev]\nName=up\nKind=bond\n"),
    "a card of networkd that carries a VLAN": (
        "etc/systemd/network/10-eth0.network.d/five.conf", "[Network]\nVLAN=five\n"),
    "a VLAN that is there": ("sys/class/net/five/uevent", "DEVTYPE=vlan\nINTERFACE=five\nIFINDEX=5\n"),
    "a bond that is there": ("sys/class/net/up/uevent", "DEVTYPE=bond\nINTERFACE=up\nIFINDEX=6\n"),
}
NEEDED = {"8021q", "bonding"}


class StackedLinksTest(unittest.TestCase):
    def build(self, files):
        """(the modules it takes along, what its mark says) on a root with these files."""
        with tempfile.TemporaryDirectory(prefix="husk-test-") as directory:
            root = pathlib.Path(directory, "root")
            image = pathlib.Path(directory, "image")
            image.mkdir()

            def write(name, text):
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="ascii")
                path.chmod(0o755)

            script = HOOK.read_text(encoding="ascii")
            for place in PLACES:
                self.assertIn(place, script)
                script = script.replace(place, f"{root}{place}")
            write("usr/share/initramfs-tools/hook-functions", FUNCTIONS)
            write("usr/sbin/husk", "#!/bin/sh\n")
            for name, text in PROGRAMS.items():
                write(f"bin/{name}", f"#!/bin/sh\n{text}\n")
            for name, text in files.items():
                write(name, text)
            environment = {"PATH": f"{root}/bin:/usr/bin:/bin", "DESTDIR": str(image), "TMPDIR": directory,
                           "version": "6.1.0-1"}
            done = subprocess.run(["/bin/sh", "-c", script], env=environment, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stdout), (0, ""))
            self.assertEqual(sorted(os.listdir(directory)), ["image", "root"])
            modules = (image / "modules").read_text(encoding="ascii").split()
            self.assertIn("ext4", modules)
            return set(modules), json.loads((image / "mark").read_text(encoding="ascii"))

    def test_a_host_without_them_gets_neither_vlans_nor_bonds(self):
        for files in {}, PLAIN:
            modules, mark = self.build(files)
            self.assertEqual(modules & NEEDED, set())
            self.assertEqual((mark["kernel"], mark["stacked"]), ("6.1.0-1", False))

    def test_a_host_gets_both_wherever_one_of_them_is_told_of(self):
        for what, (name, text) in STACKED.items():
            with self.subTest(what):
                modules, mark = self.build({**PLAIN, name: text})
                self.assertEqual(modules & NEEDED, NEEDED)
                self.assertTrue(mark["stacked"])


if __name__ == "__main__":
    unittest.main()
