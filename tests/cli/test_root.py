"""The root of a host on its disk attached from outside: what it consists of, what is refused, and that it waits."""

import os
import unittest

import husk
import manifest
from host_root import HOOKS, HostRoot
from job import needs_faults

ENCRYPTED = ("etc", "home", "srv", "usr")


class RootTest(HostRoot):
    def kinds(self, *words, expect=husk.REFUSED):
        found = self.json("check", "--root", *words, expect=expect)
        return {finding["kind"] for finding in found["findings"] if finding["kind"] != "hidden-processes"}

    def trees(self):
        return [manifest.take(self.path(name)) for name in ENCRYPTED]

    def assertSame(self, before):
        for was, name in zip(before, ENCRYPTED):
            manifest.same(was, manifest.take(self.path(name)), ["atime"])

    def test_all_but_mount_points_and_boot_is_encrypted_and_the_old_trees_wait(self):
        before = self.trees()
        self.assertEqual(self.kinds(expect=husk.DONE), set())
        self.assertTrue(self.protect_root()["changed"])
        for name in sorted(os.listdir(self.d.path)):
            if not os.path.islink(self.path(name)):
                self.assertEncrypted(self.path(name), name in ENCRYPTED)
        self.assertSame(before)
        status = self.status("root")
        self.assertEqual(status["conversion"]["state"], "scrubbing")
        self.assertTrue(os.listdir(self.path(".husk/plaintext/root")))
        self.assertFalse(self.json("protect", "--root")["changed"])
        self.call("protect", "--root", "--commit").expect_error_line(husk.REFUSED)
        self.assertTrue(os.listdir(self.path(".husk/plaintext/root")))
        self.call("unprotect", "root").expect_error_line(husk.REFUSED)
        self.call("protect", "--root", "--abort").expect_error_line(husk.REFUSED)

    def test_locked_nothing_can_be_told(self):
        self.protect_root()
        self.call("lock", "root", expect=husk.DONE)
        for verb in ("protect", "--root"), ("check", "--root"):
            self.assertIn("husk unlock", self.call(*verb).expect_error_line(husk.FAILED, husk.REFUSED).err)

    def test_what_would_not_boot_or_would_leak_is_refused(self):
        cases = {
            "separate-usr": lambda: self.write("etc/fstab", "/dev/vdc /usr ext4 ro 0 2\n"),
            "swap": lambda: self.write("etc/fstab", "/swapfile none swap sw 0 0\n"),
            "boot-not-mounted": lambda: self.write("etc/fstab", "/dev/vdc /boot ext4 defaults 0 2\n"),
            "kdump": lambda: self.write("etc/default/kdump-tools", "USE_KDUMP=1\n"),
            "no-boot-hook": lambda: os.remove(self.path(HOOKS, "hooks/husk")),
            "unknown-initramfs": lambda: os.remove(self.path(HOOKS, "hook-functions")),
            "no-initramfs": lambda: self.write("boot/vmlinuz-6.1.0-2", "kernel"),
            "initramfs-without-husk": lambda: self.image("initrd.img-6.1.0-1", ["kernel/x86/microcode/a.bin"]),
            "boot-entry-without-initramfs": lambda: self.write("boot/grub/grub.cfg", (
                "menuentry 'one' {\n\tlinux /boot/vmlinuz root=/dev/vda\n\tinitrd /boot/initrd\n}\n"
                "menuentry 'two' {\n\tlinux /boot/vmlinuz root=/dev/vda\n}\n")),
        }
        for kind, damage in cases.items():
            with self.subTest(kind):
                damage()
                self.assertEqual(self.kinds(), {kind})
                if kind == "swap":
                    with self.nothing_changes():
                        self.assertIn("swap", str(self.protect_root(expect=husk.REFUSED)["findings"]))
            self.restore(kind)

    def restore(self, kind):
        for name in "etc/default/kdump-tools", "boot/vmlinuz-6.1.0-2", "boot/grub/grub.cfg":
            if os.path.exists(self.path(name)):
                os.remove(self.path(name))
        self.write("etc/fstab", "")
        for name in "hook-functions", "hooks/husk":
            self.write(f"{HOOKS}/{name}", "")
        if kind == "initramfs-without-husk":
            self.image("initrd.img-6.1.0-1", ["husk-initramfs"])
        self.assertEqual(self.kinds(expect=husk.DONE), set(), kind)

    def test_keys_have_to_be_ones_a_boot_finds(self):
        words = ("protect", "--root", "--keyfile")
        self.assertIn("/boot", self.call(*words, self.keyfile).expect_error_line(husk.REFUSED).err)
        self.assertEqual(os.path.exists(self.path(".husk/vaults")), False)
        with open(self.path("boot/husk.key"), "wb") as file:
            file.write(os.urandom(64))
        self.call(*words, self.path("boot/husk.key"), "--skip-free-space", expect=husk.DONE)

    def test_the_running_root_is_refused(self):
        done = husk.run("protect", "--root", "--keyfile", self.keyfile).expect_error_line(husk.REFUSED)
        self.assertIn("attach its disk", done.err)

    @needs_faults
    def test_cut_at_any_directory_the_same_command_goes_on(self):
        before = self.trees()
        for point in "convert.copied", "convert.exchange:2", "convert.exchanged:3", "convert.recorded:4", "convert.journal:6":
            name, _, hit = point.partition(":")
            done = self.call("protect", "--root", "--skip-free-space", "--recovery-out", self.recovery,
                             fault=f"{name}:crash:{hit or 1}")
            self.assertTrue(done.crashed or done.status == husk.DONE, done)
        self.call("protect", "--root", expect=husk.DONE)
        self.assertSame(before)
        self.assertEqual(len(os.listdir(self.path(".husk/plaintext/root"))), 3)


if __name__ == "__main__":
    unittest.main()
