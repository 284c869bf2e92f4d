"""Who keeps files of a vault open, in every way there is: lock names them and no one else, and tells how far it came."""

import contextlib
import os
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import disk
import document
import husk
from undo import Undo


@contextlib.contextmanager
def process(code, *words, before=()):
    """A Python that runs code, says so, and waits to be ended."""
    child = subprocess.Popen([*before, sys.executable, "-c", code + "\nprint('ready', flush=True)\nimport sys\nsys.stdin.read()", *words],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        if child.stdout.readline() != b"ready\n":
            raise AssertionError("the other process did not come up")
        yield child
    finally:
        child.communicate()


class LockTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        reason = husk.missing()
        if reason:
            raise unittest.SkipTest(reason)
        undo = cls.enterClassContext(Undo())
        cls.scratch = disk.scratch(undo)
        cls.keyfile = husk.keyfile(cls.scratch)
        cls.other_keyfile = husk.keyfile(cls.scratch, "other")
        cls.disk = cls.enterClassContext(disk.ext4(size_mib=64))
        cls.at = cls.disk.path
        for name in ("a", "o", "plain"):
            os.makedirs(cls.path(name, "sub"))
            with open(cls.path(name, "file"), "wb") as file:
                file.write(b"x" * 8192)
        for name, key in [("v", cls.keyfile), ("other", cls.other_keyfile)]:
            husk.ok("protect", cls.path("a" if name == "v" else "o"), "--vault", name, "--keyfile", key,
                    "--skip-free-space", "--at", cls.at)

    @classmethod
    def path(cls, *names):
        return os.path.join(cls.at, *names)

    def setUp(self):
        husk.ok("unlock", "v", "--keyfile", self.keyfile, "--at", self.at)
        husk.ok("unlock", "other", "--keyfile", self.other_keyfile, "--at", self.at)

    def state(self):
        return husk.ok("status", "v", "--at", self.at, json=True).document["result"]["vaults"][0]["state"]

    def held(self, kind, says, subject=None):
        """lock names exactly this; the key is gone for new opens; (called while it is held)."""
        done = husk.run("lock", "v", "--at", self.at, json=True)
        self.assertNotEqual(done.status, husk.DONE, done)
        findings = document.check(done, "lock")["findings"]
        self.assertTrue(findings, done)
        for finding in findings:
            self.assertEqual(finding["kind"], kind, done)
            self.assertTrue(finding["remedy"], done)
        self.assertTrue(any(says in finding["cause"] for finding in findings), done)
        if subject:
            self.assertTrue(any(subject in finding["subject"] for finding in findings), done)
        self.assertEqual(self.state(), "busy")
        self.assertNotIn("closed-since", str(husk.ok("status", "v", "--at", self.at, json=True).document["findings"]))
        self.assertIn(f"programs keep some: husk lock --at {self.at} v names them", husk.ok("status", "v", "--at", self.at).out)
        with self.assertRaises(OSError):
            open(self.path("a/never-read"), "xb")

    def let_go(self):
        """All is closed: status says so, and that only lock ends it; then it does."""
        document = husk.ok("status", "v", "--at", self.at, json=True).document
        (vault,) = document["result"]["vaults"]
        if vault["state"] != "locked":  # the kernel may have dropped what was closed by itself
            self.assertEqual([(item["kind"], item["subject"]) for item in document["findings"]], [("closed-since", "v")])
            told = husk.ok("status", "v", "--at", self.at).out
            self.assertIn("all files of the vault that were open have been closed", told)
            self.assertIn(f"what to do: husk lock --at {self.at} v", told)
            self.assertNotIn("programs keep some", told)
        husk.ok("lock", "v", "--at", self.at)
        self.assertEqual(self.state(), "locked")

    def held_by(self, code, *words, says="has it open", subject=None):
        with process(code, *words) as child:
            self.held("busy-process", f"(pid {child.pid}) {says}", subject)
        self.let_go()

    def test_an_open_file(self):
        self.held_by("import sys; f = open(sys.argv[1])", self.path("a/file"), subject=self.path("a/file"))

    def test_a_file_deleted_since(self):
        open(self.path("a/gone"), "wb").close()
        self.held_by("import os, sys; f = open(sys.argv[1], 'w'); os.unlink(sys.argv[1])", self.path("a/gone"))

    def test_an_open_directory(self):
        self.held_by("import os, sys; f = os.open(sys.argv[1], os.O_RDONLY)", self.path("a/sub"))

    def test_a_working_directory(self):
        self.held_by("import os, sys; os.chdir(sys.argv[1])", self.path("a/sub"), says="works in it")

    def test_a_mapping_behind_a_closed_file(self):
        self.held_by("import mmap, sys\nwith open(sys.argv[1], 'r+b') as f: m = mmap.mmap(f.fileno(), 0)",
                     self.path("a/file"), says="has it mapped")

    def test_a_program_that_runs(self):
        shutil.copy("/bin/sleep", self.path("a/program"))
        child = subprocess.Popen([self.path("a/program"), "1000"])
        try:
            self.held("busy-process", f"(pid {child.pid})", self.path("a/program"))
        finally:
            child.kill()
            child.wait()
        self.let_go()

    def test_a_loop_device(self):
        with open(self.path("a/image"), "wb") as image:
            image.truncate(1 << 20)
        device = disk.run("losetup", "--find", "--show", self.path("a/image")).strip()
        try:
            self.held("busy-loop", device, self.path("a/image"))
        finally:
            disk.run("losetup", "--detach", device)
        self.let_go()

    def test_a_bind_mount(self):
        there = os.path.join(self.scratch, "there")
        os.makedirs(there, exist_ok=True)
        disk.run("mount", "--bind", self.path("a/sub"), there)
        try:
            self.held("busy-bind", there)
        finally:
            disk.run("umount", there)
        self.let_go()

    def test_what_uses_other_vaults_and_plain_files_is_not_named(self):
        code = "import sys; f = [open(name) for name in sys.argv[1:]]"
        with process(code, self.path("o/file"), self.path("plain/file")):
            husk.ok("lock", "v", "--at", self.at)
            self.assertEqual(self.state(), "locked")
            husk.ok("unlock", "v", "--keyfile", self.keyfile, "--at", self.at)
            with process(code, self.path("a/file")) as child:
                self.held("busy-process", f"(pid {child.pid}) has it open", self.path("a/file"))
        self.let_go()

    def test_every_file_is_named(self):
        code = "import sys; f = [open(name) for name in sys.argv[1:]]"
        for name in ("one", "two", "three"):
            open(self.path("a", name), "wb").close()
        names = [self.path("a", name) for name in ("one", "two", "three")]
        with process(code, *names, *names), process(code, *names):
            done = husk.run("lock", "v", "--at", self.at)
            self.assertNotEqual(done.status, husk.DONE)
            for name in names:
                self.assertIn(name, done.out + done.err)
        self.let_go()


if __name__ == "__main__":
    unittest.main()
