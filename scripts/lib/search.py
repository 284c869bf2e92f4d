"""search.py IMAGE FILE found|gone: do the bytes of FILE stand in IMAGE? Looks for each 32 bytes of it by themselves.

Prints how many of the pieces were found. Exit status 0 when that is as expected: all of them, or none.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "lib"))

from disk import find_in_file

PIECE = 32


def main(image, path, expected):
    with open(path, "rb") as file:
        content = file.read()
    pieces = {content[at:at + PIECE] for at in range(0, len(content) - PIECE + 1, PIECE)}
    pieces = {piece for piece in pieces if piece.strip(b"\0")}
    found = len(find_in_file(image, pieces))
    print(f"{found} of {len(pieces)} pieces of {PIECE} bytes found")
    return 0 if found == (len(pieces) if expected == "found" else 0) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
