"""What the next boot tells the authority of itself, and what it is told while it waits."""

import hashlib
import json
import os
import pathlib
import subprocess
import time
import unittest

import husk
import test_host

RELEASE = os.uname().release
KERNEL, IMAGE, OTHER = f"vmlinuz-{RELEASE}", f"initrd.img-{RELEASE}", f"vmlinuz-{RELEASE}.new"
SETTLED_S = 3.1  # for so long after it changed a file is not known by its stat


def hash_of(text):
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()


class KeptHashesTest(test_host.HostTest):
    def put(self, name, text):
        pathlib.Path(self.path("boot")).mkdir(exist_ok=True)
        pathlib.Path(self.path(f"boot/{name}")).write_text(text, encoding="ascii")

    def kept(self):
        """{name: hash}"""
        try:
            text = pathlib.Path(self.path(".husk/boot-files.json")).read_text(encoding="ascii")
        except FileNotFoundError:
            return {}
        return {name: file["hash"] for name, file in json.loads(text)["files"].items()}

    def reported(self):
        """By a boot that asks now."""
        self.lock()
        self.forget_boot()
        self.unlock(expect=husk.NOT_NOW)
        return self.authority.requests("pending")[-1]["reported_facts"]

    def wait_kept(self, expected):
        until = time.monotonic() + 30
        while self.kept() != expected:
            self.assertLess(time.monotonic(), until, self.kept())
            time.sleep(0.1)

    def test_a_boot_tells_the_hashes_that_are_kept_until_the_files_change(self):
        self.ready("approve")
        self.put(KERNEL, "a kernel")
        self.put(IMAGE, "an image")
        self.assertEqual(self.reported()["kernel_hash"], hash_of("a kernel"))
        self.assertEqual(self.kept(), {})
        time.sleep(SETTLED_S)
        self.json("ticket", expect=husk.REFUSED)  # kept all the same
        self.assertEqual(self.kept(), {KERNEL: hash_of("a kernel"), IMAGE: hash_of("an image")})
        # Where they are from can be seen by one that is wrong.
        path = pathlib.Path(self.path(".husk/boot-files.json"))
        path.write_text(path.read_text().replace(hash_of("a kernel"), "ab" * 32).replace(hash_of("an image"), "cd" * 32))
        self.put(IMAGE, "a later image")
        found = self.reported()
        self.assertEqual((found["kernel_hash"], found["initramfs_hash"]), ("ab" * 32, hash_of("a later image")))

        time.sleep(SETTLED_S)
        self.put(OTHER, "a new kernel")
        agent = subprocess.Popen([husk.PROGRAM, "agent", "--at", self.d.path], stderr=subprocess.DEVNULL)
        self.addCleanup(agent.wait)
        self.addCleanup(agent.terminate)
        # Its first heartbeat reads those of the running kernel.
        self.wait_kept({KERNEL: hash_of("a kernel"), IMAGE: hash_of("a later image")})
        self.assertEqual(self.reported()["kernel_hash"], hash_of("a kernel"))
        time.sleep(SETTLED_S)
        self.json("ticket", expect=husk.REFUSED)
        self.assertEqual(self.kept()[OTHER], hash_of("a new kernel"))


class WaitingTest(test_host.HostTest):
    def test_while_an_earlier_boot_is_asked_nobody_is_said_to_be_waited_for(self):
        self.ready("auto")
        self.lock()
        self.unlock()
        self.lock()
        self.forget_boot()
        process = self.start_unlock()
        while process.poll() is None:
            # What comes without the nonce gives the boot that is asked its time again.
            for nonce in pathlib.Path(self.runtime()).glob("*.nonce"):
                nonce.unlink(missing_ok=True)
            husk.run("ticket", "--at", self.d.path)
            time.sleep(0.3)
        _, err = process.communicate()
        self.assertEqual(process.returncode, husk.NOT_NOW, err)
        self.assertIn("first asks whether an earlier boot of this host still runs (request ", err)
        self.assertNotIn("approv", err)
        self.unlock("--wait", "60")


if __name__ == "__main__":
    unittest.main()
