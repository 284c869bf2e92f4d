"""What the mark of an initramfs says of its husk covers every format that a boot reads."""

import re
import unittest

from pages import files, read

# The rooms whose files `husk boot` reads, or what is in them: a pin has a descriptor.
ROOMS = "vault", "keyslot", "network", "unlock", "erase", "client", "message"


class FormatsTest(unittest.TestCase):
    def test_the_mark_rises_with_the_version_of_every_format_that_a_boot_reads(self):
        mark = int(re.search(r"#define INITRAMFS_VERSION (\d+)", read("src/convert/initramfs.h"))[1])
        written = re.search(r'\{"version":(\d+),"kernel"', read("packaging/initramfs/hook"))[1]
        self.assertEqual(int(written), mark)
        versions = {}
        for path in files(*[f"src/{room}" for room in ROOMS], ends=(".c", ".h")):
            for name, version in re.findall(r"\b(?!AT_)([A-Z_]+_VERSION)\b(?: =)? (\d+)\b", read(path)):
                versions[path, name] = int(version)
        self.assertGreater(len(versions), 5, versions)
        self.assertEqual(mark, 1 + sum(version - 1 for version in versions.values()), versions)


if __name__ == "__main__":
    unittest.main()
