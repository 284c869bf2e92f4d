"""The key leaves the kernel in the middle of a conversion, and comes back: names without a key are never taken for names."""

import contextlib
import os
import signal
import unittest

import husk
import manifest
from job import Job, needs_faults


@needs_faults
class KeyAwayTest(Job):
    """Directories and FIFOs alone: what cannot be opened without the key would be noticed anyway."""

    def setUp(self):
        super().setUp()
        self.empty = self.path("srv/empty")
        os.mkdir(self.empty)
        self.protect(self.empty)
        for number in range(5):
            os.makedirs(os.path.join(self.empty, f"directory{number}/below/further"))
            os.mkfifo(os.path.join(self.empty, f"directory{number}/fifo"))
        self.before = manifest.take(self.empty)
        self.d.sync()
        self.forget_names()

    def forget_names(self):
        """Those the kernel has read."""
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("3")

    @contextlib.contextmanager
    def other_tool(self):
        """Another tool of root's, which knows nothing of husk's lock."""
        lock = self.path(".husk/lock")
        os.rename(lock, lock + ".aside")
        yield
        os.replace(lock + ".aside", lock)

    def take_key(self):
        with self.other_tool():
            self.call("lock", "v").expect(husk.DONE, husk.INCOMPLETE)
        self.forget_names()

    def give_key(self):
        with self.other_tool():
            self.call("unlock", "v", "--keyfile", self.keyfile, expect=husk.DONE)

    def goes_on_to_next_pause(self, paused):
        """False where it ends instead."""
        os.kill(paused.pid, signal.SIGCONT)
        found = os.waitid(os.P_PID, paused.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        return found.si_code == os.CLD_STOPPED

    def test_an_unprotect_is_stopped_and_goes_on_when_the_key_is_back(self):
        with husk.paused("tree.copy.mkdir:pause:1,convert.compared", *self.at("unprotect", "v")) as paused:
            self.take_key()
            if self.goes_on_to_next_pause(paused):
                self.give_key()
        done = paused.done.expect_error_line(husk.REFUSED)
        self.assertIn("the vault v was locked in the middle of its conversion", done.err)
        self.give_key()
        manifest.same(self.before, manifest.take(self.empty))
        self.assertEncrypted(self.empty)
        self.call("unprotect", "v", expect=husk.DONE)
        manifest.same(self.before, manifest.take(self.empty))
        self.assertEncrypted(self.empty, False)

    def test_so_is_a_protect(self):
        self.call("unprotect", "v", expect=husk.DONE)
        with husk.paused("convert.copied", *self.at("protect", self.empty, "--vault", "v", "--skip-free-space")) as paused:
            self.take_key()
        done = paused.done.expect_error_line(husk.REFUSED)
        self.assertIn("the vault v was locked in the middle of its conversion", done.err)
        manifest.same(self.before, manifest.take(self.empty))
        self.assertEncrypted(self.empty, False)
        self.give_key()
        self.protect(self.empty)
        manifest.same(self.before, manifest.take(self.empty))
        self.assertEncrypted(self.empty)


if __name__ == "__main__":
    unittest.main()
