"""A rented server as its provider hands it over: GRUB starts it from a disk with a partition table (see server-image).

    guest = unittest.enterModuleContext(ServerGuest("server"))
    guest.prepare()                       # as of any ProtectedGuest; furnish() puts in what is there before husk comes
    guest.grow(1 << 30)                   # its provider gives it a larger disk, while it is switched off
    guest.boot()
"""

import os
import pathlib
import subprocess

from guest import HERE
from protected_guest import ProtectedGuest


class ServerGuest(ProtectedGuest):
    IMAGE = "disk.raw"
    BOOTED = ()
    ROOT_AT = 1 << 20

    def __init__(self, name, **options):
        super().__init__(name, **options)
        self.kernel = self.initrd = None

    @staticmethod
    def find_image():
        made = subprocess.run([HERE / "server-image"], stdout=subprocess.PIPE, check=True, text=True)
        return pathlib.Path(made.stdout.strip())

    def take_initramfs(self):
        """GRUB takes the one on the disk."""

    def grow(self, by):
        os.truncate(self.disk_image, os.stat(self.disk_image).st_size + by)
