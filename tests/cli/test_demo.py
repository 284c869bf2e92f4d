"""scripts/demo checks what it shows; here it is run, and looked at for what it must not leave."""

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
                        "erase"):
            self.assertIn(f"\n$ husk {command} ", told)
        with open("/proc/self/mountinfo") as file:
            self.assertNotIn("husk-demo", file.read())
        loops = subprocess.run(["losetup", "--list"], stdout=subprocess.PIPE, check=True).stdout.decode()
        self.assertNotIn("husk-demo", loops)

    def test_without_root_it_says_so(self):
        done = subprocess.run([os.path.join(husk.ROOT, "scripts", "demo")], user="nobody", group="nogroup",
                              extra_groups=[], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"needs root", done.stderr)


if __name__ == "__main__":
    unittest.main()
