"""scripts/demo checks what it shows; here it is run, and looked at for what it must not leave."""

import contextlib
import os
import subprocess
import unittest

import husk


class DemoTest(unittest.TestCase):
    def test_it_shows_the_main_job_and_leaves_nothing(self):
        done = subprocess.run([os.path.join(husk.ROOT, "scripts", "demo")], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900)
        told = done.stdout.decode(errors="replace")
        self.assertEqual(done.returncode, 0, told[-5000:])
        self.assertRegex(told.splitlines()[-1], r"^demo: all of it as it should be, in \d+ s")
        self.assertRegex(told, r"passphrase keyslot [0-9a-f]+: overwritten, re-read, ")
        for command in ("check", "protect", "status", "lock", "unlock", "keyslot add", "keyslot remove", "unprotect",
                        "erase", "enroll", "agent"):
            self.assertIn(f"\n$ husk {command} ", told)
        for command in ("init", "serve", "group set", "token create", "request approve", "request deny", "host erase",
                        "ledger verify"):
            self.assertIn(f"\n$ huskd {command} ", told)
        for seen in (r"waiting for approval, code \d{4} ", r"vault data is unlocked, by its authority",
                     r"flagged: stale-lineage\nflagged: other-boot-answers", r"the host is erased"):
            self.assertRegex(told, seen)
        self.assertNothingLeft()

    def assertNothingLeft(self):
        with open("/proc/self/mountinfo") as file:
            self.assertNotIn("husk-demo", file.read())
        loops = subprocess.run(["losetup", "--list"], stdout=subprocess.PIPE, check=True).stdout.decode()
        self.assertNotIn("husk-demo", loops)
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline") as file:
                self.assertNotRegex(file.read(), r"^huskd?\0(serve\0--dir\0authority|agent\0--at\0host)")

    def test_without_root_it_says_so(self):
        done = subprocess.run([os.path.join(husk.ROOT, "scripts", "demo")], user="nobody", group="nogroup",
                              extra_groups=[], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"needs root", done.stderr)


if __name__ == "__main__":
    unittest.main()
