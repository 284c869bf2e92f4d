"""The root of a host on its disk attached from outside: what it consists of, what is refused, and that it waits."""

import json
import os
import re
import shutil
import subprocess
import unittest

import disk
import husk
import manifest
from canary import Canaries, left_of_free_space
from host_root import CRYPTTAB, GRUB, HOOKS, HostRoot
from job import needs_faults
from terminal import on_terminal
from undo import Undo

ENCRYPTED = ("etc", "home", "srv", "usr")
RECOVERY_KEY = r"husk(?:-[0-9A-Z]{5}){13}"
# What Ubuntu's update-grub makes for its cloud images.
FORCED_PARTUUID = """\
if [ "${initrdfail}" = 1 ]; then
  linux /boot/vmlinuz-6.1.0-1 root=PARTUUID=0123 ro console=tty1
  initrd /boot/initrd.img-6.1.0-1
else
  linux /boot/vmlinuz-6.1.0-1 root=PARTUUID=0123 ro console=tty1 panic=-1
  #Dont try initramfs when booting without
fi
initrdfail""".splitlines()

UPDATE_GRUB = """\
if [ -s $prefix/grubenv ]; then
  load_env
fi
function gfxmode {
	set gfxpayload="${1}"
}
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-0123' {
	load_video
	if [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
	search --no-floppy --fs-uuid --set=root 0123
	echo	'Loading Linux 6.1.0-1 ...'
	linux	/boot/vmlinuz-6.1.0-1 root=UUID=0123 ro quiet
	echo	'Loading initial ramdisk ...'
	initrd	/boot/initrd.img-6.1.0-1
}
submenu 'Advanced options' $menuentry_id_option 'gnulinux-advanced-0123' {
	menuentry 'Debian GNU/Linux, 6.1.0-1 (recovery mode)' --class debian {
		linux	/boot/vmlinuz-6.1.0-1 root=UUID=0123 ro single
		initrd	/boot/initrd.img-6.1.0-1
	}
}
"""


def module(version):
    """As far as husk looks at a module of GRUB."""
    return f"\x7fELF\0GNU GRUB  version %s\0{version}\0more"


class RootTest(HostRoot):
    def kinds(self, *words, expect=husk.REFUSED):
        found = self.json("check", "--root", *words, expect=expect)
        return {finding["kind"] for finding in found["findings"]
                if finding["kind"] != "hidden-processes" and "fstab mounts another filesystem" not in finding["cause"]}

    def trees(self):
        return [manifest.take(self.path(name)) for name in ENCRYPTED]

    def assertSame(self, before):
        for was, name in zip(before, ENCRYPTED):
            manifest.same(was, manifest.take(self.path(name)), ["atime"])

    def test_all_but_mount_points_and_boot_is_encrypted_and_the_old_trees_wait(self):
        before = self.trees()
        self.assertEqual(self.kinds(expect=husk.DONE), set())
        self.assertIn("data", [finding["subject"] for finding in self.json("check", "--root")["findings"]])
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

    def test_what_never_booted_is_given_up_by_scrubbing_the_old_trees_and_decrypting(self):
        before = self.trees()
        self.protect_root()
        self.assertIn("the old trees wait, in the clear", self.call("status", "root").out)
        for words in ("protect", "--root", "--abort"), ("protect", "--root", "--commit"), ("unprotect", "root"):
            self.assertIn("--confirm root", self.call(*words).expect_error_line(husk.REFUSED).err)
        self.call("protect", "--root", "--commit", "--confirm", "data").expect_error_line(husk.USAGE)
        self.call("protect", "--root", "--confirm", "root").expect_error_line(husk.USAGE)
        self.assertTrue(os.listdir(self.path(".husk/plaintext/root")))
        self.call("protect", "--root", "--commit", "--confirm", "root", "--skip-free-space", expect=husk.DONE)
        self.assertFalse(os.path.exists(self.path(".husk/plaintext/root")))
        self.call("unprotect", "root", expect=husk.DONE)
        for name in ENCRYPTED:
            self.assertEncrypted(self.path(name), False)
        self.assertSame(before)

    def test_its_commit_leaves_nothing_of_the_old_trees_on_the_disk(self):
        canaries = Canaries()
        for name in "srv/letters", "usr/share/letters":
            canaries.plant(self.path(name))
        before = self.trees()
        self.protect_root()
        self.assertGreater(canaries.find(self.d)["content"], 0)  # where they wait
        done = self.call("protect", "--root", "--commit", "--confirm", "root", expect=husk.DONE)
        canaries.gone(self.d, left_bytes=left_of_free_space(done.err + done.out))
        self.assertSame(before)

    def test_a_chroot_into_its_disk_is_no_boot_of_it(self):
        self.protect_root()
        shutil.copy(husk.PROGRAM, self.path("usr/bin/husk"))
        for name in "proc", "sys", "dev":
            subprocess.run(["mount", "--rbind", "--make-rslave", f"/{name}", self.path(name)], check=True)
            self.addCleanup(subprocess.run, ["umount", "-R", self.path(name)], check=True)
        done = subprocess.run(["chroot", self.d.path, "/usr/bin/husk", "protect", "--root", "--commit", "--skip-free-space"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, husk.REFUSED, done.stdout)
        self.assertIn("have not booted", done.stdout)
        self.assertTrue(os.listdir(self.path(".husk/plaintext/root")))

    def test_nor_is_a_container_on_it(self):
        self.protect_root()
        shutil.copy(husk.PROGRAM, self.path("boot/husk"))
        done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "sh", "-ec", 'mount -t proc proc "$1/proc"\n'
                               'exec chroot "$1" /boot/husk protect --root --commit --skip-free-space', "sh", self.d.path],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, husk.REFUSED, done.stdout)
        self.assertIn("have not booted", done.stdout)
        self.assertTrue(os.listdir(self.path(".husk/plaintext/root")))

    def test_nothing_is_scrubbed_where_an_old_tree_was_put_back_by_hand(self):
        self.protect_root()
        old = self.path(".husk/plaintext/root")
        names = sorted(os.listdir(old))
        (etc,) = (name for name in names if os.path.exists(os.path.join(old, name, "passwd")))
        os.rename(self.path("etc"), self.path("etc.husk"))
        os.rename(os.path.join(old, etc), self.path("etc"))
        commit = "protect", "--root", "--commit", "--confirm", "root", "--skip-free-space"
        refused = self.call(*commit).expect_error_line(husk.REFUSED)
        self.assertIn("/etc is not the directory that its conversion left there", refused.err)
        self.assertEqual(sorted(os.listdir(old)), [name for name in names if name != etc])
        os.rename(self.path("etc"), os.path.join(old, etc))
        os.rename(self.path("etc.husk"), self.path("etc"))
        self.call(*commit, expect=husk.DONE)

    def test_locked_nothing_can_be_told(self):
        self.protect_root()
        self.call("lock", "root", expect=husk.DONE)
        for verb in ("protect", "--root"), ("check", "--root"):
            self.assertIn("husk unlock", self.call(*verb).expect_error_line(husk.FAILED, husk.REFUSED).err)

    def test_on_the_running_system_it_is_told_that_the_root_is_encrypted_already(self):
        self.protect_root()
        shutil.copy(husk.PROGRAM, self.path("boot/husk"))
        subprocess.run(["mount", "-t", "proc", "proc", self.path("proc")], check=True)
        self.addCleanup(subprocess.run, ["umount", self.path("proc")], check=True)
        done = subprocess.run(["chroot", self.d.path, "/boot/husk", "check", "--root"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, husk.DONE, done.stdout)
        self.assertIn("the root is encrypted already", done.stdout)
        self.assertNotIn("--at DIR", done.stdout)

    def test_a_root_of_which_one_directory_is_encrypted_is_not_taken_for_an_encrypted_one(self):
        key = self.beside("key")
        with open(key, "wb") as file:
            file.write(os.urandom(64))
        self.call("protect", self.path("srv"), "--vault", "data", "--keyfile", key, "--skip-free-space", expect=husk.DONE)
        shutil.copy(husk.PROGRAM, self.path("boot/husk"))
        subprocess.run(["mount", "-t", "proc", "proc", self.path("proc")], check=True)
        self.addCleanup(subprocess.run, ["umount", self.path("proc")], check=True)
        done = subprocess.run(["chroot", self.d.path, "/boot/husk", "check", "--root"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertNotIn("encrypted already", done.stdout)

    def make_running(self, root):
        """What husk looks at of a running system is there for a chroot."""
        shutil.copy(husk.PROGRAM, f"{root}/boot/husk")
        for name, words in ("proc", ("-t", "proc", "proc")), ("dev", ("--bind", "/dev")):
            subprocess.run(["mount", *words, f"{root}/{name}"], check=True)
            self.addCleanup(subprocess.run, ["umount", "-R", f"{root}/{name}"], check=True)

    def test_on_a_running_system_that_grub_did_not_load_nothing_is_known_of_its_initramfs(self):
        self.make_running(self.d.path)
        line = self.beside("cmdline")
        for text, status in ("root=/dev/vda ro\n", husk.REFUSED), ("BOOT_IMAGE=/boot/vmlinuz root=/dev/vda ro\n", husk.DONE):
            with open(line, "w", encoding="ascii") as file:
                file.write(text)
            subprocess.run(["mount", "--bind", line, self.path("proc/cmdline")], check=True)
            done = subprocess.run(["chroot", self.d.path, "/boot/husk", "check", "--root", "--json"],
                                  stdout=subprocess.PIPE, check=False)
            found = json.loads(done.stdout)["findings"]
            self.assertEqual(done.returncode, status, found)
            self.assertEqual("unknown-loader" in [finding["kind"] for finding in found], status == husk.REFUSED)

    def test_on_a_running_system_a_filesystem_without_the_feature_is_told(self):
        plain = self.enterContext(disk.ext4("plain", size_mib=64))
        subprocess.run(["cp", "-a", f"{self.d.path}/.", plain.path], check=True)
        self.make_running(plain.path)
        line = self.beside("cmdline")
        with open(line, "w", encoding="ascii") as file:
            file.write("BOOT_IMAGE=/boot/vmlinuz root=/dev/vda ro\n")
        subprocess.run(["mount", "--bind", line, f"{plain.path}/proc/cmdline"], check=True)
        done = subprocess.run(["chroot", plain.path, "/boot/husk", "check", "--root", "--json"],
                              stdout=subprocess.PIPE, check=True)
        (found,) = [finding for finding in json.loads(done.stdout)["findings"] if finding["kind"] == "no-encrypt-feature"]
        self.assertIn("--enable-feature", found["remedy"])

    def test_without_a_place_the_disk_of_another_host_is_not_committed(self):
        self.protect_root()
        rescue = self.enterContext(disk.ext4("plain", size_mib=64))
        for name in "boot", "proc", "dev", "mnt":
            os.mkdir(f"{rescue.path}/{name}")
        self.make_running(rescue.path)
        subprocess.run(["mount", "--bind", self.d.path, f"{rescue.path}/mnt"], check=True)
        self.addCleanup(subprocess.run, ["umount", f"{rescue.path}/mnt"], check=True)
        done = subprocess.run(["chroot", rescue.path, "/boot/husk", "protect", "--root", "--commit", "--skip-free-space"],
                              capture_output=True, check=False, text=True)
        self.assertEqual(done.returncode, husk.REFUSED, done)
        self.assertIn("on the disk at /mnt", done.stderr)
        self.assertIn("--at", done.stderr)
        self.assertTrue(os.listdir(self.path(".husk/plaintext/root")))

    def test_whatever_its_vault_is_called_the_commands_that_are_named_find_it(self):
        self.protect_root("--vault", "sys")
        self.json("protect", "--root", "--abort", expect=husk.REFUSED)  # not "there is no vault root"
        self.json("protect", "--root", "--commit", "--skip-free-space", "--confirm", "sys", expect=husk.DONE)
        self.assertFalse(os.path.exists(self.path(".husk/plaintext/sys")))

    def test_an_erase_of_the_host_goes_on_by_the_same_command_though_its_name_cannot_be_read_any_more(self):
        self.write("etc/hostname", "web-7\n")
        self.protect_root()
        with open(self.path("etc/fstab"), "rb"):
            self.json("erase", "--all", "--confirm", "web-7", expect=husk.INCOMPLETE)
        self.json("erase", "--all", "--confirm", "web-7", expect=husk.DONE)
        self.assertEqual(self.state("root"), "erased")

    def test_a_root_that_is_protected_is_told_as_such_and_nothing_is_in_the_way(self):
        self.protect_root("--vault", "main")
        found = self.json("check", "--root", expect=husk.DONE)["findings"]
        self.assertIn("encrypted-already", [finding["kind"] for finding in found])
        self.assertNotIn("would go ahead", self.call("check", "--root", expect=husk.DONE).out)

    def test_a_recovery_key_that_is_written_to_memory_is_told(self):
        memory = self.beside("memory")
        os.mkdir(memory)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", memory], check=True)
        self.addCleanup(subprocess.run, ["umount", memory], check=True)
        self.protect_root()
        for place, is_told in (memory, True), (self.path("boot"), False):
            found = self.json("keyslot", "add", "root", "--recovery-out", os.path.join(place, "recovery"),
                              "--with-recovery-key-file", self.recovery)["findings"]
            self.assertEqual("recovery-key-in-memory" in [finding["kind"] for finding in found], is_told)

    def kernel(self, release):
        self.write(f"boot/vmlinuz-{release}", "kernel")
        self.image(f"initrd.img-{release}", ["husk-initramfs"])

    def entry(self, lines):
        self.write("boot/grub/grub.cfg", GRUB + "menuentry 'two' {\n" + "".join(f"\t{line}\n" for line in lines) + "}\n")

    def test_what_would_not_boot_or_would_leak_is_refused(self):
        linux, initrd = "linux /boot/vmlinuz root=/dev/vda", "initrd /boot/initrd.img-6.1.0-1"
        fstab = lambda line: lambda: self.write("etc/fstab", line + "\n")
        cases = [
            ("separate-usr", fstab("/dev/vdc /usr ext4 ro 0 2")),
            ("left-plain", fstab("LABEL=gone /srv ext4 nofail 0 2")),
            ("separate-usr", fstab("/dev/vdc /usr// ext4 ro 0 2")),
            ("swap", fstab("/swapfile none swap sw 0 0")),
            ("swap", fstab("/dev/mapper/vg-swap none swap sw 0 0")),
            ("swap", fstab("/dev/mapper/kept none swap sw 0 0")),
            ("swap", fstab("/dev/dm-0 none swap sw 0 0")),
            ("swap", lambda: self.write("etc/systemd/system/dev-vdc.swap", "[Swap]\nWhat = /dev/vdc\n")),
            ("boot-not-mounted", fstab("/dev/vdc /boot ext4 defaults 0 2")),
            ("boot-not-mounted", fstab("/dev/vdc /boot/ ext4 defaults 0 2")),
            ("kdump", lambda: self.write("etc/default/kdump-tools", "USE_KDUMP=1\n")),
            ("kdump", lambda: self.write("etc/default/kdump-tools", " export USE_KDUMP='1'  # on\n")),
            ("kdump", lambda: self.write("etc/default/kdump-tools", 'USE_KDUMP=0\nUSE_KDUMP="1"\n')),
            ("hibernation", lambda: self.write("etc/initramfs-tools/conf.d/resume", "RESUME=UUID=0123\n")),
            ("hibernation", lambda: self.write("etc/initramfs-tools/initramfs.conf", "RESUME='auto'\n")),
            ("hibernation", lambda: self.write("etc/default/grub", "GRUB_CMDLINE_LINUX='quiet resume=/dev/vdc'\n")),
            ("hibernation", lambda: self.write("etc/default/grub.d/x.cfg", 'GRUB_CMDLINE_LINUX_DEFAULT="resume=/dev/vdc"\n')),
            ("hibernation", lambda: self.entry([linux + " quiet resume=/dev/vdc", initrd])),
            ("no-boot-hook", lambda: os.remove(self.path(HOOKS, "hooks/husk"))),
            ("unknown-initramfs", lambda: os.remove(self.path(HOOKS, "hook-functions"))),
            ("no-initramfs", lambda: self.write("boot/vmlinuz-6.1.0-2", "kernel")),
            ("old-kernel", lambda: self.kernel("5.6.0-1")),
            ("initramfs-without-husk", lambda: self.image("initrd.img-6.1.0-1", ["kernel/x86/microcode/a.bin"])),
            ("initramfs-without-husk", lambda: self.image("initrd.img-6.1.0-1", ["husk-initramfs"], kernel="6.1.0-2")),
            ("initramfs-without-husk", lambda: self.entry([linux, "initrd /boot/initrd.old"])),
            ("initramfs-without-husk", lambda: self.entry([linux, "initrd /boot/vmlinuz-6.1.0-1 /boot/initrd.old"])),
            ("initramfs-without-husk", lambda: self.entry([linux, "initrd /boot/gone.img /boot/initrd.img-6.1.0-1"])),
            ("initramfs-without-husk", lambda: self.write("boot/grub/custom.cfg", f"menuentry x {{\n{linux}\ninitrd /x\n}}\n")),
            ("unknown-loader", lambda: self.entry(["source /boot/grub/more.cfg"])),
            ("unknown-loader", lambda: self.entry(["if [ -f x ]; then configfile ${prefix}/more.cfg; fi"])),
            ("initramfs-with-older-husk",
             lambda: self.image("initrd.img-6.1.0-1", ["husk-initramfs"], version=0)),
            ("boot-entry-without-initramfs", lambda: self.entry([linux])),
            ("boot-entry-without-initramfs", lambda: self.entry(FORCED_PARTUUID)),
            ("boot-entry-without-initramfs", lambda: self.entry([f"if [ x ]; then {linux}; else {linux}; {initrd}; fi"])),
            ("boot-entry-without-initramfs", lambda: self.entry([linux, linux, initrd])),
            ("boot-entry-without-initramfs", lambda: self.write("boot/grub/grub.cfg", f"menuentry 'x' {{ {linux}; }}\n")),
            ("boot-entry-without-initramfs", lambda: self.write("boot/grub/custom.cfg", f"menuentry x {{\n{linux}\n}}\n")),
            ("unknown-loader", lambda: os.remove(self.path("boot/grub/grub.cfg"))),
            ("unknown-loader", lambda: self.write("boot/loader/entries/a.conf", "linux /vmlinuz\n")),
            ("unknown-loader", lambda: self.write("boot/extlinux/extlinux.conf", "LINUX /vmlinuz\n")),
            ("old-loader", lambda: self.write("boot/grub/i386-pc/normal.mod", module("2.02+dfsg1-20"))),
        ]
        for number, (kind, damage) in enumerate(cases):
            with self.subTest(kind, number=number):
                damage()
                self.assertEqual(self.kinds(), {kind})
            if number == 1 or kind == "initramfs-with-older-husk":
                with self.nothing_changes():
                    self.assertIn(kind, str(self.protect_root(expect=husk.REFUSED)["findings"]))
            self.restore(kind)

    def test_a_boot_of_its_own_has_the_names_that_its_filesystem_has(self):
        self.write("etc/fstab", "/dev/vda / ext4 defaults 0 1\n/dev/vdc /boot ext4 defaults 0 2\n")
        undo = self.enterContext(Undo())
        image = self.beside("boot.ext4")
        with open(image, "wb") as file:
            file.truncate(16 << 20)
        disk.run("mkfs.ext4", "-q", "-d", self.path("boot"), image)
        disk.run("mount", disk.attach(undo, image), self.path("boot"))
        undo.push(disk.unmount, self.path("boot"))
        self.write("boot/grub/grub.cfg", GRUB.replace("/boot/", "/"))
        self.assertEqual(self.kinds(expect=husk.DONE), set())
        self.write("boot/grub/grub.cfg", GRUB)
        self.assertEqual(self.kinds(), {"initramfs-without-husk"})

    def backups(self):
        for name in "x.cfg.dpkg-old", ".x.cfg", "x":
            self.write(f"etc/default/grub.d/{name}", "GRUB_CMDLINE_LINUX='resume=/dev/vdc'\n")
        for name in "resume.dpkg-old", "resume~", ".resume":
            self.write(f"etc/initramfs-tools/conf.d/{name}", "RESUME=auto\n")
        for name in "etc/default/grub.d/old.cfg", "etc/initramfs-tools/conf.d/old":
            os.makedirs(self.path(name))

    def test_what_does_no_harm_is_not_refused(self):
        linux, initrd = "linux /boot/vmlinuz root=/dev/vda noresume", "initrd /boot/initrd.img-6.1.0-1"
        cases = {
            "a kernel as old as can be": lambda: self.kernel("5.7.0-1"),
            "zram": lambda: self.write("etc/fstab", "/dev/zram0 none swap sw 0 0\n"),
            "an empty mount point": lambda: self.write("etc/fstab", "LABEL=gone /home ext4 nofail 0 2\n"),
            "switched off": lambda: self.write("etc/fstab", "/dev/vdc none swap sw,noauto 0 0\n"),
            "masked": lambda: os.symlink("/dev/null", self.path("etc/systemd/system/dev-vdc.swap")),
            "no resume": lambda: self.write("etc/initramfs-tools/conf.d/resume", "#RESUME=auto\nRESUME=none\n"),
            "files that nothing reads": self.backups,
            "both branches": lambda: self.entry(["if [ x ]; then", linux, initrd, "else", linux, initrd, "fi"]),
            "as update-grub makes it": lambda: self.write("boot/grub/grub.cfg", UPDATE_GRUB),
            "microcode first": lambda: self.entry([linux, "initrd ($root)/boot/vmlinuz-6.1.0-1 '/boot/initrd.img-6.1.0-1'"]),
            "custom.cfg": lambda: self.entry(["if [ -f ${config_directory}/custom.cfg ]; then", "source ${config_directory}/custom.cfg",
                                              "elif [ -f $prefix/custom.cfg ]; then", "source $prefix/custom.cfg", "fi"]),
            "memory test": lambda: self.entry(["linux16 /boot/memtest86+.bin console=ttyS0"]),
            "comment": lambda: self.entry([f"#{linux}"]),
            "new GRUB": lambda: self.write("boot/grub/i386-pc/normal.mod", module("2.06-13+deb12u1")),
        }
        os.makedirs(self.path("etc/systemd/system"))
        for name, change in cases.items():
            with self.subTest(name):
                change()
                self.assertEqual(self.kinds(expect=husk.DONE), set())
            self.restore(name)

    def restore(self, kind):
        for name in ("etc/default/kdump-tools", "boot/vmlinuz-6.1.0-2", "boot/vmlinuz-5.6.0-1", "etc/default/grub",
                     "etc/default/grub.d/x.cfg", "boot/grub/custom.cfg", "etc/initramfs-tools/conf.d/resume", "etc/initramfs-tools/initramfs.conf",
                     "etc/systemd/system/dev-vdc.swap"):
            if os.path.lexists(self.path(name)):
                os.remove(self.path(name))
        for name in "boot/loader", "boot/extlinux", "boot/grub/i386-pc":
            shutil.rmtree(self.path(name), ignore_errors=True)
        self.write("etc/fstab", "")
        self.write("etc/crypttab", CRYPTTAB + "kept /dev/vdd /boot/key luks\n")
        self.write("boot/grub/grub.cfg", GRUB)
        for name in "hook-functions", "hooks/husk":
            self.write(f"{HOOKS}/{name}", "")
        if kind.startswith("initramfs-with"):
            self.image("initrd.img-6.1.0-1", ["husk-initramfs"])
        self.assertEqual(self.kinds(expect=husk.DONE), set(), kind)

    def test_a_boot_without_room_for_another_initramfs_is_refused(self):
        names = os.listdir(self.path("boot"))
        small = self.beside("small")
        os.mkdir(small)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "small", small], check=True)
        self.addCleanup(subprocess.run, ["umount", small], check=True)
        subprocess.run(["cp", "-a", *(self.path("boot", name) for name in names), small], check=True)
        subprocess.run(["mount", "--bind", small, self.path("boot")], check=True)
        self.addCleanup(subprocess.run, ["umount", self.path("boot")], check=True)
        self.assertEqual(self.kinds(expect=husk.DONE), set())
        with open(self.path("boot/initrd.img-6.1.0-1"), "ab") as file:
            file.write(bytes(2 << 20))
        self.assertEqual(self.kinds(), {"no-room-in-boot"})

    def test_keys_have_to_be_ones_a_boot_finds(self):
        words = ("protect", "--root", "--keyfile")
        self.assertIn("/boot", self.call(*words, self.keyfile).expect_error_line(husk.REFUSED).err)
        self.assertEqual(os.path.exists(self.path(".husk/vaults")), False)
        with open(self.path("boot/husk.key"), "wb") as file:
            file.write(os.urandom(64))
        other = self.path("boot/other")
        os.mkdir(other)
        subprocess.run(["mount", "-t", "tmpfs", "other", other], check=True)
        self.addCleanup(subprocess.run, ["umount", other], check=True)
        shutil.copy(self.path("boot/husk.key"), other)
        refused = self.call(*words, f"{other}/husk.key").expect_error_line(husk.REFUSED)
        self.assertIn("no boot would find", refused.err)
        self.call(*words, self.path("boot/husk.key"), "--skip-free-space", expect=husk.DONE)

    @needs_faults
    def test_a_recovery_key_that_does_not_read_back_makes_no_vault(self):
        words = self.at("protect", "--root", "--skip-free-space", "--recovery-out", self.recovery)
        with husk.paused("program.recovery-read", *words) as paused:
            with open(self.recovery + ".new", "r+b") as file:
                file.seek(10)
                file.write(b"000")
        paused.done.expect_error_line(husk.FAILED)
        self.assertIn("read back", paused.done.err)
        self.assertFalse(os.path.exists(self.path(".husk/vaults/root")))
        self.assertFalse(os.path.exists(self.recovery + ".new"))
        self.protect_root()
        self.call("lock", "root", expect=husk.DONE)
        self.unlock_root()

    def show_recovery_key(self):
        return on_terminal(*self.at("protect", "--root", "--skip-free-space", "--recovery-out", "-"))

    def test_a_recovery_key_that_is_shown_has_to_be_typed_back_before_anything_is_made(self):
        asked = "its last two groups"
        self.kinds(expect=husk.DONE)  # what is looked at has its atime
        with self.nothing_changes(), self.show_recovery_key() as terminal:
            for typed in "", "ABCDE-FGHJK", "X":
                terminal.expect(asked).line(typed).expect("not how it ends")
            self.assertEqual(terminal.end(), husk.USAGE, terminal)
        with self.show_recovery_key() as terminal:
            (key,) = re.findall(RECOVERY_KEY, terminal.expect(asked).seen)
            terminal.line(key[-5:]).expect("not how it ends").expect(asked).line(key[-11:].lower().replace("-", " "))
            self.assertEqual(terminal.end(), husk.DONE, terminal)
            self.assertEqual(re.findall(RECOVERY_KEY, terminal.seen), [key])
        self.call("lock", "root", expect=husk.DONE)
        with open(self.recovery, "w", encoding="ascii") as file:
            file.write(key)
        self.unlock_root()

    def test_a_recovery_key_is_not_shown_where_nobody_can_type_it_back(self):
        with on_terminal("protect", "--root", "--recovery-out", "-", "--at", self.d.path, stdin=subprocess.DEVNULL) as terminal:
            self.assertEqual(terminal.end(), husk.USAGE, terminal)
            self.assertEqual(re.findall(RECOVERY_KEY, terminal.seen), [])
            self.assertIn("--recovery-out F", terminal.seen)

    def test_the_running_root_is_refused(self):
        done = husk.run("protect", "--root", "--keyfile", self.keyfile).expect_error_line(husk.REFUSED)
        self.assertIn("attach its disk", done.err)

    @needs_faults
    def test_given_up_while_it_copies_it_tells_that_empty_directories_stay_encrypted(self):
        os.mkdir(self.path("opt"))
        before = self.trees()
        self.call("protect", "--root", "--skip-free-space", "--recovery-out", self.recovery, fault="convert.copied:crash")
        self.assertIn("root takes them out", self.call("protect", "--root", "--abort", expect=husk.DONE).out)
        self.assertSame(before)
        self.call("unprotect", "root", expect=husk.DONE)
        for name in ("opt", *ENCRYPTED):
            self.assertEncrypted(self.path(name), False)

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
