"""Canaries: byte strings planted in contents, names and symlink targets, to be looked for in raw images.

    c = Canaries()
    c.plant(directory)
    c.find(d)          # {"content": 812, "name": 12, "short symlink": 3, "long symlink": 4}: how often each is there
    c.gone(d)          # raises Found unless not one of them is

left_of_free_space(text) is what husk said in it of free space that it did not overwrite.

The strings are random per Canaries object, so that nothing else on the disk has them. `d` is a Disk, which is synced
first, or the path of an image that no one has mounted.
"""

import os
import re
import secrets

from disk import find_in_file

KINDS = ("content", "name", "short symlink", "long symlink")
FREED = ("name", "long symlink")
BLOCK, BLOCK_OF_DISK = 512, 4096


def left_of_free_space(text):
    """The bytes that husk told of in what it wrote."""
    told = re.findall(r"(\d+) bytes of free space (?:could|were) not (?:be )?overwritten", text)
    return sum(map(int, told))


class Found(AssertionError):
    """Canaries that should be gone stand in the image."""


class Canaries:
    def __init__(self, tag=None):
        self.tag = tag or secrets.token_hex(8)
        # One letter tells the kinds apart; short, so that names and fast symlinks (below 60 bytes) hold it whole.
        self.needles = {kind: f"cnry{kind[0]}{self.tag}".encode() for kind in KINDS[:2]}
        self.needles["short symlink"] = f"cnrys{self.tag}".encode()
        self.needles["long symlink"] = f"cnryl{self.tag}".encode()

    def content(self, size):
        """`size` bytes with the content canary in every 512 of them."""
        needle = self.needles["content"]
        cell = (needle + b"." * (BLOCK - len(needle) - 9))
        cells = b"".join(cell + b"%08d\n" % number for number in range(-(-size // BLOCK)))
        return cells[:size]

    def name(self, suffix=""):
        return self.needles["name"] + os.fsencode(suffix)

    def short_target(self):
        return self.needles["short symlink"] + b"/x"

    def long_target(self, size=300):
        return (self.needles["long symlink"] + b"/" + b"t" * size)[:size]

    def plant(self, directory, files=8, size=9000):
        """Files, directories and symlinks that carry canaries, in `directory` (made if it is not there)."""
        directory = os.fsencode(directory)
        os.makedirs(directory, exist_ok=True)
        for number in range(files):
            where = os.path.join(directory, self.name(f"-dir{number}"))
            os.makedirs(where, exist_ok=True)
            with open(os.path.join(where, self.name(f"-file{number}")), "wb") as file:
                file.write(self.content(size * (number + 1)))
            os.symlink(self.short_target(), os.path.join(where, b"short%d" % number))
            os.symlink(self.long_target(100 + 200 * number), os.path.join(where, b"long%d" % number))

    def offsets(self, image):
        """{kind: [byte offsets in the image]} of the canaries that are there."""
        if hasattr(image, "sync"):
            image.sync()
            image = image.image
        found = find_in_file(image, self.needles.values())
        return {kind: found[needle] for kind, needle in self.needles.items() if needle in found}

    def find(self, image):
        return {kind: len(offsets) for kind, offsets in self.offsets(image).items()}

    def gone(self, image, kinds=KINDS, left_bytes=0):
        """left_bytes: of free space, that husk said it could not overwrite. Names and targets that stood in blocks of
        their own, which were freed, may be there, and in no more of it."""
        check_gone({kind: where for kind, where in self.offsets(image).items() if kind in kinds}, left_bytes)


def check_gone(offsets, left_bytes=0):
    """What Canaries.gone() says of an image in which canaries stand at these bytes, by kind."""
    blocks = {offset // BLOCK_OF_DISK for kind in FREED for offset in offsets.get(kind, ())}
    if len(blocks) * BLOCK_OF_DISK <= left_bytes:
        offsets = {kind: where for kind, where in offsets.items() if kind not in FREED}
    if offsets:
        told = (f"{kind}: {len(where)}, first at byte {where[0]}" for kind, where in offsets.items())
        raise Found("canaries in the image: " + "; ".join(told))
