"""VLANs and bonds, which the kernel of the machine that runs the tests may lack: the unit test of the room in a guest."""

import os
import pathlib
import re
import subprocess
import unittest

import husk
from husk_guest import PATIENCE_S, HuskGuest

UNIT = pathlib.Path(husk.PROGRAM).parent / "tests/unit/test_network"


@unittest.skipUnless(os.environ.get("HUSK_TEST_LONG"), "the long form")
@unittest.skipUnless(UNIT.exists(), "a build with the unit tests")
class NetworkTest(unittest.TestCase):
    def test_vlans_and_bonds_are_recorded_made_and_undone(self):
        guest = self.enterContext(HuskGuest("network"))
        guest.start()
        libraries = re.findall(r"/\S+", subprocess.run(["ldd", UNIT], stdout=subprocess.PIPE, check=True, text=True).stdout)
        guest.check("mkdir /root/unit; modprobe -a veth 8021q bonding")
        for path in (UNIT, *map(pathlib.Path, libraries)):
            guest.put(path, f"/root/unit/{path.name}")
        (loader,) = (path for path in libraries if "/ld-linux" in path)
        told = guest.check(f"cd /root/unit && ./{os.path.basename(loader)} --library-path . ./test_network 2>&1", PATIENCE_S)
        self.assertIn("OK ] a_bond_and_vlans_are_made_again_and_go", told)
        self.assertIn("OK ] a_bond_by_lacp_is_ready_when_its_partner_is", told)
        self.assertNotIn("SKIPPED", told)


if __name__ == "__main__":
    unittest.main(verbosity=2)
