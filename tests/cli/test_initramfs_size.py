"""How much larger husk makes an initramfs: at most 3 MB, unpacked."""

import os
import subprocess
import tempfile
import unittest

import husk

MOST = 3_000_000
# What the hook adds to a Debian 12 initramfs (MODULES=most, 6.1.0-50-cloud-amd64) beside husk: aesni-intel 535,177,
# sha512-ssse3, cryptd, sha256-ssse3, crypto_simd, xts, cts, sha512_generic, ecb, and 8,443 in the indices of modules.
# Measured by building one with and one without it: find -type f -printf '%s\\n', added up.
CIPHERS = 792_092
SCRIPTS = "local-bottom", "dhcp"  # of the package, in the image


class InitramfsSizeTest(unittest.TestCase):
    @unittest.skipIf(husk.missing(), husk.missing() or "")
    def test_it_grows_by_three_megabytes_at_most(self):
        packaging = os.path.join(husk.ROOT, "packaging", "initramfs")
        scripts = sum(os.path.getsize(os.path.join(packaging, name)) for name in SCRIPTS)
        with tempfile.NamedTemporaryFile() as stripped:
            subprocess.run(["strip", "-o", stripped.name, husk.PROGRAM], check=True)
            program = os.path.getsize(stripped.name)
        self.assertLessEqual(program + CIPHERS + scripts, MOST, f"husk {program}, ciphers {CIPHERS}, scripts {scripts}")


if __name__ == "__main__":
    unittest.main()
