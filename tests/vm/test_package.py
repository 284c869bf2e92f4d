"""The packages on a Debian system, without a boot: installed, removed, and the images of an initramfs they make.

What must be in an image is written down here again: it is compared with what the hook did, not with what the hook says.
"""

import json
import os
import unittest

from guest_chroot import GuestChroot, build_packages
import disk
import husk
from undo import Undo

OTHER = "6.1.0-99-cloud-amd64"  # newer, so the first that is built
HOOK = "usr/share/initramfs-tools/hooks/husk"
FUNCTIONS = "usr/share/initramfs-tools/hook-functions"
# Modules as initramfs-tools 0.148 adds them: they are noted down, and copied when that is asked for.
NOTES_DOWN = r'''
sed -i 's/^manual_add_modules()/copy_modules()/' /usr/share/initramfs-tools/hook-functions
cat >>/usr/share/initramfs-tools/hook-functions <<'END'
manual_add_modules() { printf '%s\n' "$@" >>"$DESTDIR.modules"; }
apply_add_modules() { touch "$DESTDIR.modules"; copy_modules $(sort -u "$DESTDIR.modules"); : >"$DESTDIR.modules"; }
END
sed -i 's/^run_scripts "${CONFDIR}"\/hooks/&; apply_add_modules/' /usr/sbin/mkinitramfs
'''
CIPHERS = "hmac sha512_generic sha256_generic aes_generic xts cts cbc ecb"
ACCELERATED = "aesni_intel sha512_ssse3 sha256_ssse3"
DISKS = "ext4 virtio_blk virtio_scsi virtio_pci nvme xen_blkfront sd_mod ata_piix hv_storvsc vmw_pvscsi"
CARDS = "virtio_net ena gve hv_netvsc mana vmxnet3 xen_netfront ixgbevf mlx4_en mlx5_core af_packet ipv6"
# What the kernel for clouds has none of.
RACKS = "ahci mptspi mpt3sas megaraid_sas e1000 e1000e igb igc ixgbe i40e iavf ice bnxt_en tg3 r8169".split()
PROMISED = f"{CIPHERS} {ACCELERATED} {DISKS} {CARDS}".split()
GROWTH_MOST = 3_000_000  # unpacked, with MODULES=most: what README, CHANGELOG and architecture.md say
ENDINGS = {"stop", "restart", "try-restart", "reload-or-restart", "kill", "disable", "mask", "isolate"}  # of systemctl
# As far as apt sees those of Debian.
OTHER_MAKER = '''
mkdir -p /root/{name}/DEBIAN /root/{name}/etc/{name}
cat >/root/{name}/DEBIAN/control <<END
Package: {name}
Version: 999
Architecture: all
Maintainer: nobody <nobody@invalid>
Provides: linux-initramfs-tool
Conflicts: initramfs-tools
Description: another maker of images
END
dpkg-deb --build /root/{name} /root/{name}.deb
'''

packages = {}


def setUpModule():
    packages.update(build_packages())


class ChrootTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.guest = cls.enterClassContext(GuestChroot())

    def fails(self, script, *words):
        status, told = self.guest.attempt(script)
        self.assertNotEqual(status, 0, told)
        for said in words:
            self.assertIn(said, told)
        return told

    @staticmethod
    def files(top):
        """{path: content} of all below."""
        return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(top.rglob("*"))}

    def passes(self, script):
        status, told = self.guest.attempt(script)
        self.assertEqual(status, 0, told)
        return told

    def has_husk(self, image):
        return "usr/sbin/husk" in self.guest.run(f"lsinitramfs {image}").split()


class RemovedTest(ChrootTest):
    """A host without a vault."""

    def test_removed_and_purged_it_leaves_images_that_can_be_built_and_what_is_in_husk(self):
        self.guest.install(packages["husk"])
        self.assertTrue(self.has_husk(f"/boot/initrd.img-{self.guest.kernel}"))
        for name in "authorities/one.json", "vaults", "network.json":
            path = self.guest.path(".husk") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("kept\n") if "." in name else path.mkdir()
        before = self.files(self.guest.path(".husk"))
        self.assertEqual(len(before), 4)
        self.passes("dpkg --remove husk")
        self.assertFalse(self.has_husk(f"/boot/initrd.img-{self.guest.kernel}"))
        self.assertTrue(self.guest.path("etc/initramfs/post-update.d/husk").exists())
        self.passes("update-initramfs -u")
        self.passes("dpkg --purge husk")
        self.assertFalse(self.guest.path("etc/initramfs/post-update.d/husk").exists())
        self.passes("update-initramfs -u")
        self.assertEqual(self.files(self.guest.path(".husk")), before)


class TwoKernelsTest(ChrootTest):
    """A host with a vault for data and two kernels, whose images were built before husk came. In the order of names."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        guest = cls.guest
        guest.add_kernel(OTHER)
        cls.kernels = guest.kernel, OTHER
        cls.plain = guest.path("root/plain")
        cls.plain.write_bytes(guest.image().read_bytes())
        cls.without_husk(cls)
        guest.path(".husk/vaults/data").mkdir(parents=True)
        cls.installed = guest.attempt(f"dpkg -i {guest.put(packages['husk'])}")

    def without_husk(self, *kernels):
        for kernel in kernels or self.kernels:
            self.guest.image(kernel).write_bytes(self.plain.read_bytes())

    def setUp(self):
        self.assertEqual(self.installed[0], 0, self.installed[1])

    def test_1_installing_builds_both(self):
        for kernel in self.kernels:
            self.assertTrue(self.has_husk(f"/boot/initrd.img-{kernel}"))

    def test_all_can_be_built_where_all_lack_it_and_one_alone_warns_of_the_other(self):
        self.without_husk()
        told = self.passes(f"update-initramfs -u -k {OTHER}")
        self.assertIn(f"W: husk: /boot/initrd.img-{self.guest.kernel} has no husk in it", told)
        self.assertNotIn("E: husk", told)
        self.without_husk()
        self.passes("update-initramfs -u -k all")
        for kernel in self.kernels:
            self.assertTrue(self.has_husk(f"/boot/initrd.img-{kernel}"))

    def test_an_image_that_was_just_built_without_it_is_an_error(self):
        self.guest.run(f"chmod -x /{HOOK}")
        self.addCleanup(self.guest.run, f"chmod +x /{HOOK}")
        self.fails("update-initramfs -u", f"E: husk: /boot/initrd.img-{OTHER} has no husk in it",
                   "E: husk: build it again: update-initramfs -u -k all")

    def test_it_stays_while_there_is_a_vault(self):
        self.fails("dpkg --remove husk", "husk stays", "data")

    def test_nothing_takes_the_place_of_what_builds_images_with_it(self):
        for name in "dracut", "tiny-initramfs":
            with self.subTest(name):
                self.guest.run(OTHER_MAKER.format(name=name))
                self.fails(f"apt-get install --yes /root/{name}.deb", "husk")
                self.assertFalse(self.guest.path(f"etc/{name}").exists())
        self.passes("dpkg --configure -a; update-initramfs -u -k all")
        for kernel in self.kernels:
            self.assertTrue(self.has_husk(f"/boot/initrd.img-{kernel}"))

    def test_while_an_image_lacks_it_installing_is_an_error(self):
        self.without_husk(self.guest.kernel)
        self.guest.no_images()
        self.fails("dpkg -i /root/husk_*.deb", f"E: husk: /boot/initrd.img-{self.guest.kernel} has no husk in it")


class OpenVaultTest(ChrootTest):
    """A vault on another filesystem of the host, open, and opened at boot by its unit. In the order of names."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        guest = cls.guest
        guest.no_images()
        guest.install(packages["husk"])
        cls.undo = cls.enterClassContext(Undo())
        cls.device = cls.filesystem()
        disk.run("mount", cls.device, guest.path("srv"))
        cls.undo.push(disk.unmount, str(guest.path("srv")))
        guest.run("mkdir /srv/letters; echo Dear >/srv/letters/one; head -c 64 /dev/urandom >/root/key; chmod 600 /root/key\n"
                  "husk protect /srv/letters --vault letters --keyfile /root/key --skip-free-space\n"
                  "systemctl enable husk-vault@letters husk-agent husk-ticket")
        cls.fstab = guest.path("etc/fstab").read_text()

    @classmethod
    def filesystem(cls):
        image = os.path.join(disk.scratch(cls.undo), "data")
        with open(image, "wb") as file:
            file.truncate(64 << 20)
        disk.run("mkfs.ext4", "-q", "-O", "encrypt", image)
        return disk.attach(cls.undo, image)

    def kept(self):
        """What was done to packages leaves this as it is."""
        guest = self.guest
        found = guest.run("husk status --json; cat /srv/letters/one; find /etc/systemd/system -type l -printf '%p %l\\n' | sort")
        self.assertIn('"state":"unlocked"', found)
        self.assertIn("wants/husk-vault@letters.service /lib/systemd/system/husk-vault@.service\n", found)
        return found, self.files(guest.path("srv/.husk"))

    def newer(self):
        """The package again, as a later version of it."""
        self.guest.run(f"dpkg-deb -R /root/{packages['husk'].name} /root/newer; cd /root/newer\n"
                       "sed -i 's/^Version: .*/&+later/' DEBIAN/control; echo later >usr/share/doc/husk/later\n"
                       "dpkg-deb --build /root/newer /root/newer.deb")
        return "/root/newer.deb"

    def touches_nothing(self, script):
        """Nor does it, where systemd runs, ask it to; the script's status and what it told."""
        before = self.kept()
        systemctl = self.guest.path("usr/bin/systemctl")
        with self.guest.hidden("usr/bin/systemctl"):
            self.guest.run("mkdir -p /run/systemd/system; : >/root/asked")
            systemctl.write_text('#!/bin/sh\necho "$*" >>/root/asked\n')
            systemctl.chmod(0o755)
            try:
                done = self.guest.attempt(script)
            finally:
                self.guest.run("rm -r /run/systemd/system")
        asked = [line.split() for line in self.guest.path("root/asked").read_text().splitlines()]
        self.assertIn(["--system", "daemon-reload"], asked)
        self.assertEqual([line for line in asked if ENDINGS & set(line) or "husk-vault" in " ".join(line)], [])
        self.assertEqual(self.kept(), before)
        return done

    def test_1_an_upgrade_and_a_removal_that_is_refused_touch_nothing(self):
        for script in f"dpkg -i {self.newer()}", f"dpkg -i /root/{packages['husk'].name}":  # there and back
            status, told = self.touches_nothing(script)
            self.assertEqual(status, 0, told)
        for script in "dpkg --remove husk", "dpkg --purge husk", "apt-get purge --yes husk":
            status, told = self.touches_nothing(script)
            self.assertNotEqual(status, 0, told)
            self.assertRegex(told, "husk stays: .* letters")

    def test_2_one_that_is_not_mounted_is_seen_where_fstab_has_it(self):
        guest = self.guest
        guest.run("husk lock letters; umount /srv")
        uuid = disk.run("blkid", "-p", "-o", "value", "-s", "UUID", self.device).strip()
        for line, shown in (f"{self.device} /srv ext4 noauto", "/srv"), (f"UUID={uuid}\t/media/my\\040data\text4", "/media/my data"):
            guest.path("etc/fstab").write_text(f"{self.fstab}#{self.device} /no ext4 defaults\n\n{line}")
            self.fails("dpkg --remove husk", "husk stays", f"letters (of {shown}, not mounted)")
        guest.run("mkdir '/media/my data'; mount '/media/my data'")
        self.assertNotIn("not mounted", self.fails("dpkg --remove husk", "husk stays", "letters"))
        guest.run("umount '/media/my data'")
        guest.run(f"mount {self.device} /srv; husk unlock letters --keyfile /root/key")
        self.kept()

    def test_3_what_fstab_has_without_a_vault_keeps_nothing(self):
        guest = self.guest
        guest.run("husk lock letters; umount /srv")
        self.addCleanup(guest.run, f"mount {self.device} /srv")
        plain = self.filesystem()
        guest.path("etc/fstab").write_text(f"{self.fstab}/dev/gone /media ext4 nofail 0 2\n#/dev/old /old ext4 defaults 0 2\n"
                                           f"/dev/other /other xfs noauto 0 2\n{plain} /mnt ext4 noauto 0 2\n")
        before = guest.run(f"sha256sum {self.device} {plain}")
        told = self.passes("dpkg --remove husk")
        self.assertIn("husk: /dev/gone (/media in /etc/fstab) could not be looked into", told)
        self.assertEqual(told.count("could not be looked into"), 1, told)
        self.passes("dpkg --purge husk")
        self.assertEqual(guest.run(f"sha256sum {self.device} {plain}"), before)


class CheckedRootTest(ChrootTest):
    """husk check --root as root of a Debian system has it, with Debian's kernel and the images made for it."""

    def findings(self):
        """{(kind, subject)}, which decide how it ends; but for what is told of every ext4 as Debian makes it."""
        status, told = self.guest.attempt("husk check --root --json 2>/dev/null")
        found = {(one["kind"], one["subject"]) for one in json.loads(told)["findings"]}
        found.remove(("no-encrypt-feature", "/"))
        self.assertEqual(status, husk.REFUSED if found else husk.DONE, told)
        return found

    def grub_loads(self, *kernels):
        """As far as update-grub makes it."""
        configuration = self.guest.path("boot/grub/grub.cfg")
        configuration.parent.mkdir(exist_ok=True)
        configuration.write_text("".join(
            f"menuentry 'Debian {kernel}' {{\n\tlinux\t/boot/vmlinuz-{kernel} root=/dev/vda ro\n"
            f"\tinitrd\t/boot/initrd.img-{kernel}\n}}\n" for kernel in kernels))

    def booted_by(self, line):
        """For what is run from now on; this machine's own is another."""
        path = self.guest.path("root/cmdline")
        path.write_text(line)
        disk.run("mount", "--bind", path, self.guest.path("proc/cmdline"))
        self.addCleanup(disk.unmount, str(self.guest.path("proc/cmdline")))

    def test_it_finds_what_is_missing_and_nothing_else(self):
        guest = self.guest
        image, other = (f"initrd.img-{kernel}" for kernel in (guest.kernel, OTHER))
        guest.no_images()
        guest.install(packages["husk"])
        self.booted_by("root=/dev/vda ro\n")
        self.assertEqual(self.findings(), {("initramfs-without-husk", image), ("unknown-loader", "/boot/grub/grub.cfg"),
                                           ("unknown-loader", "/proc/cmdline")})
        guest.path("etc/initramfs-tools/update-initramfs.conf").write_text("update_initramfs=yes\n")
        guest.run("update-initramfs -u")
        self.booted_by(f"BOOT_IMAGE=/boot/vmlinuz-{guest.kernel} root=/dev/vda ro\n")
        self.grub_loads(guest.kernel)
        self.assertEqual(self.findings(), set())
        with guest.hidden(HOOK):
            self.assertEqual(self.findings(), {("no-boot-hook", f"/{HOOK}")})
        guest.add_kernel(OTHER)
        self.assertEqual(self.findings(), {("no-initramfs", other)})
        guest.image(OTHER).write_bytes(guest.image().read_bytes())
        self.assertEqual(self.findings(), {("initramfs-without-husk", other)})
        guest.run(f"update-initramfs -u -k {OTHER}")
        self.grub_loads(OTHER, guest.kernel)
        self.assertEqual(self.findings(), set())


class HookTest(ChrootTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.guest.install(packages["husk"])
        cls.xts = f"lib/modules/{cls.guest.kernel}/kernel/crypto/xts.ko"

    def build_fails(self, *words):
        """And the image of before stays."""
        before = self.guest.image().read_bytes()
        self.fails("update-initramfs -u", "so it is not built", *words)
        self.assertEqual(self.guest.image().read_bytes(), before)

    def test_a_cipher_the_kernel_does_not_have_is_an_error(self):
        depmod = f"depmod {self.guest.kernel}"
        self.addCleanup(self.guest.run, depmod)
        with self.guest.hidden(self.xts):
            self.guest.run(depmod)
            self.build_fails(f"E: husk: the kernel {self.guest.kernel} has no xts")

    def test_a_cipher_whose_module_is_gone_is_an_error(self):
        with self.guest.hidden(self.xts):
            self.build_fails("E: husk:", "xts.ko, for xts, did not get into the image")

    def test_where_modules_are_only_noted_down_it_has_them_copied(self):
        names = FUNCTIONS, "usr/sbin/mkinitramfs"
        before = {name: self.guest.path(name).read_bytes() for name in names}
        for name, content in before.items():
            self.addCleanup(self.guest.path(name).write_bytes, content)
        self.guest.run(NOTES_DOWN)
        for name in names:
            self.assertNotEqual(self.guest.path(name).read_bytes(), before[name], name)
        self.passes("update-initramfs -u")
        listed = self.guest.run(f"lsinitramfs /boot/initrd.img-{self.guest.kernel}").split()
        self.assertIn(self.xts, {name.removeprefix("usr/") for name in listed})
        with self.guest.hidden(self.xts):
            self.build_fails("E: husk:", "xts.ko, for xts, did not get into the image")

    def test_a_kernel_built_without_encryption_of_files_is_an_error(self):
        config = self.guest.path(f"boot/config-{self.guest.kernel}")
        before = config.read_text()
        self.addCleanup(config.write_text, before)
        config.write_text(before.replace("CONFIG_FS_ENCRYPTION=y\n", "# CONFIG_FS_ENCRYPTION is not set\n"))
        self.build_fails(f"E: husk: the kernel {self.guest.kernel} cannot encrypt files")

    def test_it_is_built_where_nothing_can_be_executed(self):
        self.passes("exec unshare --mount sh -ec 'mount -t tmpfs -o noexec tmp /var/tmp; update-initramfs -u'")
        self.assertTrue(self.has_husk(f"/boot/initrd.img-{self.guest.kernel}"))

    def test_no_husk_is_an_error(self):
        with self.guest.hidden("usr/sbin/husk"):
            self.build_fails("E: husk: cannot copy /usr/sbin/husk")

    def test_a_husk_that_does_not_run_is_an_error(self):
        with self.guest.hidden("usr/sbin/husk"):
            program = self.guest.path("usr/sbin/husk")
            program.write_text("#!/bin/sh\nexit 1\n")
            program.chmod(0o755)
            self.build_fails("E: husk: /usr/sbin/husk does not run")
            program.unlink()


class ContentTest(ChrootTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.guest.no_images()

    def module_names(self, paths):
        return {os.path.basename(path).split(".ko")[0].replace("-", "_") for path in paths if ".ko" in path}

    def holds_what_is_promised(self, image, kernel=None, promised=()):
        modules = self.guest.path(f"lib/modules/{kernel or self.guest.kernel}")
        promised = {*PROMISED, *promised}
        built_in = self.module_names((modules / "modules.builtin").read_text().split())
        known = built_in | self.module_names(str(path) for path in modules.rglob("*.ko"))
        listed = self.guest.run(f"lsinitramfs {image}").split()
        self.assertEqual(promised - known, set(), "this kernel has none of these names")
        self.assertEqual(promised - built_in - self.module_names(listed), set())
        self.assertLess({"usr/sbin/husk", "scripts/local-bottom/husk", "scripts/husk-dhcp"}, set(listed))

    def unpacked(self, image):
        self.guest.run(f"rm -rf /root/unpacked; unmkinitramfs {image} /root/unpacked")
        return sum(path.stat().st_size for path in self.guest.path("root/unpacked").rglob("*")
                   if path.is_file() and not path.is_symlink())

    def test_every_promised_module_is_in_it_and_it_grows_by_three_megabytes_at_most(self):
        self.guest.configure("MODULES=most\n")
        before = self.unpacked(self.guest.build_image())
        self.guest.install(packages["husk"])
        image = self.guest.build_image()
        self.holds_what_is_promised(image)
        grown = self.unpacked(image) - before
        self.assertGreater(grown, 1_000_000, "husk is not in it")
        self.assertLessEqual(grown, GROWTH_MOST)
        for how in "list", "dep":
            with self.subTest(how):
                self.guest.configure(f"MODULES={how}\n")
                self.holds_what_is_promised(self.guest.build_image())

    @unittest.skipUnless(os.environ.get("HUSK_TEST_LONG"), "only in the long form: it fetches a kernel")
    def test_the_drivers_of_racks_are_in_an_image_of_the_kernel_that_has_them(self):
        self.guest.install(packages["husk"])
        self.guest.configure("MODULES=list\n")
        kernel = self.guest.add_kernel_of("linux-image-amd64")
        self.holds_what_is_promised(self.guest.build_image(kernel=kernel), kernel, RACKS)


class AuthorityTest(ChrootTest):
    def test_huskd_comes_with_its_user_units_and_page(self):
        guest = self.guest
        guest.install(packages["huskd"])
        self.assertRegex(guest.run("getent passwd huskd"),
                         r"(?m)^huskd:x:\d+:\d+:husk authority:/var/lib/huskd:/usr/sbin/nologin$")
        for name in "huskd.service", "huskd.socket":
            self.assertTrue(guest.path(f"lib/systemd/system/{name}").is_file(), name)
            # Who installs it decides when it begins: it needs huskd init first.
            self.assertNotIn("enabled", guest.attempt(f"systemctl is-enabled {name}")[1])
        self.passes("cd /lib/systemd/system && systemd-analyze --man=no verify huskd.socket huskd.service")
        self.assertIn("huskd", guest.run("zcat /usr/share/man/man8/huskd.8.gz"))
        self.assertIn("huskd", guest.run("huskd help"))
        # What it holds opens hosts, and stays whatever becomes of the package.
        guest.run("huskd init --root-out /root/root.key --address http://192.0.2.1:4875")
        held = self.files(guest.path("var/lib/huskd"))
        self.assertGreater(len(held), 1)
        self.passes("dpkg --purge huskd")
        self.assertFalse(guest.path("usr/sbin/huskd").exists())
        self.assertEqual(self.files(guest.path("var/lib/huskd")), held)


if __name__ == "__main__":
    unittest.main(verbosity=2)
