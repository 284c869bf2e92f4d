"""What a boot is told while it waits."""

import pathlib
import time
import unittest

import husk
import test_host


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
