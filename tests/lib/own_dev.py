"""A /dev of the test's own, for who enters it: udev's links to partitions, where no udev is.

    own = self.enterContext(OwnDev({"by-partuuid/0123-02": device}))
    subprocess.run([...], preexec_fn=own.enter)
"""

import os
import subprocess

import sys_calls

SETUP = """
new=$1; shift
mount -t tmpfs dev "$new"; mkdir "$new/shm"
mount --rbind /dev/shm "$new/shm"; cp -a /dev/loop* /dev/null /dev/urandom "$new"
while [ $# -gt 0 ]; do mkdir -p "$new/disk/${1%/*}"; ln -s "$2" "$new/disk/$1"; shift 2; done
mount --rbind "$new" /dev
echo ready; read -r _
"""


class OwnDev:
    def __init__(self, links, directory):
        """directory: an empty one, which stays empty out here."""
        words = [word for link in links.items() for word in link]
        with subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-ec", SETUP, "sh", directory, *words],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError("no /dev of its own")
            self._fd = os.open(f"/proc/{process.pid}/ns/mnt", os.O_RDONLY)
            process.stdin.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._fd)

    def enter(self):
        """For preexec_fn."""
        sys_calls.enter_mounts(self._fd)
