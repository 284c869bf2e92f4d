"""husk boot as the initramfs runs it, its console a terminal of the test's."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
import unittest

import disk
import husk
import sys_calls
from host_root import PASSPHRASE, HostRoot
from job import needs_faults
from terminal import on_terminal, screen


def without_proc():
    """In this process, which cannot see its mounts then."""
    sys_calls.unshare_mounts()
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", "/proc"], check=True)


def make_active(path, names):
    """In this process, whose kernel has these consoles then."""
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{names}\n")
    sys_calls.unshare_mounts()
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "--bind", path, "/sys/class/tty/console/active"], check=True)


class BootTest(HostRoot):
    def setUp(self):
        super().setUp()
        self.protect_root()
        self.d.remount("ro")

    @contextlib.contextmanager
    def boot(self, *words, **options):
        with on_terminal("boot", "--at", self.d.path, "--console", "/dev/tty", *words, **options) as terminal:
            yield terminal

    def state(self, name="root"):
        return super().state(name)

    def is_read_only(self):
        return bool(os.statvfs(self.d.path).f_flag & os.ST_RDONLY)

    def damage(self):
        """Nothing opens it then: husk stays and says so."""
        self.d.remount("rw")
        with open(self.path(".husk/vaults/root/vault.json"), "wb") as file:
            file.write(b"{")
        self.d.remount("ro")

    def test_the_recovery_key_opens_it_after_one_that_is_none(self):
        right = self.recovery_key()
        with self.boot() as console:
            console.expect("recovery key of vault root: ").line("no-such-key").expect("not a recovery key").expect("vault root: ")
            console.line("").line(right[1:] + right[0]).expect("recovery key").expect("vault root: ")
            # Mistyped, and mended with Ctrl-C, Ctrl-U and backspace.
            console.line(f"more\x03nonsense\x15{right}x\x7f").expect("vault root is open, by its recovery key")
            self.assertEqual(console.end(), husk.DONE)
            self.assertNotIn(right, console.seen)
        self.assertEqual(self.state(), "unlocked")
        self.assertTrue(self.is_read_only())

    def test_a_passphrase_opens_it_after_a_wrong_one(self):
        self.d.remount("rw")
        self.call("keyslot", "add", "root", "--passphrase-file", self.passphrase, "--with-recovery-key-file", self.recovery,
                  expect=husk.DONE)
        self.d.remount("ro")
        with self.boot() as console:
            console.expect("passphrase or recovery key of vault root: ").line("wrong horse battery")
            console.expect("that does not open vault root").expect("vault root: ").line(PASSPHRASE)
            console.expect("vault root is open, by its passphrase")
            self.assertEqual(console.end(), husk.DONE)
            self.assertNotIn("horse", console.seen)

    def lock_all(self):
        self.call("lock", "root", expect=husk.DONE)

    def test_open_already_or_with_nothing_to_open_it_does_nothing(self):
        self.unlock_root()
        with self.boot() as console:
            self.assertEqual(console.end(), husk.DONE)
        self.lock_all()
        self.d.remount("rw")
        shutil.rmtree(self.path(".husk/vaults/root"))
        for name in os.listdir(self.d.path):
            if name in ("etc", "usr", "var"):
                shutil.rmtree(self.path(name))
                os.mkdir(self.path(name))
        self.assertEqual(self.rehearsed(husk.DONE), {"nothing-to-open"})
        with self.boot() as console:
            self.assertEqual(console.end(), husk.DONE)
            self.assertEqual(console.seen, "")

    def test_where_the_vault_cannot_be_read_or_is_gone_it_stays_and_opens_when_that_is_mended(self):
        def mode(name, bits):
            return lambda: os.chmod(self.path(name), bits)

        def move(*names):
            return lambda: os.rename(*map(self.path, names))

        self.d.remount("rw")
        for spoil, mend in ((mode(".husk", 0o770), mode(".husk", 0o700)),
                            (mode(".husk/vaults/root", 0o770), mode(".husk/vaults/root", 0o700)),
                            (move(".husk/vaults/root", "aside"), move("aside", ".husk/vaults/root"))):
            spoil()
            self.assertIn("vault-unreadable", self.rehearsed())
            with self.boot() as console:
                console.expect("is encrypted, and no vault that can be read opens it - have its vault in /.husk/vaults again")
                mend()
                console.line("").expect("vault root: ").line(self.recovery_key()).expect("vault root is open")
                self.assertEqual(console.end(), husk.DONE)
            self.lock_all()
            spoil()
            with self.boot() as console:
                console.expect("trying again").line("shell")
                self.assertEqual(console.end(), husk.REFUSED)
            mend()

    def test_where_the_vault_is_gone_once_the_root_is_writable_it_is_not_taken_for_open(self):
        """What a person accepts needs that; nothing opens it then, until it is as it was."""
        self.d.remount("rw")
        os.remove(self.path("bin"))
        os.symlink("srv", self.path("bin"))
        self.d.remount("ro")
        with self.boot() as console:
            console.expect("vault root: ").line(self.recovery_key()).expect("type accept").expect("vault root: ")
            subprocess.run(["mount", "-o", "remount,rw", self.d.path], check=True)
            os.chmod(self.path(".husk"), 0o770)
            subprocess.run(["mount", "-o", "remount,ro", self.d.path], check=True)
            console.line("accept").expect("will be recorded").expect("vault root: ")
            console.line(self.recovery_key()).expect(".husk can be changed by others").expect("vault root: ")
            self.assertNotIn("vault root is open", console.seen)
            os.chmod(self.path(".husk"), 0o700)
            console.line(self.recovery_key()).expect("vault root is open")
            self.assertEqual(console.end(), husk.DONE)

    def test_keyslots_that_cannot_be_read_for_a_while_end_nothing(self):
        self.d.remount("rw")
        with self.boot() as console:
            console.expect("vault root: ")
            os.rename(self.path(".husk/vaults/root/keyslots"), self.path("aside"))
            console.line(self.recovery_key()).expect("keyslots")
            os.rename(self.path("aside"), self.path(".husk/vaults/root/keyslots"))
            console.line(self.recovery_key()).expect("vault root is open")
            self.assertEqual(console.end(), husk.DONE)

    def test_a_signal_ends_it_so_that_it_is_run_again(self):
        for number in signal.SIGTERM, signal.SIGHUP, signal.SIGINT:
            with self.subTest(number), self.boot() as console:
                console.expect("vault root: ").process.send_signal(number)
                self.assertNotIn(console.end(), (husk.DONE, husk.REFUSED))
            self.assertEqual(self.state(), "locked")
            self.assertTrue(self.is_read_only())

    def test_a_shell_is_had_by_asking_and_leaves_nothing_open(self):
        with self.boot() as console:
            console.expect("vault root: ").line("shell")
            self.assertEqual(console.end(), husk.REFUSED)
            self.assertFalse(console.echoes() and "shell\n" in console.seen)
        self.assertEqual(self.state(), "locked")

    def test_somebody_at_another_console_opens_it_and_all_say_so(self):
        with screen() as other, self.boot("--console", other.name) as console:
            console.expect("recovery key of vault root: ")
            other.expect("recovery key of vault root: ")
            self.assertFalse(other.echoes())
            other.line("no-such-key").expect("not a recovery key").expect("vault root: ")
            other.line(self.recovery_key()).expect("vault root is open").expect("the root is open")
            console.expect("not a recovery key").expect("vault root is open").expect("the root is open")
            self.assertEqual(console.end(), husk.DONE)
            self.assertTrue(other.echoes() and console.echoes())

    def test_without_names_it_asks_on_every_active_console_of_the_kernel(self):
        with screen() as first, screen() as second:
            names = " ".join(os.path.relpath(one.name, "/dev") for one in (first, second))
            with on_terminal("boot", "--at", self.d.path, enter=lambda: make_active(self.beside("active"), names)) as husk_boot:
                first.expect("recovery key of vault root: ").line("no-such-key")
                second.expect("recovery key of vault root: ").expect("not a recovery key").line(self.recovery_key())
                first.expect("vault root is open")
                self.assertEqual(husk_boot.end(), husk.DONE)
            self.assertEqual(husk_boot.seen, "")

    def test_a_console_that_hangs_up_is_left_out(self):
        self.damage()
        with screen() as other, self.boot("--console", other.name) as console:
            other.expect("the root cannot be opened")
            console.expect("the root cannot be opened")
            other.close()
            time.sleep(1)
            console.line("shell")
            self.assertEqual(console.end(), husk.REFUSED)
            self.assertEqual(console.seen.count("the root cannot be opened"), 1)

    def second_vault(self):
        """Of the same root, one more directory of it; its recovery key."""
        self.d.remount("rw")
        self.make_tree("lib32")
        recovery = self.beside("more-recovery")
        self.call("protect", self.path("lib32"), "--vault", "more", "--recovery-out", recovery, "--skip-free-space",
                  expect=husk.DONE)
        self.call("lock", "more", expect=husk.DONE)
        self.d.remount("ro")
        with open(recovery, encoding="ascii") as file:
            return file.read().strip()

    def test_what_was_accepted_of_one_vault_is_not_of_another(self):
        key = self.second_vault()
        self.d.remount("rw")
        os.rename(self.path("lib32"), self.path("aside"))
        os.mkdir(self.path("lib32"))
        os.remove(self.path("bin"))
        os.symlink("srv", self.path("bin"))
        self.d.remount("ro")
        with self.boot() as console:
            console.expect("vault more: ").line(self.recovery_key()).expect("the vault root is not as it was left")
            console.expect("vault more: ").line("accept").expect("will be recorded").expect("vault more: ")
            console.line(self.recovery_key()).expect("vault root is open").expect("vault more: ")
            console.line(key).expect("the vault more is not as it was left").expect("type accept").expect("vault more: ")
            console.line(key).expect("the vault more is not as it was left").expect("vault more: ")
            self.assertEqual(self.state("more"), "locked")
            console.line("accept").expect("will be recorded").expect("vault more: ").line(key).expect("vault more is open")
            self.assertEqual(console.end(), husk.DONE)

    def test_with_one_of_two_vaults_open_a_shell_leaves_both_locked(self):
        key = self.second_vault()
        with self.boot() as console:
            console.expect("recovery key of vault more: ").line(key).expect("vault more is open")
            console.expect("recovery key of vault root: ")
            self.assertEqual([self.state("more"), self.state("root")], ["unlocked", "locked"])
            console.line("shell")
            self.assertEqual(console.end(), husk.REFUSED)
        self.assertEqual([self.state("more"), self.state("root")], ["locked", "locked"])
        with self.boot() as console:
            console.expect("recovery key of vault more: ").line(self.recovery_key()).expect("vault root is open")
            console.expect("recovery key of vault more: ").line(key).expect("vault more is open")
            self.assertEqual(console.end(), husk.DONE)
        self.assertEqual([self.state("more"), self.state("root")], ["unlocked", "unlocked"])

    def test_a_shell_beside_a_damaged_vault_leaves_what_an_earlier_run_opened_locked(self):
        key = self.second_vault()
        with self.boot() as console:
            console.expect("recovery key of vault more: ").line(key).expect("vault more is open")
            console.process.kill()
        self.assertEqual(self.state("more"), "unlocked")
        subprocess.run(["mount", "-o", "remount,rw", self.d.path], check=True)
        with open(self.path(".husk/vaults/root/vault.json"), "wb") as file:
            file.write(b"{")
        subprocess.run(["mount", "-o", "remount,ro", self.d.path], check=True)
        with self.boot() as console:
            console.expect("the root cannot be opened").line("shell")
            self.assertEqual(console.end(), husk.REFUSED)
        self.assertEqual(self.state("more"), "locked")

    def test_a_shell_leaves_nothing_open_on_a_disk_that_cannot_be_written_any_more(self):
        key = self.second_vault()
        self.d.remount("rw")
        fd = os.open(self.d.path, os.O_RDONLY)
        self.addCleanup(os.close, fd)
        with open(self.path(".husk/vaults/more/vault.json"), "rb") as file:
            identifier = bytes.fromhex(re.search(rb'identifier\W+([0-9a-f]{32})', file.read())[1].decode())
        with self.boot() as console:
            console.expect("recovery key of vault more: ").line(key).expect("vault more is open")
            console.expect("recovery key of vault root: ")
            self.assertTrue(sys_calls.has_key(fd, identifier))
            sys_calls.shut_down_ext4(fd)
            console.line("shell")
            self.assertEqual(console.end(), husk.REFUSED)
        self.assertFalse(sys_calls.has_key(fd, identifier))

    def test_while_what_there_is_cannot_be_seen_it_looks_again_and_a_shell_is_had_by_asking(self):
        with self.boot(enter=without_proc) as console:
            console.expect("/proc/self/mountinfo").expect("trying again")
            subprocess.run(["nsenter", f"--mount=/proc/{console.process.pid}/ns/mnt", "umount", "/proc"], check=True)
            console.line("").expect("vault root: ").line(self.recovery_key()).expect("vault root is open")
            self.assertEqual(console.end(), husk.DONE)
        self.lock_all()
        with self.boot(enter=without_proc) as console:
            console.expect("trying again").line("shell")
            self.assertEqual(console.end(), husk.REFUSED)

    def test_what_was_changed_is_named_and_opens_only_when_accepted(self):
        self.d.remount("rw")
        os.remove(self.path("bin"))
        os.symlink("srv", self.path("bin"))
        self.d.remount("ro")
        with self.boot() as console:
            console.expect("vault root: ").line(self.recovery_key()).expect("bin").expect("type accept").expect("vault root: ")
            self.assertEqual(self.state(), "locked")
            console.line("accept").expect("will be recorded").expect("vault root: ")
            console.line(self.recovery_key()).expect("vault root is open")
            self.assertEqual(console.end(), husk.DONE)
        self.assertTrue(self.is_read_only())
        self.lock_all()
        self.unlock_root()

    def test_a_keyfile_in_boot_opens_it_without_a_word(self):
        self.d.remount("rw")
        key = self.path("boot/husk.key")
        with open(key, "wb") as file:
            file.write(os.urandom(64))
        self.call("keyslot", "add", "root", "--keyfile", key, "--with-recovery-key-file", self.recovery,
                  expect=husk.DONE)
        self.d.remount("ro")
        with self.boot() as console:
            console.expect("vault root is open, by its keyfile")
            self.assertEqual(console.end(), husk.DONE)
        self.lock_all()
        self.d.remount("rw")
        os.remove(key)
        self.d.remount("ro")
        with self.boot() as console:
            console.expect("put the keyfile back").expect("vault root: ").line("shell")
            self.assertEqual(console.end(), husk.REFUSED)

    def test_a_damaged_vault_json_is_named_with_a_way_on(self):
        self.d.remount("rw")
        path = self.path(".husk/vaults/root/vault.json")
        with open(path, "rb") as file:
            whole = file.read()
        with open(path, "wb") as file:
            file.write(whole[:100])
        found = self.json("check", "--boot", expect=husk.REFUSED)["findings"]
        self.assertIn("vault-unreadable", [finding["kind"] for finding in found])
        self.d.remount("ro")
        with self.boot() as console:
            console.expect("vault.json").expect("put it back from a backup").expect("the root cannot be opened").line("shell")
            self.assertEqual(console.end(), husk.REFUSED)
        self.d.remount("rw")
        with open(path, "wb") as file:
            file.write(whole)
        self.d.remount("ro")
        with self.boot() as console:
            console.expect("vault root: ").line(self.recovery_key()).expect("vault root is open")
            self.assertEqual(console.end(), husk.DONE)

    def rehearsed(self, expect=husk.REFUSED):
        return {finding["kind"] for finding in self.json("check", "--boot", expect=expect)["findings"]
                if finding["kind"] != "plaintext-waits" and "fstab mounts another filesystem" not in finding["cause"]}

    @needs_faults
    def test_a_rehearsal_tells_of_a_conversion_that_is_not_exchanged_yet(self):
        self.d.remount("rw")
        self.unlock_root()
        self.make_tree("more")
        self.assertTrue(self.call("protect", self.path("more"), "--vault", "more", "--recovery-out", self.beside("other"),
                                  "--skip-free-space", fault="convert.copied:crash").crashed)
        found = self.json("check", "--boot", expect=husk.DONE)["findings"]
        self.assertIn(("conversion-unfinished", "more"), [(finding["kind"], finding["subject"]) for finding in found])

    def test_a_rehearsal_tells_of_old_trees_that_wait(self):
        def told():
            return [finding["remedy"] for finding in self.json("check", "--boot", expect=husk.DONE)["findings"]
                    if finding["kind"] == "plaintext-waits"]

        self.d.remount("rw")
        self.unlock_root()
        self.assertIn("husk protect --root --commit", *told())
        self.json("protect", "--root", "--commit", "--confirm", "root", "--skip-free-space")
        self.assertEqual(told(), [])

    def test_a_rehearsal_compares_what_the_boot_will(self):
        self.d.remount("rw")
        self.unlock_root()
        self.assertEqual(self.rehearsed(husk.DONE), set())
        os.remove(self.path("bin"))
        os.symlink("srv", self.path("bin"))
        self.assertEqual(self.rehearsed(), {"symlink-changed"})
        os.remove(self.path("bin"))
        os.symlink("usr/bin", self.path("bin"))
        self.assertEqual(self.rehearsed(husk.DONE), set())
        for made, kind in (os.mkdir, "directory-replaced"), (lambda path: None, "directory-missing"):
            os.rename(self.path("srv"), self.path("aside"))
            made(self.path("srv"))
            self.assertEqual(self.rehearsed(), {kind})
            if os.path.exists(self.path("srv")):
                os.rmdir(self.path("srv"))
            os.rename(self.path("aside"), self.path("srv"))
        self.assertEqual(self.rehearsed(husk.DONE), set())

    def test_a_directory_that_became_a_symlink_is_accepted_on_the_running_host(self):
        """As the upgrade of a Debian whose /lib was a directory makes it one into /usr."""
        self.d.remount("rw")
        self.unlock_root()
        os.rename(self.path("srv"), self.path("usr/srv"))
        os.symlink("usr/srv", self.path("srv"))
        self.assertEqual(self.rehearsed(), {"directory-missing"})
        self.call("unlock", "root", "--accept-changes", "--recovery-key-file", self.recovery, expect=husk.DONE)
        self.assertEqual(self.rehearsed(husk.DONE), set())
        os.remove(self.path("srv"))
        os.symlink("home", self.path("srv"))
        self.assertEqual(self.rehearsed(), {"symlink-changed"})

    def test_a_rehearsal_names_what_came_to_the_top_of_the_root_in_the_clear(self):
        self.d.remount("rw")
        self.unlock_root()
        self.assertNotIn("left-plain", self.rehearsed(husk.DONE))
        self.write("opt2/secret", "plain")
        (found,) = [finding for finding in self.json("check", "--boot", expect=husk.DONE)["findings"]
                    if finding["kind"] == "left-plain" and "fstab" not in finding["cause"]]
        self.assertEqual(found["subject"], self.path("opt2"))
        self.json("protect", self.path("opt2"), "--vault", "root", "--skip-free-space", expect=husk.REFUSED)  # commit first
        self.json("protect", "--root", "--commit", "--confirm", "root", "--skip-free-space", expect=husk.DONE)
        self.json("protect", self.path("opt2"), "--vault", "root", "--skip-free-space", expect=husk.DONE)
        self.assertNotIn("left-plain", self.rehearsed(husk.DONE))

    def test_a_rehearsal_of_a_locked_root_asks_for_its_key_and_says_nothing_of_what_it_cannot_see(self):
        self.assertEqual(self.rehearsed(), {"vault-locked"})

    def test_a_rehearsal_is_not_stopped_by_what_the_system_mounts_over_a_directory(self):
        self.d.remount("rw")
        self.unlock_root()
        subprocess.run(["mount", "-t", "tmpfs", "tmp", self.path("srv")], check=True)
        self.addCleanup(subprocess.run, ["umount", self.path("srv")], check=True)
        self.assertEqual(self.rehearsed(husk.DONE), {"directory-covered", "left-plain"})

    def test_a_rehearsal_opens_it_with_what_the_boot_will_find(self):
        self.d.remount("rw")
        self.unlock_root()
        boot, inside, other = (self.path(name) for name in ("boot/husk.key", "etc/husk.key", "boot/other"))
        with open(boot, "wb") as file:
            file.write(os.urandom(64))
        self.call("keyslot", "add", "root", "--keyfile", boot, "--with-recovery-key-file", self.recovery, expect=husk.DONE)
        self.call("keyslot", "remove", "root", self.recovery_keyslot(), "--with-keyfile", boot, expect=husk.DONE)
        self.assertEqual(self.rehearsed(husk.DONE), {"no-way-in-for-people"})
        record = self.path(".husk/host.json")
        with open(record, encoding="ascii") as file:
            text = file.read()
        os.mkdir(other)
        subprocess.run(["mount", "-t", "tmpfs", "other", other], check=True)
        self.addCleanup(subprocess.run, ["umount", other], check=True)
        for there, kind in ("/boot/other/husk.key", "keyfile-missing"), ("/etc/husk.key", "keyfile-unusable"):
            shutil.copy(boot, self.path(there[1:]))
            self.write(".husk/host.json", text.replace("/boot/husk.key", there))
            self.assertEqual(self.rehearsed(), {kind, "no-way-in"})

    def test_a_vault_on_another_filesystem_is_none_that_the_boot_needs(self):
        """Whatever its directories are called there."""
        self.d.remount("rw")
        self.unlock_root()
        other = self.enterContext(disk.ext4(size_mib=64))
        subprocess.run(["mount", "--bind", other.path, self.path("data")], check=True)
        self.addCleanup(subprocess.run, ["umount", self.path("data")], check=True)
        self.make_tree("data/lib")
        self.call("protect", self.path("data/lib"), "--vault", "far", "--keyfile", self.keyfile, "--skip-free-space",
                  expect=husk.DONE)
        self.assertEqual(self.rehearsed(husk.DONE), {"left-plain"})

    def recovery_keyslot(self):
        (found,) = [one["id"] for one in self.json("keyslot", "list", "root")["result"]["keyslots"] if one["kind"] == "recovery"]
        return found

    def with_another_vault(self):
        """On the filesystem of the root, but nothing a boot needs."""
        self.d.remount("rw")
        self.call("protect", self.path("data"), "--vault", "other", "--keyfile", self.keyfile, "--skip-free-space",
                  expect=husk.DONE)
        self.call("lock", "other", expect=husk.DONE)

    def opens_all_the_same(self):
        self.d.remount("ro")
        with self.boot() as console:
            console.expect("vault root: ").line(self.recovery_key()).expect("vault root is open")
            self.assertEqual(console.end(), husk.DONE)
        self.lock_all()

    def test_another_vault_that_is_erased_or_of_which_nothing_is_left_stops_no_boot(self):
        self.with_another_vault()
        self.call("erase", "other", "--confirm", "other", expect=husk.DONE)
        self.opens_all_the_same()
        self.d.remount("rw")
        other = self.path(".husk/vaults/other")
        with open(f"{other}/vault.json", "wb") as file:
            file.write(b"{")
        self.opens_all_the_same()
        self.d.remount("rw")
        shutil.rmtree(f"{other}/private", ignore_errors=True)
        self.opens_all_the_same()

    def test_a_vault_whose_own_directory_is_gone_opens(self):
        self.d.remount("rw")
        shutil.rmtree(self.path(".husk/vaults/root/private"))
        self.d.remount("ro")
        with self.boot() as console:
            console.expect("vault root: ").line(self.recovery_key()).expect("vault root is open")
            self.assertEqual(console.end(), husk.DONE)
        self.assertTrue(self.is_read_only())

    def test_a_root_whose_vault_says_nothing_any_more_is_waited_at(self):
        self.d.remount("rw")
        with open(self.path(".husk/vaults/root/vault.json"), "wb") as file:
            file.write(b"{")
        shutil.rmtree(self.path(".husk/vaults/root/private"))
        self.d.remount("ro")
        with self.boot() as console:
            console.expect("the root cannot be opened").line("shell")
            self.assertEqual(console.end(), husk.REFUSED)

    @needs_faults
    def test_an_erase_that_was_begun_is_finished_and_nothing_opens(self):
        self.d.remount("rw")
        self.assertTrue(os.listdir(self.path(".husk/plaintext/root")), "no old tree waits")
        self.assertTrue(self.call("erase", "root", "--confirm", "root", fault="erase.marked:crash").crashed)
        self.d.remount("ro")
        for _ in range(2):
            with self.boot() as console:
                console.expect("vault root of this host is erased").expect("does not boot").line(PASSPHRASE)
                console.expect("does not boot").line("shell")
                self.assertEqual(console.end(), husk.REFUSED)
            self.assertEqual(self.state(), "erased")
            self.assertEqual(os.listdir(self.path(".husk/plaintext")), [])
            self.assertTrue(self.is_read_only())


class CutShortTest(HostRoot):
    """A power cut while the directories of a root were exchanged, and then it is booted as it is."""

    def boots(self):
        self.call("lock", "root", expect=husk.DONE)
        self.d.remount("ro")
        with on_terminal("boot", "--at", self.d.path, "--console", "/dev/tty") as console:
            console.expect("vault root: ").line(self.recovery_key()).expect("vault root is open")
            self.assertEqual(console.end(), husk.DONE)
        for name in "etc/passwd", "usr/bin/program":
            self.assertTrue(os.path.exists(self.path(name)), name)
        self.d.remount("rw")  # which takes the key away
        self.unlock_root()

    @needs_faults
    def test_before_the_first_is_named_by_the_manifest(self):
        words = "protect", "--root", "--skip-free-space", "--recovery-out", self.recovery
        self.assertTrue(self.call(*words, fault="convert.exchanged:crash").crashed)
        self.assertNotIn(self.path("etc"), self.status("root")["directories"])
        self.assertEncrypted(self.path("etc"))
        self.boots()
        self.assertTrue(self.json("protect", "--root", "--skip-free-space")["changed"])
        self.assertEncrypted(self.path("usr"))

    @needs_faults
    def test_after_the_last_was_taken_out_of_the_manifest(self):
        self.protect_root()
        for name in "convert", "plaintext":  # as if it were committed
            shutil.rmtree(self.path(".husk", name))
        self.assertTrue(self.call("unprotect", "root", fault="convert.exchange:crash:4").crashed)
        self.assertEqual(self.status("root")["directories"], [])
        self.assertEncrypted(self.path("usr"))
        self.boots()
        self.call("unprotect", "root", expect=husk.DONE)
        self.assertEncrypted(self.path("usr"), False)


if __name__ == "__main__":
    unittest.main()
