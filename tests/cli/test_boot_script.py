"""The script of the initramfs that runs husk boot: what it makes of its ends."""

import glob
import os
import shlex
import subprocess
import tempfile
import unittest

import husk

SCRIPT = os.path.join(husk.ROOT, "packaging", "initramfs", "local-bottom")
FUNCTIONS = 'panic() {\n    echo "panic: $*" >>"$LOG"\n}\n'
# Ends as the first line of a list tells, which it takes away; kills itself where that is a signal's name.
PROGRAM = """#!/bin/sh
PATH=/usr/bin:/bin
echo "husk $*" >>"$LOG"
read -r how <"$ENDS"
sed -i 1d "$ENDS"
case $how in
[0-9]*) exit "$how" ;;
*) kill -s "$how" $$ ;;
esac
"""
# What the script may use beside the shell's own: without busybox an initramfs has klibc's, among which is no rm.
NUKE = '#!/bin/sh\nexec /bin/rm -r "$@"\n'
PAUSE = '#!/bin/sh\necho "sleep $*" >>"$LOG"\n'
RUN = "husk boot --at {} --network --dhcp /scripts/husk-dhcp"


class BootScriptTest(unittest.TestCase):
    def setUp(self):
        self.directory = self.enterContext(tempfile.TemporaryDirectory(prefix="husk-test-"))
        self.root = self.path("root")
        os.makedirs(self.path("root/.husk/vaults"))
        with open(SCRIPT, encoding="ascii") as file:
            script = file.read()
        for there, content in ("/scripts/functions", FUNCTIONS), ("/sbin/husk", PROGRAM):
            self.assertIn(there, script)
            script = script.replace(there, self.write(os.path.basename(there), content))
        for there in "/run/net-", "/run/net6-", "/run/netplan/":
            self.assertIn(there, script)
        script = script.replace("/run/net", self.path("net"))
        self.write("script", script)
        os.mkdir(self.path("bin"))
        self.write("bin/sleep", PAUSE)
        self.write("bin/nuke", NUKE)

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, content):
        with open(self.path(name), "w", encoding="ascii") as file:
            file.write(content)
        os.chmod(self.path(name), 0o755)
        return self.path(name)

    def boot(self, *ends):
        """What happened, and what was said, where husk ends in these ways one after the other."""
        log = self.write("log", "")
        environment = dict(os.environ, rootmnt=self.root, LOG=log, PATH=self.path("bin"),
                           ENDS=self.write("ends", "".join(f"{end}\n" for end in ends)))
        done = subprocess.run(["/bin/sh", self.path("script")], env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout)
        with open(log, encoding="ascii") as file:
            return file.read().splitlines(), done.stdout

    def test_it_goes_on_when_all_is_open(self):
        self.assertEqual(self.boot(0), ([RUN.format(self.root)], ""))

    def test_it_runs_where_vaults_were_taken_from_husks_directory_and_not_without_that(self):
        os.rmdir(self.path("root/.husk/vaults"))
        self.assertEqual(self.boot(0), ([RUN.format(self.root)], ""))
        os.rmdir(self.path("root/.husk"))
        self.assertEqual(self.boot(), ([], ""))

    def test_a_shell_is_had_by_who_asked_for_it_and_then_husk_tries_again(self):
        run = RUN.format(self.root)
        shell = "panic: The root is not open. When this shell ends, husk tries again."
        self.assertEqual(self.boot(3, 3, 0)[0], [run, shell, run, shell, run])

    def test_no_other_end_gives_a_shell_or_boots_on(self):
        for end in 1, 2, 4, 5, 126, 127, "KILL", "SEGV":
            with self.subTest(end):
                log, said = self.boot(end, 0)
                self.assertEqual(log, [RUN.format(self.root), "sleep 5", RUN.format(self.root)])
                self.assertIn("husk boot failed", said)

    def test_failing_on_and_on_it_says_so_once_a_minute_at_most(self):
        log, said = self.boot(*[1] * 6, 3, 1, 0)
        pauses = [line for line in log if not line.startswith("husk")]
        self.assertEqual([line.split()[1] for line in pauses if line.startswith("sleep")],
                         ["5", "10", "20", "40", "60", "60", "5"])
        self.assertEqual(sum(line.startswith("panic") for line in pauses), 1)
        self.assertEqual(said.count("husk boot failed"), 7)

    def test_what_its_dhcp_leaves_for_others_goes_and_what_was_there_stays(self):
        """cloud-init and netplan would take it for the network of the host, the next run for a card that is set up."""
        os.mkdir(self.path("netplan"))
        kept = {"net-eth0.conf", "net6-eth0.conf", "netplan/eth0.yaml"}
        for name in kept:
            self.write(name, "DEVICE=eth0\n")
        made = "net-eth1.conf net-eth10.conf net-eth.conf net6-eth1.conf netplan/eth1.yaml netplan/eth.yaml"
        self.write("husk", PROGRAM.replace("read -r", f'(cd "${{LOG%/*}}" && touch {made})\nread -r', 1))
        for ends in (0,), (3, 0), ("KILL", 0):
            with self.subTest(ends):
                self.boot(*ends)
                found = glob.glob("net*", root_dir=self.directory) + glob.glob("netplan/*", root_dir=self.directory)
                self.assertEqual(set(found) - {"netplan"}, kept)


class DhcpScriptTest(unittest.TestCase):
    """What becomes of the name servers that husk boot had written down."""

    def servers_after(self, functions):
        with tempfile.TemporaryDirectory(prefix="husk-test-") as directory:
            with open(os.path.join(husk.ROOT, "packaging", "initramfs", "dhcp"), encoding="ascii") as file:
                script = file.read()
            for there in "/scripts/functions", "/conf/initramfs.conf", "/run/net-", "/etc/resolv.conf":
                self.assertIn(there, script)
                script = script.replace(there, os.path.join(directory, os.path.basename(there)))
            for name, text in ("functions", functions), ("resolv.conf", "nameserver 192.0.2.1\n"):
                with open(os.path.join(directory, name), "w", encoding="ascii") as file:
                    file.write(text)
            subprocess.run(["/bin/sh", "-c", script], cwd=directory, check=True)
            with open(os.path.join(directory, "resolv.conf"), encoding="ascii") as file:
                return file.read().split("\n")[:-1]

    def test_those_that_were_recorded_stay_where_it_brings_none(self):
        for found in ":", "echo \"DEVICE=eth0 IPV4DNS0=0.0.0.0 IPV4DNS1=''\" >net-eth0.conf":
            with self.subTest(found):
                self.assertEqual(self.servers_after(f"configure_networking() {{ {found}; }}\n"), ["nameserver 192.0.2.1"])

    def test_those_of_every_card_are_taken(self):
        told = "echo 'IPV4DNS0=198.51.100.1 IPV4DNS1=0.0.0.0' >net-a.conf; echo 'IPV4DNS0=198.51.100.2 IPV4DNS1=198.51.100.3' >net-b.conf"
        self.assertEqual(self.servers_after(f"configure_networking() {{ {told}; }}\n"),
                         [f"nameserver 198.51.100.{last}" for last in (1, 2, 3)])


class TicketTest(unittest.TestCase):
    """What husk-ticket.service does when it is stopped, by the jobs there are then."""

    JOBS = "JOB UNIT{0}TYPE  STATE\n712 husk-ticket.service{0}stop  running\n640 {1}{0}start waiting\n\n2 jobs listed.\n"

    def gets_one(self, target):
        with open(os.path.join(husk.ROOT, "packaging", "systemd", "husk-ticket.service"), encoding="utf-8") as unit:
            (line,) = [line.split("=", 1)[1] for line in unit if line.startswith("ExecStop=")]
        self.assertIn("/usr/sbin/husk ticket", line)
        words = [word.replace("$$", "$").replace("/usr/sbin/husk", "echo husk") for word in shlex.split(line)]
        with tempfile.TemporaryDirectory(prefix="husk-test-") as directory:
            systemctl = os.path.join(directory, "systemctl")
            with open(systemctl, "w", encoding="ascii") as file:
                file.write(f"#!/bin/sh\n[ \"$*\" = list-jobs ] && cat <<END\n{self.JOBS.format(' ' * 7, target)}END\n")
            os.chmod(systemctl, 0o755)
            done = subprocess.run(words, env={"PATH": f"{directory}:/usr/bin:/bin"}, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout == "husk ticket\n"

    def test_only_a_boot_of_the_machine_gets_one(self):
        for target in "reboot.target", "kexec.target":
            self.assertTrue(self.gets_one(target), target)
        for target in "poweroff.target", "halt.target", "soft-reboot.target", "multi-user.target":
            self.assertFalse(self.gets_one(target), target)


if __name__ == "__main__":
    unittest.main()
