"""A rented server with the services of one is encrypted and goes on as before: GRUB reads its kernel from the root, which
grows with its disk; unattended upgrades of the kernel and of husk need nobody, nor does the reboot behind them.

One server, followed through its days: the tests run in the order of their names, each on what the one before left.
"""
# runs alone

import unittest

import disk
from protected_guest import only_in_the_long_form
from root_guest import PATIENCE_S
from server_guest import ServerGuest

GROWN = 1 << 30
# Before husk comes. A PostgreSQL of a single process needs no network and leaves nothing running.
FURNISH = r"""
for name in anna berta; do useradd --create-home --shell /bin/bash $name; done
mkdir -m 700 /srv/shared
echo 'Dear Anna' >/srv/shared/letter
setfacl --modify user:anna:rwx /srv/shared
setfacl --modify user:anna:rw /srv/shared/letter
ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
for name in anna berta; do
    install -D -o $name -g $name -m 600 /root/.ssh/id_ed25519.pub /home/$name/.ssh/authorized_keys
    chown $name:$name /home/$name/.ssh
done
echo 'Dear reader' >/var/www/html/index.html
echo '* * * * * root echo tick >>/srv/ticks' >/etc/cron.d/tick
server=$(echo /usr/lib/postgresql/*) cluster=$(echo /var/lib/postgresql/*/main)
printf 'create table letters (text text);\ninsert into letters values (%s);\n' "'Dear bank'" |
    su postgres -c "$server/bin/postgres --single -D $cluster \
        -c config_file=/etc/postgresql/${server##*/}/main/postgresql.conf postgres"
"""
# A container whose image is a busybox.
CONTAINER = r"""
set -e
cd /root && mkdir -p box/bin && cp /bin/busybox box/bin/ && tar -c -C box . | podman import --quiet - box
podman create --quiet --name letters --network none --volume /srv/box:/data box /bin/busybox sh -c \
    'echo again >>/kept; while :; do echo beat >>/data/beats; sleep 1; done'
cat >/etc/systemd/system/letters.service <<END
[Service]
ExecStart=/usr/bin/podman start --attach letters
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable --now letters
"""


def setUpModule():
    only_in_the_long_form()
    Day.guest = guest = unittest.enterModuleContext(ServerGuest("server"))
    Day.server = guest.server
    with guest.chroot() as (_, run):
        run(f"mkdir -p -m 700 /root/.ssh /srv/box\n{FURNISH}")
    guest.prepare()
    guest.grow(GROWN)


class Day(unittest.TestCase):
    guest = server = None

    def postgres(self, words):
        return self.guest.check(["su", "postgres", "-c", f"psql --no-align --tuples-only --command=\"{words}\""], PATIENCE_S)

    def anew(self, path):
        """Something writes there again."""
        self.guest.check(f"rm -f {path}; until test -s {path}; do sleep 1; done", PATIENCE_S)

    def as_user(self, name, script):
        return self.guest.run(["ssh", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes", f"{name}@127.0.0.1", script],
                              PATIENCE_S)

    def serves(self, letters):
        """All of its services, with what they had before."""
        guest = self.guest
        self.assertEqual(guest.check("systemctl is-system-running --wait || systemctl --failed --no-legend", PATIENCE_S),
                         "running\n")
        self.assertEqual(self.postgres("select text from letters"), letters)
        self.assertEqual(guest.check("exec 3<>/dev/tcp/127.0.0.1/80; printf 'GET / HTTP/1.0\r\n\r\n' >&3; tail -n 1 <&3"),
                         "Dear reader\n")
        self.assertEqual(self.as_user("anna", "cat /srv/shared/letter").stdout, b"Dear Anna\n")
        self.assertIn(b"Permission denied", self.as_user("berta", "cat /srv/shared/letter").stderr)
        self.anew("/srv/ticks")

    def is_open_by_its_authority(self):
        console = self.guest.console.text()
        self.assertIn("vault root is open, by its authority", console)
        self.assertNotIn("waiting for approval", console)


class Test1First(Day):
    def test_1_grub_reads_it_and_the_root_grows_with_its_disk(self):
        guest = self.guest
        guest.boot()
        guest.expect("Loading Linux")
        guest.expect("GROWROOT: CHANGED")
        guest.is_opened()
        self.assertEqual(guest.check("findmnt --noheadings --output SOURCE /").strip(), "/dev/vda1")
        blocks = int(guest.check("cat /sys/class/block/vda1/size"))
        self.assertGreater(blocks * 512, GROWN + (4 << 30) - (4 << 20))
        # As cloud-init does.
        guest.check("resize2fs /dev/vda1", PATIENCE_S)
        self.assertGreater(int(guest.check("stat --file-system --format=%b /")) * 4096, GROWN + (7 << 29))

    def test_2_its_services_serve(self):
        self.guest.check(CONTAINER, PATIENCE_S)
        self.serves("Dear bank\n")
        self.postgres("insert into letters values ('Dear Anna')")
        self.anew("/srv/box/beats")


class Test2Upgrades(Day):
    def put_later_husk(self):
        """A package above the one that is installed, whose husk does the same with other bytes."""
        guest = self.guest
        directory = guest.scratch / "later"
        disk.run("dpkg-deb", "--raw-extract", guest.package, directory)
        control = directory / "DEBIAN/control"
        lines = control.read_text().splitlines(keepends=True)
        control.write_text("".join(line.rstrip("\n") + "+later\n" if line.startswith("Version: ") else line for line in lines))
        with open(directory / "usr/sbin/husk", "ab") as program:
            program.write(b"later")
        disk.run("dpkg-deb", "--root-owner-group", "--build", directory, guest.scratch / "later.deb")
        guest.put(guest.scratch / "later.deb", "/root/later.deb")

    def test_1_every_image_gets_the_new_husk(self):
        guest = self.guest
        guest.check("DEBIAN_FRONTEND=noninteractive dpkg -i /root/upgrade/*.deb", PATIENCE_S)
        self.put_later_husk()
        guest.check("dpkg -i /root/later.deb", PATIENCE_S)
        told = guest.check("""
            set -e
            for image in /boot/initrd.img-*; do
                unmkinitramfs $image /root/image
                cmp /usr/sbin/husk $(find /root/image -path '*/sbin/husk')
                rm -r /root/image
                echo $image
            done""", PATIENCE_S)
        self.assertEqual(len(told.split()), 2)
        self.assertEqual(guest.check("tail -c 5 /usr/sbin/husk"), "later")
        guest.check("husk check --boot")

    def test_2_the_reboot_into_the_new_kernel_has_its_ticket(self):
        guest = self.guest
        self.server.admin("group set", "default", "--unlock", "ticket", "--ticket-ttl", "2h")
        running = guest.check("uname -r").strip()
        guest.reboot(PATIENCE_S)
        self.is_open_by_its_authority()
        kernel = guest.check("uname -r").strip()
        self.assertNotEqual(kernel, running)
        self.assertIn(f"Loading Linux {kernel}", guest.console.text())
        self.assertIn("gave a ticket", guest.check("journalctl -b -1 -u husk-ticket -o cat --no-pager"))

    def test_3_its_services_serve_again(self):
        self.serves("Dear bank\nDear Anna\n")
        # The container's own layer and what is mounted into it, of a start that nobody ordered.
        self.anew("/srv/box/beats")
        self.assertEqual(self.guest.check("podman exec letters /bin/busybox cat /kept"), "again\nagain\n")

    def test_4_its_filesystem_is_whole(self):
        self.guest.power_off(PATIENCE_S)
        with self.guest.device() as device:
            disk.run("e2fsck", "-fn", device)


if __name__ == "__main__":
    unittest.main(verbosity=2)
