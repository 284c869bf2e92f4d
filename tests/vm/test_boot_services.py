"""What servers run works on an encrypted root, on a machine of 512 MB: PostgreSQL, nginx, SSH, cron, a container, users and
their ACLs. They are installed and have their data before the root is converted; then husk is upgraded.
"""
# runs alone

import os
import pathlib
import subprocess
import tempfile
import unittest

import husk
from protected_guest import ProtectedGuest, apt_install, only_in_the_long_form
from root_guest import PATIENCE_S

PACKAGES = ["postgresql", "nginx-light", "openssh-server", "openssh-client", "cron", "podman", "crun", "busybox-static"]
DATABASE = "postgresql@15-main"
SETUP = f"""
    useradd -m worker; useradd -m guest; useradd -m stranger
    echo 'for the worker and the guest' >/srv/shared; chown worker: /srv/shared; chmod 600 /srv/shared
    setfacl -m u:guest:r /srv/shared
    install -d -m 700 -o worker -g worker ~worker/.ssh
    ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
    install -m 600 -o worker -g worker /root/.ssh/id_ed25519.pub ~worker/.ssh/authorized_keys
    echo '<p>served</p>' >/var/www/html/husk.html
    echo '* * * * * root date +%s >>/var/lib/cron-was-here' >/etc/cron.d/was-here
    # Emulated, they are slow to start.
    for unit in {DATABASE} nginx ssh; do
        mkdir -p /etc/systemd/system/$unit.service.d
        printf '[Service]\\nTimeoutStartSec=1200\\n' >/etc/systemd/system/$unit.service.d/slow.conf
    done
    printf "pg_ctl_options = '-t 1200'\\n" >/etc/postgresql/15/main/pg_ctl.conf
"""
BOX = """
    mkdir -p /root/box/bin; cp /bin/busybox /root/box/bin/; ln -sf busybox /root/box/bin/sh
    tar -C /root/box -c . | podman import - box >/dev/null
"""


def setUpModule():
    only_in_the_long_form()
    ServicesTest.guest = guest = unittest.enterModuleContext(ProtectedGuest("services", memory_mb=512))

    def furnish(root, run):
        apt_install(root, run, PACKAGES)
        os.makedirs(f"{root}/root/.ssh", 0o700, exist_ok=True)
        run(SETUP)

    guest.prepare(furnish=furnish)


class ServicesTest(unittest.TestCase):
    guest = None

    def sql(self, statement):
        return self.guest.check("cd /; su postgres -c 'psql -Atq'", PATIENCE_S, statement.encode()).strip()

    def all_works(self):
        guest = self.guest
        guest.check(f"until systemctl is-active --quiet {DATABASE} nginx ssh cron; do "
                    f"! systemctl is-failed {DATABASE} nginx ssh cron || exit 1; sleep 2; done", PATIENCE_S)
        self.assertEqual(self.sql("select 6 * 7"), "42")
        self.assertEqual(guest.check("python3 -c 'import urllib.request as r; "
                                     "print(r.urlopen(\"http://127.0.0.1/husk.html\").read().decode())'").strip(), "<p>served</p>")
        self.assertEqual(guest.check("ssh -o StrictHostKeyChecking=no -o BatchMode=yes -o ConnectTimeout=300 "
                                     "worker@127.0.0.1 'id -un; pwd'", PATIENCE_S), "worker\n/home/worker\n")
        for user, reads in ("worker", True), ("guest", True), ("stranger", False):
            self.assertEqual(guest.run(f"setpriv --reuid {user} --regid {user} --init-groups cat /srv/shared").status == 0, reads, user)
        self.assertEqual(guest.check("podman run --rm --network none box /bin/sh -c 'echo in the box; echo x >/new; cat /new'",
                                     PATIENCE_S), "in the box\nx\n")
        guest.check("rm -f /var/lib/cron-was-here; until test -s /var/lib/cron-was-here; do sleep 3; done", PATIENCE_S)

    def test_1_they_work_after_the_conversion(self):
        guest = self.guest
        guest.boots()
        guest.check(BOX, PATIENCE_S)
        self.sql("create table kept (n integer); insert into kept select generate_series(1, 1000)")
        self.all_works()
        guest.check("husk protect --root --commit --skip-free-space; test ! -e /.husk/plaintext/root", PATIENCE_S)
        self.all_works()

    def test_2_husk_is_upgraded_and_they_work_after_the_boot(self):
        guest = self.guest
        with tempfile.TemporaryDirectory() as work:
            tree = pathlib.Path(work) / "tree"
            subprocess.run(["dpkg-deb", "-R", guest.package, tree], check=True)
            control = tree / "DEBIAN" / "control"
            old = husk.run("--version").out.split()[1]
            control.write_text(control.read_text().replace(f"Version: {old}", f"Version: {old}+next", 1))
            subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, f"{work}/next.deb"], check=True, stdout=subprocess.DEVNULL)
            guest.put(f"{work}/next.deb", "/root/next.deb")
        guest.check("dpkg -i /root/next.deb", PATIENCE_S)
        self.assertIn("+next", guest.check("dpkg-query -W -f '${Version}' husk"))
        guest.check("systemctl is-active husk-agent; husk status --json | grep '\"state\":\"unlocked\"'")
        guest.power_off()
        guest.take_initramfs()
        guest.boots()
        self.assertEqual(self.sql("select count(*), sum(n) from kept"), "1000|500500")
        self.all_works()
        guest.power_off()


if __name__ == "__main__":
    unittest.main(verbosity=2)
