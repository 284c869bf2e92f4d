"""The guest itself: what goes through its lines, what its kernel can do, and that it always ends."""

import os
import pathlib
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import guest as guest_module
from guest import Guest, GuestError

HERE = pathlib.Path(__file__).resolve().parent

# What the tests of the product in this tier stand on as well, and would fail without.
used_by_others = unittest.skipUnless(os.environ.get("HUSK_TEST_LONG"), "the long form")

# Starts a guest, says which process it is, and waits to be killed.
ORPHAN = """
import sys, time
sys.path.insert(0, sys.argv[1])
from guest import Guest
guest = Guest("orphan")
guest.spawn()
print(guest.pid, guest.run_dir, flush=True)
time.sleep(3600)
"""


def make_filesystem(guest, disk, *options, mount="defaults"):
    """Mount a fresh ext4 made with these options on a disk of its own, in the guest; where it is mounted."""
    guest.new_disk(disk, 64 << 20)
    device, where = guest.disk(disk), f"/mnt/{disk}"
    # On a disk this small mkfs would choose blocks of 1 KiB, and this kernel has fs-verity for its page size only.
    guest.check(["mkfs.ext4", "-q", "-b", "4096", *options, device])
    guest.check(f"mkdir -p {where} && mount -o {mount} {device} {where}")
    return where


class RunningGuest(unittest.TestCase):
    """All of these share one boot."""

    @classmethod
    def setUpClass(cls):
        cls.guest = cls.enterClassContext(Guest("guest"))
        cls.guest.start()

    def test_statuses_and_both_streams_come_through(self):
        self.assertEqual(self.guest.run("echo out; echo err >&2; exit 37"), (37, b"out\n", b"err\n"))
        self.assertEqual(self.guest.run(["printf", "%s", "a b'c\n$HOME"]), (0, b"a b'c\n$HOME", b""))
        self.assertEqual(self.guest.run("kill -9 $$").status, 128 + 9)
        self.assertEqual(self.guest.run(["no-such-program"]).status, 127)

    def test_any_byte_passes_in_and_out(self):
        data = bytes(range(256)) + b"\n\0done 1 0 5 0\n" + secrets.token_bytes(3 << 20) + b"\xff"
        self.assertEqual(self.guest.run("cat", stdin=data), (0, data, b""))
        self.assertEqual(self.guest.run("cat >&2", stdin=data), (0, b"", data))
        self.assertEqual(self.guest.run("true", stdin=data).status, 0)
        self.assertEqual(self.guest.run("echo next").stdout, b"next\n")

    def test_files_and_directories_are_copied_in_and_out(self):
        with tempfile.TemporaryDirectory() as local:
            tree = pathlib.Path(local, "tree")
            tree.mkdir()
            data = secrets.token_bytes(100_001)
            tree.joinpath("script").write_bytes(data)
            tree.joinpath("script").chmod(0o750)
            self.guest.put(tree, "/root/tree")
            self.guest.put(tree / "script", "/root/a name")
            self.assertEqual(self.guest.check("stat -c %a /root/tree/script '/root/a name'"), "750\n750\n")
            for remote in "/root/tree/script", "/root/a name":
                self.guest.get(remote, tree / "back")
                self.assertEqual(tree.joinpath("back").read_bytes(), data)
            with self.assertRaisesRegex(GuestError, "No such file"):
                self.guest.get("/root/missing", tree / "back")

    def test_a_command_that_takes_too_long_is_ended_and_the_next_one_runs(self):
        begun = time.monotonic()
        self.assertEqual(self.guest.run("echo begun; sleep 1000; echo never", timeout=2), (124, b"begun\n", b""))
        self.assertLess(time.monotonic() - begun, 120)
        self.assertEqual(self.guest.run("pgrep -x sleep || echo gone; echo next").stdout.splitlines()[-1], b"next")

    @used_by_others
    def test_fs_verity_refuses_changes_and_finds_damage(self):
        where = make_filesystem(self.guest, "verity", "-O", "verity,encrypt")
        self.guest.check(f"head -c 20000 /dev/urandom >{where}/file; cp {where}/file /root/good; sync")
        self.guest.check(f"fsverity enable {where}/file && fsverity measure {where}/file | grep ^sha256:")
        self.assertIn(b"not permitted", self.guest.run(f"echo more >>{where}/file").stderr)
        self.guest.check(f"cmp {where}/file /root/good")
        self.guest.check(
            f"block=$(filefrag -b4096 -v {where}/file | awk '$1 == \"0:\" {{ print $4 + 0 }}')\n"
            f"sync; umount {where}\n"
            f"printf X | dd of={self.guest.disk('verity')} bs=1 seek=$((block * 4096 + 5000)) conv=notrunc status=none\n"
            f"mount {self.guest.disk('verity')} {where}")
        damaged = self.guest.run(f"cat {where}/file")
        self.assertEqual((damaged.status, len(damaged.stdout)), (1, 4096))
        self.assertIn(b"Input/output error", damaged.stderr)

    @used_by_others
    def test_casefold_directories_find_names_in_any_case(self):
        where = make_filesystem(self.guest, "casefold", "-O", "casefold,encrypt", "-E", "encoding=utf8")
        self.guest.check(f"mkdir {where}/fold {where}/plain && chattr +F {where}/fold")
        self.guest.check(f"echo here >{where}/fold/Ärger; echo here >{where}/plain/Ärger")
        self.assertEqual(self.guest.check(f"cat {where}/fold/äRGER"), "here\n")
        self.assertNotEqual(self.guest.run(f"cat {where}/plain/äRGER").status, 0)

    @used_by_others
    def test_user_and_project_quotas_are_counted_and_enforced(self):
        # Limits are enforced from mounting on; remounting does not begin it.
        where = make_filesystem(self.guest, "quota", "-O", "quota,project", "-E", "quotatype=usrquota:prjquota",
                                mount="usrquota,prjquota")
        self.guest.check(f"chmod 777 {where}\n"
                         f"setquota -u 1000 0 512 0 0 {where}; setquota -P 42 0 1024 0 0 {where}\n"
                         f"mkdir -m 777 {where}/project; chattr -p 42 +P {where}/project")
        write = "setpriv --reuid {} --clear-groups dd if=/dev/zero bs=64K count=32 of={}"
        for user, path in (1000, f"{where}/of-user"), (2000, f"{where}/project/of-project"):
            self.assertIn(b"Disk quota exceeded", self.guest.run(write.format(user, path)).stderr)
        self.guest.check(write.format(2000, f"{where}/unlimited"))
        counted = self.guest.check(f"sync; repquota -un {where}; repquota -Pn {where}")
        self.assertRegex(counted, r"(?m)^#1000 +\S+ +512 ")
        self.assertRegex(counted, r"(?m)^#42 +\S+ +1024 ")

    @used_by_others
    def test_device_mapper_maps_and_encrypts(self):
        self.guest.new_disk("mapped", 32 << 20)
        device = self.guest.disk("mapped")
        self.guest.check(f"dmsetup create moved --table '0 8192 linear {device} 4096'\n"
                         f"printf needle | dd of=/dev/mapper/moved conv=fsync status=none; dmsetup remove moved")
        self.assertEqual(self.guest.check(f"dd if={device} bs=512 skip=4096 count=1 status=none | head -c 6"), "needle")
        self.guest.check(f"head -c 64 /dev/urandom | cryptsetup open --type plain --cipher aes-xts-plain64 "
                         f"--key-size 512 --key-file - {device} hidden\n"
                         f"yes needle | dd of=/dev/mapper/hidden bs=1M count=4 iflag=fullblock conv=fsync status=none\n"
                         f"dd if=/dev/mapper/hidden bs=1M count=4 status=none | grep -c needle >&2; cryptsetup close hidden")
        self.assertEqual(self.guest.run(f"dd if={device} bs=1M count=4 status=none | grep -c needle").stdout, b"0\n")

    def test_disks_come_and_go_and_free_their_blocks(self):
        path = self.guest.new_disk("passing", 64 << 20)
        device = self.guest.disk("passing")
        self.guest.check(f"yes canary | dd of={device} bs=1M count=32 iflag=fullblock conv=fsync status=none")
        with open(path, "rb") as file:
            self.assertTrue(file.read(1 << 20).startswith(b"canary\n"))
        full = os.stat(path).st_blocks
        self.guest.check(["blkdiscard", device])
        self.assertLess(os.stat(path).st_blocks, full // 2)
        self.guest.remove_disk("passing")
        self.assertEqual(self.guest.run(f"udevadm settle; test -e {device}").status, 1)

    @used_by_others
    def test_memory_can_be_searched(self):
        canary = secrets.token_hex(32)
        self.guest.check("cat >/dev/shm/canary", stdin=canary.encode())
        with tempfile.TemporaryDirectory() as local:
            dump = os.path.join(local, "memory")
            self.guest.dump_memory(dump)
            data = pathlib.Path(dump).read_bytes()
        self.assertGreater(len(data), self.guest.memory_mb << 20)
        self.assertIn(canary.encode(), data)
        self.assertNotIn(secrets.token_hex(32).encode(), data)

    @used_by_others
    def test_the_console_takes_a_login(self):
        self.guest.console.send("\n")
        self.guest.console.wait("login: ", 120)
        self.guest.console.send("root\n")
        self.guest.console.wait("root@guest", 120)
        self.guest.console.send("echo in=$((6*7))\n")
        self.guest.console.wait("in=42", 120)
        with self.assertRaisesRegex(GuestError, "never showed"):
            self.guest.console.wait("not there", 1)

    @used_by_others
    def test_what_was_written_outlives_a_reboot_and_never_reaches_the_image(self):
        image = self.guest.image / "root.ext4"
        before = os.stat(image).st_mtime_ns
        boot_id = self.guest.check(["cat", "/proc/sys/kernel/random/boot_id"])
        self.guest.check("echo kept >/root/kept; echo lost >/run/lost")
        self.guest.reboot()
        self.assertNotEqual(self.guest.check(["cat", "/proc/sys/kernel/random/boot_id"]), boot_id)
        self.assertEqual(self.guest.check("cat /root/kept; test ! -e /run/lost && echo gone"), "kept\ngone\n")
        self.assertEqual(os.stat(image).st_mtime_ns, before)
        self.assertEqual(self.guest.check("systemctl is-system-running || systemctl --failed"), "running\n")


def wait_gone(pid, seconds=30):
    deadline = time.monotonic() + seconds
    while os.path.exists(f"/proc/{pid}"):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class EndOfAGuest(unittest.TestCase):
    """None of these waits for a boot."""

    def test_it_ends_with_a_test_that_is_killed(self):
        with subprocess.Popen([sys.executable, "-c", ORPHAN, HERE], stdout=subprocess.PIPE, text=True) as parent:
            pid, run_dir = parent.stdout.readline().split()
            self.assertIn("qemu", os.readlink(f"/proc/{pid}/exe"))
            os.kill(parent.pid, signal.SIGKILL)
        self.assertTrue(wait_gone(pid))
        # Its disks stay until the next guest begins, which may be one of another test.
        with Guest("after-orphan"):
            self.assertFalse(os.path.exists(run_dir), "the disks of a dead test stay")

    def test_it_ends_with_its_context_and_takes_its_disks_with_it(self):
        with self.assertRaises(ZeroDivisionError), Guest("context") as guest:
            guest.new_disk("data", 1 << 20)
            guest.spawn()
            pid, run_dir = guest.pid, guest.run_dir
            raise ZeroDivisionError
        self.assertTrue(wait_gone(pid))
        self.assertFalse(run_dir.exists())

    def test_the_end_of_qemu_is_an_error_and_not_a_wait(self):
        with Guest("dies") as guest:
            guest.spawn()
            os.kill(guest.pid, signal.SIGKILL)
            begun = time.monotonic()
            with self.assertRaises(GuestError):
                guest.wait_ready()
            with self.assertRaises(GuestError):
                guest.monitor("query-status")
            with self.assertRaises(GuestError):
                guest.run("true")
            self.assertLess(time.monotonic() - begun, 60)

    def test_a_kernel_without_a_root_is_an_error_that_shows_the_console(self):
        with Guest("rootless", append="root=/dev/none rdinit=/none") as guest:
            with self.assertRaisesRegex(GuestError, "(?s)panicked.*Unable to mount root"):
                guest.start()

    def test_bad_options_are_told_in_the_words_of_qemu(self):
        with Guest("misfit", cpus=100000) as guest:
            with self.assertRaisesRegex(GuestError, "did not start: .*CPU"):
                guest.spawn()


class Builder(unittest.TestCase):
    """tests/vm/guest-image with a debootstrap that does what the test wants."""

    def setUp(self):
        self.directory = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.guests = self.directory / "guests"

    def start(self, debootstrap, *words):
        program = self.directory / "debootstrap"
        program.write_text(f"#!/bin/sh\n{debootstrap}\n")
        program.chmod(0o755)
        environment = os.environ | {"PATH": f"{self.directory}:{os.environ['PATH']}", "HUSK_GUESTS": str(self.guests)}
        return subprocess.Popen([HERE / "guest-image", *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, start_new_session=True)

    def left(self):
        return sorted(path.name for path in self.guests.iterdir())

    def test_a_failed_build_leaves_nothing(self):
        builder = self.start("mkdir -p $5; echo it went wrong; exit 1")
        out, err = builder.communicate()
        self.assertEqual((builder.returncode, out), (1, ""))
        self.assertIn("it went wrong", err)
        self.assertEqual(self.left(), [".lock"])

    def test_another_release_comes_from_where_apt_takes_its_own(self):
        told = [self.start("echo $4 from $6; exit 1", *words).communicate()[1] for words in ((), ("trixie",))]
        mirror = re.search("^bookworm from (.+)", told[0], re.MULTILINE)[1]
        self.assertRegex(told[1], f"(?m)^trixie from {re.escape(mirror)}$")

    def test_a_release_that_it_cannot_make_is_refused(self):
        builder = self.start("exit 1", "potato")
        self.assertIn("takes the name of a release", builder.communicate()[1])
        self.assertEqual((builder.returncode, self.guests.exists()), (1, False))

    def test_a_killed_build_is_not_taken_for_an_image(self):
        builder = self.start("echo begun >&2; exec sleep 1000")
        self.wait_for(lambda: any(self.guests.glob(".building.*/log")))
        os.killpg(builder.pid, signal.SIGKILL)
        builder.communicate()
        again = self.start("exit 1")
        self.assertEqual(again.communicate()[0], "")
        self.assertEqual((again.returncode, self.left()), (1, [".lock"]))

    def test_two_builders_take_turns(self):
        record = self.directory / "record"
        script = f"echo begin >>{record}; sleep 1; echo end >>{record}; exit 1"
        builders = [self.start(script), self.start(script)]
        for builder in builders:
            builder.communicate()
        self.assertEqual(record.read_text().split(), ["begin", "end", "begin", "end"])

    def wait_for(self, condition):
        deadline = time.monotonic() + 60
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)


if __name__ == "__main__":
    guest_module.find_image()
    unittest.main(verbosity=2)
