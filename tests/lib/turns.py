"""Files that are written in turns, husk-vault(5)."""
import hashlib
import os

HEAD = 59


def read(path):
    """The text that was written last."""
    with open(path, "rb") as file:
        content = file.read()
    size = os.path.getsize(path) // 2
    found = []
    for place in (content[:size], content[size:]):
        number, digits, length = place[:HEAD].split() if place.strip() else (b"0", b"", b"0")
        text = place[HEAD:HEAD + int(length, 16)]
        hashed = bytes.fromhex(number.decode().zfill(16)) + int(length, 16).to_bytes(4, "big") + text
        if hashlib.blake2b(hashed, digest_size=16).hexdigest() == digits.decode():
            found.append((int(number, 16), text))
    return max(found)[1].decode()
