"""The units in packaging/systemd: well formed, and how much they shut the service in."""

import os
import re
import shutil
import subprocess
import unittest

from pages import ROOT, files, read

MOST = 2.0


@unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
class UnitsTest(unittest.TestCase):
    def test_huskd_is_shut_in(self):
        done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager",
                               os.path.join(ROOT, "packaging/systemd/huskd.service")],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env={**os.environ, "SYSTEMD_COLORS": "0"})
        found = re.search(r"Overall exposure level for huskd\.service: ([0-9.]+)", done.stdout)
        self.assertTrue(found, done.stdout)
        print(f"note: huskd.service has an exposure level of {found[1]}")
        self.assertLess(float(found[1]), MOST, done.stdout)

    def test_no_unit_takes_openat2_away(self):
        """systemd's filter for RestrictSUIDSGID= cannot look into its argument and makes it fail: with ENOSYS."""
        for path in files("packaging/systemd", ends=(".service",)):
            self.assertNotRegex(read(path), r"(?m)^RestrictSUIDSGID=(yes|true|on|1)", path)

    def test_units_are_well_formed(self):
        for path in files("packaging/systemd", ends=(".service", ".socket", ".timer")):
            done = subprocess.run(["systemd-analyze", "verify", os.path.join(ROOT, path)], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True)
            # Neither the program nor its manual page need be installed here.
            told = [line for line in done.stdout.splitlines()
                    if not re.search(r"is not executable|Command 'man |Unit \S+ not found", line)]
            self.assertEqual(told, [], path)


class FilesTest(unittest.TestCase):
    def test_the_user_of_the_service_is_made(self):
        service = read("packaging/systemd/huskd.service")
        users = re.findall(r"^u (\S+) ", read("packaging/sysusers.d/huskd.conf"), re.M)
        for name in ("User", "Group"):
            self.assertIn(re.search(rf"^{name}=(\S+)$", service, re.M)[1], users)

    def test_the_port_is_the_one_of_the_manual(self):
        port = re.search(r"^ListenStream=(\d+)$", read("packaging/systemd/huskd.socket"), re.M)[1]
        self.assertIn(f'"0.0.0.0:{port}"', read("programs/huskd/listen.c"))
        self.assertIn(f"port {port}", read("docs/man/huskd.8"))


if __name__ == "__main__":
    unittest.main()
