"""husk check and protect: the plan, what is refused, the keys of a new vault, interruptions, two at once."""

import json
import os
import shutil
import signal
import subprocess
import time
import unittest

import disk
import document
import husk
import manifest
import sys_calls
from job import Job, needs_faults


class PlanTest(Job):
    def test_check_prints_the_plan_that_protect_carries_out(self):
        os.mkdir(self.path("empty"))
        blocks = sum(512 * os.lstat(path).st_blocks for path in self.everything(self.tree))
        plan = self.json("check", self.tree, self.path("empty"), "--vault", "v")
        carried_out = self.json("protect", self.path("empty"), self.tree, "--vault", "v", "--keyfile", self.keyfile,
                                "--skip-free-space")
        for member in ("vault", "filesystem", "directories"):
            self.assertEqual(plan["result"][member], carried_out["result"][member])
        self.assertEqual(plan["result"]["space"]["bytes_needed"], carried_out["result"]["space"]["bytes_needed"])
        self.assertEqual([entry["action"] for entry in plan["result"]["directories"]], ["set-policy", "copy"])
        tree = plan["result"]["directories"][1]
        self.assertEqual((tree["path"], tree["files"], tree["directories"], tree["others"]), (self.tree, 31, 2, 1))
        self.assertEqual(tree["bytes"], blocks)
        again = self.json("check", self.path("empty"), self.tree, "--vault", "v")
        self.assertEqual([entry["action"] for entry in again["result"]["directories"]], ["nothing", "nothing"])
        self.assertFalse(self.json("protect", self.tree, "--vault", "v")["changed"])

    def everything(self, top):
        """Every name in the tree, and the tree itself."""
        yield top
        for directory, names, files in os.walk(top):
            yield from (os.path.join(directory, name) for name in names + files)

    def test_the_text_of_both_is_the_same(self):
        checked = self.call("check", self.tree, "--vault", "v", expect=husk.DONE).out
        self.assertIn(f"plan for vault v on {self.d.path} ({self.d.device}):", checked)
        self.assertIn(f"  {self.tree}: copy 31 files, 2 directories, 1 other, ", checked)
        self.assertIn("  space: needs ", checked)
        plan = [line for line in checked.splitlines() if "space" not in line]
        done = self.protect()
        self.assertEqual(done.out.splitlines()[:2], plan[:2])
        self.assertIn(f"{self.tree} is encrypted", done.out)

    def test_names_with_any_byte_are_shown_escaped(self):
        raw = os.path.join(os.fsencode(self.d.path), b"new\nline \xff \x1b[31m")
        os.mkdir(raw)
        open(os.path.join(raw, b"file"), "w").close()
        done = self.call("check", raw, expect=husk.DONE)
        self.assertIn("new\\x0aline \\xff \\x1b[31m: copy", done.out)
        found = self.json("protect", raw, "--vault", "v", "--keyfile", self.keyfile, "--skip-free-space")
        self.assertTrue(found["result"]["directories"][0]["path"].endswith("new\\x0aline \\xff \\x1b[31m"))
        self.assertEqual(self.status()["directories"], [found["result"]["directories"][0]["path"]])
        self.assertTrue(sys_calls.is_encrypted(raw))

    def test_directories_join_a_vault(self):
        self.protect()
        second, third = self.make_tree("second"), self.make_tree("third")
        self.assertTrue(self.json("protect", second, "--vault", "v")["changed"])
        self.lock()
        # Locked, it has to be opened; keys that do not open it are refused and change nothing.
        other = husk.keyfile(self.d.directory, "other")
        with self.nothing_changes(third):
            self.assertEqual(self.json("protect", third, "--vault", "v", expect=husk.REFUSED)["error"]["code"],
                             "wrong-key")
            self.json("protect", third, "--vault", "v", "--keyfile", other, expect=husk.REFUSED)
        self.json("protect", third, "--vault", "v", "--keyfile", self.keyfile)
        self.assertEqual(self.status()["directories"], sorted([second, self.tree, third]))
        self.assertEqual(list(self.keyslots()), ["keyfile"])

    def test_a_key_that_does_not_open_an_unlocked_vault_is_no_new_keyslot(self):
        self.protect()
        second, other = self.make_tree("second"), husk.keyfile(self.d.directory, "other")
        with self.nothing_changes(second):
            found = self.json("protect", second, "--vault", "v", "--keyfile", other, expect=husk.REFUSED)
        self.assertIn(f"husk keyslot add --at {self.d.path} v", found["error"]["remedy"])


    def test_a_key_file_that_cannot_be_read_is_told_before_the_tree_is_looked_at(self):
        short = husk.keyfile(self.d.directory, "short")
        os.truncate(short, 3)
        missing = self.beside("missing")

        def told(tree, option, file, status, code, remedy):
            with self.nothing_changes(tree):
                found = self.json("protect", tree, "--vault", "v", option, file, expect=status)
            self.assertEqual(found["error"]["code"], code)
            self.assertIn(remedy, found["error"]["remedy"])
            self.assertNotIn("directories", found["result"], "the plan was made")

        told(self.tree, "--keyfile", missing, husk.FAILED, "not-found", "make it first: head -c 64 /dev/urandom")
        told(self.tree, "--keyfile", self.d.directory, husk.FAILED, "failed", "")
        told(self.tree, "--keyfile", short, husk.USAGE, "usage", "")
        told(self.tree, "--passphrase-file", missing, husk.FAILED, "not-found", "name the file it is in")
        self.protect()
        second = self.make_tree("second")
        told(second, "--keyfile", missing, husk.FAILED, "not-found", "put the keyfile back")
        told(second, "--recovery-key-file", missing, husk.FAILED, "not-found", "name the file it is in")
        # What is done already needs none.
        self.assertFalse(self.json("protect", self.tree, "--vault", "v", "--keyfile", missing)["changed"])


class RefusedTest(Job):
    """What is refused before anything changes, and how."""

    def refused(self, path, kind, d=None, status=husk.REFUSED):
        at = ("--at", (d or self.d).path)
        for verb, more in (("check", ()), ("protect", ("--vault", "v", "--keyfile", self.keyfile))):
            done, found = document.run(verb, path, *more, *at, expect=status)
            if kind:
                self.assertIn(kind, document.kinds(found), found)
                self.assertTrue(found["error"]["message"])
            husk.run(verb, path, *more, *at).expect_error_line(status)
        return found

    def test_other_filesystems(self):
        with disk.tmpfs() as other:
            os.mkdir(f"{other.path}/x")
            self.refused(f"{other.path}/x", "not-ext4", other)
            self.assertEqual(os.listdir(other.path), ["x"])
        with disk.xfs() as other:
            os.mkdir(f"{other.path}/x")
            self.refused(f"{other.path}/x", "not-ext4", other)
            self.assertEqual(os.listdir(other.path), ["x"])
        with disk.overlay(self.tree, self.enterContext(disk.ext4(size_mib=32))) as other:
            self.refused(f"{other.path}/below", None, other)
            self.assertNotIn(".husk", os.listdir(other.path))

    def test_a_filesystem_mounted_read_only(self):
        self.d.remount("ro")
        self.refused(self.tree, "read-only")

    def test_places_that_cannot_be_protected(self):
        with self.nothing_changes():
            self.refused(self.d.path, "filesystem-root")
            self.refused(self.path("lost+found"), "lost-and-found")
            self.refused(self.path("nothing"), None, status=husk.FAILED)
            self.refused(self.path("srv/data/file2"), None, status=husk.USAGE)
        # A symlink is followed, and the plan says where to; another user's is not.
        os.symlink("srv", self.path("theirs"))
        os.chown(self.path("theirs"), 1000, 1000, follow_symlinks=False)
        for path in (self.path("theirs"), self.path("theirs/data")):
            for words in (("check", path), ("protect", path, "--vault", "v", "--keyfile", self.keyfile)):
                found = self.json(*words, expect=husk.REFUSED)
                self.assertIn("symlink", found["error"]["message"])
        os.unlink(self.path("theirs"))
        os.symlink("srv", self.path("link"))
        plan = self.json("check", self.path("link"))["result"]["directories"]
        self.assertEqual([entry["path"] for entry in plan], [self.path("srv")])

    def test_what_is_used_is_named_with_process_and_path(self):
        with self.nothing_changes(), subprocess.Popen(["sleep", "600"], cwd=self.path("srv/data/below")) as sleeper:
            try:
                found = self.refused(self.tree, "busy-process")
            finally:
                sleeper.kill()
        text = json.dumps(found)
        self.assertIn(f"sleep (pid {sleeper.pid})", text)
        self.assertIn("srv/data/below", text)
        self.assertEqual(found["error"]["code"], "busy")
        self.protect()

    def test_inside_of_a_vault(self):
        self.protect()
        inside = self.path("srv/data/below")
        found = self.json("check", inside, "--vault", "w", expect=husk.REFUSED)
        self.assertTrue(found["findings"])
        self.json("check", self.path("srv"), "--vault", "w", expect=husk.REFUSED)

    def test_a_host_that_does_not_have_the_directory(self):
        with disk.ext4(size_mib=32) as other:
            with self.nothing_changes():
                found = document.run("protect", self.tree, "--vault", "v", "--keyfile", self.keyfile, "--at",
                                     other.path, expect=husk.REFUSED)[1]
        self.assertIn("--at", found["error"]["remedy"])

    def test_too_little_space(self):
        with disk.ext4(size_mib=24, mkfs=["-J", "size=4"]) as small:
            os.mkdir(f"{small.path}/x")
            with open(f"{small.path}/x/big", "wb") as file:
                file.write(os.urandom(12 << 20))
            before = manifest.take(small.path)
            found = self.refused(f"{small.path}/x", "no-space", small)
            self.assertIn("MiB", json.dumps(found["findings"]))
            manifest.same(before, manifest.take(small.path))
        with disk.ext4(size_mib=24, inodes=64) as small:
            os.mkdir(f"{small.path}/x")
            for number in range(40):
                open(f"{small.path}/x/{number}", "w").close()
            self.refused(f"{small.path}/x", "no-inodes", small)

    def test_an_erased_name_is_not_used_again(self):
        self.protect()
        self.call("erase", "v", "--confirm", "v", expect=husk.DONE)
        second = self.make_tree("second")
        with self.nothing_changes(second):
            found = self.json("protect", second, "--vault", "v", "--keyfile", self.keyfile, expect=husk.REFUSED)
            self.assertEqual(found["error"]["code"], "erased")
            self.check_refuses("erased", second, "--vault", "v")

    def check_refuses(self, said, *words):
        """What protect would not do check calls in the way."""
        found = self.json("check", *words, expect=husk.REFUSED)
        self.assertIn(said, found["error"]["message"])
        self.assertTrue(found["error"]["remedy"])

    def test_check_looks_where_the_vault_would_be(self):
        self.json("check", self.tree, "--vault", "v")
        self.protect()
        with disk.ext4(size_mib=32) as other:
            os.mkdir(f"{other.path}/x")
            self.check_refuses("not mounted at or below", f"{other.path}/x")
            inside = self.path("srv/other")
            os.mkdir(inside)
            disk.run("mount", "--bind", other.path, inside)
            self.addCleanup(disk.unmount, inside)
            self.json("check", f"{inside}/x")
            self.check_refuses("vault v is on the filesystem at", f"{inside}/x", "--vault", "v")
            disk.unmount(inside)

    def test_who_unprotects_is_not_told_to_go_directory_by_directory(self):
        with disk.ext4(size_mib=24, mkfs=["-J", "size=4"]) as small:
            os.mkdir(f"{small.path}/x")
            at = ("--at", small.path)
            husk.ok("protect", f"{small.path}/x", "--vault", "v", "--keyfile", self.keyfile, *at)
            with open(f"{small.path}/x/big", "wb") as file:
                file.write(os.urandom(12 << 20))
            _, found = document.run("unprotect", "v", *at, expect=husk.REFUSED)
            self.assertIn("no-space", document.kinds(found))
            self.assertNotIn("protect", found["error"]["remedy"])


class InlineTest(Job):
    variant = "inline"

    def test_that_tiny_files_leave_their_contents_in_inodes_is_told(self):
        self.assertIn("inline-data", document.kinds(self.json("check", self.tree)))
        self.assertIn("inline-data", document.kinds(self.json("protect", self.tree, "--vault", "v", "--keyfile", self.keyfile)))
        self.assertNotIn("inline-data", document.kinds(self.json("unprotect", "v")))


class FeatureTest(Job):
    """An ext4 without the encrypt feature."""
    variant = "plain"

    def has_feature(self):
        return "encrypt" in disk.run("dumpe2fs", "-h", self.d.device)

    def test_it_is_refused_with_what_to_do_and_set_when_asked_for(self):
        with self.nothing_changes():
            for verb in (("check", self.tree), ("protect", self.tree, "--vault", "v", "--keyfile", self.keyfile)):
                done = self.call(*verb, expect=husk.REFUSED)
                self.assertIn("GRUB", done.out)
                self.assertIn("--enable-feature", done.out)
                self.assertNotIn("run the same command", done.out)  # check has no such option
        self.assertFalse(self.has_feature())
        # A key that is refused keeps the feature from being set.
        with self.nothing_changes():
            self.protect("--enable-feature", self.tree, key=None, expect=husk.USAGE)
        self.assertFalse(self.has_feature())
        found = self.json("protect", self.tree, "--vault", "v", "--keyfile", self.keyfile, "--skip-free-space",
                          "--enable-feature")
        self.assertTrue(self.has_feature())
        self.assertTrue(any("encrypt feature" in line for line in found["result"]["truths"]))
        self.assertEncrypted(self.tree)
        self.d.fsck()


    def test_where_it_may_be_set_what_else_is_in_the_way_is_named(self):
        with open(os.path.join(self.tree, "file2")), self.nothing_changes():
            found = self.json("protect", self.tree, "--vault", "v", "--keyfile", self.keyfile, "--enable-feature",
                              expect=husk.REFUSED)
            self.assertNotIn("no-encrypt-feature", document.kinds(found))
            self.assertIn(f"(pid {os.getpid()})", found["error"]["message"])
        self.assertFalse(self.has_feature())


class NewKeyTest(Job):
    """Which keys a new vault takes, and what is said about them."""

    def refused(self, *words, status=husk.REFUSED, **options):
        with self.nothing_changes():
            found = self.json("protect", self.tree, "--vault", "v", "--skip-free-space", *words, expect=status,
                              **options)
        return found["error"]

    def kinds(self, *words, **options):
        return document.kinds(self.json("protect", self.tree, "--vault", "v", "--skip-free-space", *words, **options))

    def test_a_new_vault_needs_a_key(self):
        error = self.refused(status=husk.USAGE)
        for option in ("--keyfile", "--passphrase-file", "--recovery-out"):
            self.assertIn(option, error["remedy"])

    def test_bad_keys(self):
        short = self.beside("short")
        with open(short, "wb") as file:
            file.write(b"x" * 31)
        self.refused("--keyfile", short, status=husk.USAGE)
        self.refused("--keyfile", self.beside("missing"), status=husk.FAILED)
        self.refused("--keyfile", self.d.directory, status=husk.FAILED)
        self.refused("--keyfile", "/dev/zero", status=husk.USAGE)
        self.refused("--passphrase-file", "-", stdin=b"seven77\n", status=husk.USAGE)
        self.refused("--passphrase-file", "-", stdin=b"x" * 1025, status=husk.USAGE)
        self.refused("--recovery-key-file", "-", stdin=b"x", status=husk.USAGE)

    def test_a_keyfile_inside_of_the_vault(self):
        inside = husk.keyfile(os.path.join(self.tree, "below"))
        os.symlink(inside, self.beside("link"))
        self.assertIn("locked up", self.refused("--keyfile", self.beside("link"))["message"])
        self.assertIn("locked up", self.refused("--keyfile", inside)["message"])
        os.remove(inside)
        self.protect()
        inside = husk.keyfile(self.tree)
        found = self.json("keyslot add", "v", "--keyfile", inside, "--with-keyfile", self.keyfile, expect=husk.REFUSED)
        self.assertIn("locked up", found["error"]["message"])
        self.assertEqual(list(self.keyslots()), ["keyfile"])

    def test_a_keyfile_inside_of_a_directory_that_joins_the_vault(self):
        second = self.make_tree("second")
        recorded = husk.keyfile(second, "recorded")
        self.protect(key=("--keyfile", recorded), expect=husk.DONE)
        given = husk.keyfile(self.make_tree("third"), "given")
        self.call("keyslot", "add", "v", "--keyfile", given, "--with-keyfile", recorded, expect=husk.DONE)
        os.symlink(second, self.path("link"))
        for words in ((second,), (self.path("link"),), (os.path.dirname(given),),
                      (os.path.dirname(given), "--keyfile", given)):
            done = self.json("protect", *words, "--vault", "v", expect=husk.REFUSED)
            self.assertIn("locked up", done["error"]["message"])
            self.assertFalse(done["changed"])
        os.remove(self.path(".husk/host.json"))
        done = self.json("protect", second, "--vault", "v", "--keyfile", recorded, expect=husk.REFUSED)
        self.assertIn("locked up", done["error"]["message"])
        shutil.move(recorded, self.beside("moved"))
        self.json("protect", second, "--vault", "v", "--keyfile", self.beside("moved"))

    def test_a_keyfile_on_the_same_disk_is_warned_of_and_found_again(self):
        os.mkdir(self.path("root"))
        beside = husk.keyfile(self.path("root"), "data.key")
        os.chmod(beside, 0o640)
        kinds = self.kinds("--keyfile", beside)
        for kind in ("keyfile-on-vault-filesystem", "keyfile-readable", "local-keyslot", "no-recovery-key"):
            self.assertIn(kind, kinds)
        with open(self.path(".husk/host.json")) as file:
            self.assertEqual([entry["path"] for entry in json.load(file)["keyfiles"]], ["/root/data.key"])
        self.lock()
        found = self.json("unlock", "v")
        self.assertEqual(found["result"]["vaults"][0]["opened_by"], "keyfile")
        self.lock()
        os.rename(beside, beside + ".moved")
        found = self.json("unlock", "v", expect=husk.REFUSED)
        self.assertIn("--keyfile", found["error"]["remedy"])
        self.assertEqual([finding["subject"] for finding in found["findings"]], ["/root/data.key"])

    def test_a_keyfile_elsewhere_is_not_recorded(self):
        kinds = self.kinds("--keyfile", self.keyfile)
        self.assertIn("keyfile-not-recorded", kinds)
        self.assertNotIn("keyfile-on-vault-filesystem", kinds)
        self.lock()
        self.json("unlock", "v", expect=husk.REFUSED)

    def test_the_newline_of_a_passphrase_file_does_not_count(self):
        with open(self.beside("pass"), "w") as file:
            file.write("correct horse\n")
        self.protect(key=("--passphrase-file", self.beside("pass")))
        self.lock()
        self.json("unlock", "v", "--passphrase-file", "-", stdin=b"correct horse\n\n", expect=husk.REFUSED)
        self.json("unlock", "v", "--passphrase-file", "-", stdin=b"correct hors", expect=husk.REFUSED)
        self.json("unlock", "v", "--passphrase-file", "-", stdin=b"correct horse")

    def test_the_file_of_a_recovery_key(self):
        taken = self.beside("taken")
        open(taken, "w").close()
        self.assertEqual(self.refused("--recovery-out", taken)["code"], "exists")
        self.assertEqual(os.stat(taken).st_size, 0)
        self.refused("--recovery-out", os.path.join(self.tree, "recovery"))
        self.refused("--recovery-out", self.beside("no/such"), status=husk.FAILED)
        self.refused("--recovery-out", "-", status=husk.USAGE)
        done = self.protect(key=("--recovery-out", "-"), expect=husk.USAGE)
        self.assertNotRegex(done.out, r"husk(-[0-9A-Z]{5}){3}")
        kinds = self.kinds("--recovery-out", self.path("recovery"))
        self.assertIn("recovery-key-on-vault-filesystem", kinds)
        self.assertNotIn("no-recovery-key", kinds)
        with open(self.path("recovery")) as file:
            text = file.read()
        self.assertRegex(text, r"^husk(-[0-9A-Z]{5}){13}\n$")
        self.lock()
        self.json("unlock", "v", "--recovery-key-file", "-", stdin=text.lower().replace("-", " ").encode())
        self.lock()
        wrong = text[:7] + ("1" if text[7] != "1" else "2") + text[8:]
        found = self.json("unlock", "v", "--recovery-key-file", "-", stdin=wrong.encode(), expect=husk.USAGE)
        self.assertNotIn(wrong.strip()[5:], json.dumps(found))


@needs_faults
class TwoAtOnceTest(Job):
    def test_the_second_is_refused_and_status_is_not(self):
        second = self.make_tree("second")
        self.protect()
        with husk.paused("convert.exchange", "protect", second, "--vault", "v", "--skip-free-space", "--at",
                         self.d.path) as first:
            for verb in (("protect", second, "--vault", "v"), ("unprotect", "v"), ("lock", "v"), ("unlock", "v"),
                         ("keyslot", "remove", "v", "abcd"), ("erase", "v", "--confirm", "v"),
                         ("protect", "--abort", "--vault", "v")):
                done = self.call(*verb).expect_error_line(husk.REFUSED)
                self.assertIn(str(first.pid), done.err)
            vault = self.status()
            self.assertEqual(vault["conversion"]["state"], "exchanging")
            self.assertEqual(sorted(vault["conversion"]), ["bytes_done", "bytes_total", "directory", "files_done",
                                                           "files_total", "state"])
            self.assertIn("protect under way: exchanging", self.call("status").out)
        first.done.expect(husk.DONE)
        self.assertIsNone(self.status()["conversion"])

    def test_two_that_make_the_first_vault(self):
        with husk.paused("vault.create.header", "protect", self.tree, "--vault", "v", "--keyfile", self.keyfile,
                         "--skip-free-space", "--at", self.d.path) as first:
            done = self.protect(expect=None).expect_error_line(husk.REFUSED)
            self.assertIn(str(first.pid), done.err)
        first.done.expect(husk.DONE)


class InterruptedTest(Job):
    size_mib = 160

    def setUp(self):
        super().setUp()
        for number in range(6):
            with open(os.path.join(self.tree, f"big{number}"), "wb") as file:
                file.write(os.urandom(8 << 20))
        self.before = manifest.take(self.tree)

    def interrupt(self, number):
        """Send the signal while it copies; how it ended."""
        argv = [husk.PROGRAM, "protect", self.tree, "--vault", "v", "--keyfile", self.keyfile, "--skip-free-space",
                "--at", self.d.path]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        told = b""
        while b"copying" not in told:
            line = process.stderr.readline()
            self.assertTrue(line, told)
            told += line
        time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        return husk.Done(argv, process.returncode, out.decode(), (told + err).decode(), 0)

    def test_it_stops_says_so_and_goes_on_when_run_again(self):
        stopped = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            done = self.interrupt(number)
            if done.status == husk.DONE:
                break
            stopped += 1
            done.expect_error_line(husk.FAILED)
            self.assertIn("run the same command again", done.err)
            manifest.same(self.before, manifest.take(self.tree))
        self.assertGreater(stopped, 0, "it was never interrupted")
        self.protect()
        self.assertEncrypted(self.tree)
        manifest.same(self.before, manifest.take(self.tree))
        self.d.fsck()

    def test_it_can_be_aborted_instead(self):
        done = self.interrupt(signal.SIGINT)
        if done.status == husk.DONE:
            self.skipTest("it was done before the signal came")
        found = self.json("protect", "--abort", "--vault", "v")
        self.assertTrue(found["changed"])
        self.assertTrue(any("is gone" in line for line in found["result"]["truths"]))
        self.assertEncrypted(self.tree, False)
        manifest.same(self.before, manifest.take(self.tree))
        self.assertEqual(self.json("status")["result"]["vaults"], [])
        self.assertEqual(self.json("protect", "--abort", "--vault", "v", expect=husk.FAILED)["error"]["code"],
                         "not-found")
        self.protect()

    def test_abort_takes_no_path_and_does_nothing_to_a_finished_vault(self):
        self.protect()
        self.call("protect", self.tree, "--abort", "--vault", "v", expect=husk.USAGE)
        self.assertFalse(self.json("protect", "--abort", "--vault", "v")["changed"])
        self.assertEncrypted(self.tree)


@needs_faults
class CutShortTest(Job):
    def test_lock_tells_that_plaintext_is_still_there(self):
        self.protect()
        self.lock()
        second = self.make_tree("second")
        for fault in ("convert.copied:crash", "convert.proven-old:crash"):
            done = self.protect(second, fault=fault, expect=None)
            self.assertTrue(done.crashed, done)
            for _ in range(2):
                self.assertIn("conversion-under-way", document.kinds(self.json("lock", "v")))
            self.assertEqual(self.state(), "locked")
        self.protect(second, expect=husk.DONE)
        self.assertEqual(self.json("lock", "v")["findings"], [])

    def test_status_tells_no_numbers_that_it_does_not_have(self):
        self.assertTrue(self.protect(fault="convert.journal.written:crash", expect=None).crashed)
        self.assertNotIn("0 of 0", self.call("status", "v", expect=husk.DONE).out)

    def test_what_was_put_in_the_place_of_a_directory_is_encrypted_by_the_next_run_and_said_not_to_be(self):
        for asked_for in (True, False):
            with self.subTest(asked_for=asked_for):
                self.setUp()
                second, away = self.make_tree("second"), self.path("srv/away")
                self.assertTrue(self.protect(self.tree, second, fault="convert.scrubbed:crash", expect=None).crashed)
                os.rename(self.tree, away)
                self.make_tree("srv/data", 1)
                told = self.protect(*[self.tree][:asked_for], second, expect=husk.INCOMPLETE if asked_for else husk.DONE)
                self.assertIn(f"{self.tree} was encrypted under the vault v, and has been moved away", told.out)
                if asked_for:
                    self.assertIn(f"{self.tree} is not encrypted", told.expect_error_line(husk.INCOMPLETE).err)
                for path, yes in ((self.tree, False), (second, True), (away, True)):
                    self.assertEncrypted(path, yes)
                self.protect(self.tree, second)
                self.assertEncrypted(self.tree)

    def test_a_directory_whose_unprotect_was_begun_is_not_called_protected(self):
        self.protect()
        self.assertTrue(self.call("unprotect", "v", fault="convert.copied:crash").crashed)
        for verb in "check", "protect":
            found = self.json(verb, self.tree, "--vault", "v", expect=husk.REFUSED)
            self.assertEqual(document.kinds(found), ["converting-already"])
            self.assertIn(f"husk protect --at {self.d.path} --abort --vault v", found["error"]["remedy"])
        self.call("protect", "--abort", "--vault", "v", expect=husk.DONE)
        self.protect(expect=husk.DONE)


@needs_faults
class MountPointTest(Job):
    def test_control_characters_in_a_mount_point_are_shown_escaped(self):
        odd = self.beside("m\x1b[31m")
        os.mkdir(odd)
        disk.run("mount", "--bind", self.d.path, odd)
        self.addCleanup(disk.unmount, odd)
        disk.unmount(self.d.path)
        words = ("protect", os.path.join(odd, "srv/data"), "--vault", "v", "--keyfile", self.keyfile, "--at", odd,
                 "--skip-free-space")
        done = husk.run(*words, fault="convert.sync:eio").expect_error_line(husk.FAILED)
        self.assertNotIn("\x1b", done.out + done.err)
        with husk.paused("convert.exchanged", *words) as paused:
            opened = open(os.path.join(odd, ".husk/convert/v/0/file2"), "rb")
        opened.close()
        done = paused.done.expect(husk.INCOMPLETE)
        self.assertIn("m\\x1b[31m/.husk/plaintext/v/0/file2", done.out)
        self.assertNotIn("\x1b", done.out + done.err)
        husk.ok(*words)


@needs_faults
class EmptyDirectoryTest(Job):
    """It has the policy before the manifest names it: a crash in between loses nothing that is put there later."""

    def setUp(self):
        super().setUp()
        self.empty = self.path("empty")
        os.mkdir(self.empty)

    def crash_and_fill(self):
        done = self.protect(self.empty, fault="convert.empty:crash", expect=None)
        self.assertTrue(done.crashed, done)
        self.assertEncrypted(self.empty)
        with open(os.path.join(self.empty, "file"), "wb") as file:
            file.write(b"precious")

    def content(self):
        with open(os.path.join(self.empty, "file"), "rb") as file:
            return file.read()

    def test_the_same_command_has_the_manifest_name_it(self):
        self.crash_and_fill()
        plan = self.json("check", self.empty, "--vault", "v")["result"]["directories"]
        self.assertEqual([entry["action"] for entry in plan], ["record"])
        self.assertEqual(self.status()["directories"], [])
        self.protect(self.empty, expect=husk.DONE)
        self.assertEqual(self.status()["directories"], [self.empty])
        self.assertFalse(self.json("protect", self.empty, "--vault", "v")["changed"])
        self.assertEqual(self.content(), b"precious")

    def test_abort_does_not_give_up_the_vault_of_what_is_in_it(self):
        self.crash_and_fill()
        self.call("protect", "--abort", "--vault", "v", expect=husk.DONE)
        self.d.remount()
        self.call("unlock", "v", "--keyfile", self.keyfile, expect=husk.DONE)
        self.assertEqual(self.content(), b"precious")

    def test_what_lies_in_a_protected_directory_is_not_recorded_by_itself(self):
        self.protect()
        below = os.path.join(self.tree, "below")
        self.assertFalse(self.json("protect", below, "--vault", "v")["changed"])
        self.assertEqual(self.status()["directories"], [self.tree])

    def test_a_directory_that_was_moved_is_recorded_where_it_is_now(self):
        self.protect()
        moved = self.path("moved")
        os.rename(self.tree, moved)
        self.json("protect", moved, "--vault", "v")
        self.assertEqual(self.status()["directories"], sorted([self.tree, moved]))


@needs_faults
class OtherKeyTest(Job):
    def test_whoever_goes_on_with_another_key_is_told_how(self):
        self.assertTrue(self.protect(fault="convert.copied:crash", expect=None).crashed)
        self.lock()
        other = husk.keyfile(self.d.directory, "other")
        done = self.protect(key=("--keyfile", other), expect=None).expect_error_line(husk.REFUSED)
        self.assertIn(f"go on with a key it was begun with, or give it up: husk protect --at {self.d.path} --abort --vault v", done.err)
        self.protect(expect=husk.DONE)


@needs_faults
class RecoveryFileTest(Job):
    """A crash must not lose a recovery key nor leave one for a vault that is not there."""

    def protect_with_recovery(self, fault=None):
        return self.protect(key=("--keyfile", self.keyfile, "--recovery-out", self.beside("recovery")), fault=fault,
                            expect=None)

    def opens(self):
        self.lock()
        self.json("unlock", "v", "--recovery-key-file", self.beside("recovery"))

    def test_a_crash_before_the_vault_is_there(self):
        done = self.protect_with_recovery("vault.create.rename:crash")
        self.assertTrue(done.crashed, done)
        self.assertTrue(os.path.exists(self.beside("recovery.new")))
        self.assertFalse(os.path.exists(self.beside("recovery")))
        self.protect_with_recovery().expect(husk.DONE)
        self.assertFalse(os.path.exists(self.beside("recovery.new")))
        self.opens()

    def test_a_crash_before_it_has_its_name(self):
        done = self.protect_with_recovery("program.recovery-out:crash")
        self.assertTrue(done.crashed, done)
        self.assertTrue(os.path.exists(self.beside("recovery.new")))
        self.protect_with_recovery().expect(husk.DONE)
        self.assertFalse(os.path.exists(self.beside("recovery.new")))
        self.opens()

    def test_an_error_there_keeps_the_key(self):
        done = self.protect_with_recovery("program.recovery-out:eio").expect_error_line(husk.FAILED)
        self.assertIn("recovery.new", done.err)
        self.protect_with_recovery().expect(husk.DONE)
        self.opens()

    def test_a_crash_later_and_the_key_taken_away_meanwhile(self):
        self.assertTrue(self.protect_with_recovery("convert.copied:crash").crashed)
        os.rename(self.beside("recovery"), self.beside("taken"))
        done = self.protect_with_recovery().expect(husk.DONE)
        self.assertIn("recovery key that was written or shown before", done.out)
        self.assertFalse(os.path.exists(self.beside("recovery")))

    def test_a_further_directory_makes_no_further_key_and_is_refused_for_it(self):
        self.protect_with_recovery().expect(husk.DONE)
        second, file = self.make_tree("second"), self.beside("second-recovery")
        done = self.protect(second, key=("--recovery-out", file), expect=husk.REFUSED)
        self.assertIn(f"husk keyslot add --at {self.d.path} v --recovery-out {file}", done.err)
        self.assertEncrypted(second, False)
        self.assertFalse(os.path.exists(file))

    def test_an_abort_says_that_the_key_opens_nothing(self):
        self.assertTrue(self.protect_with_recovery("convert.copied:crash").crashed)
        found = self.json("protect", "--abort", "--vault", "v")
        (void,) = [finding for finding in found["findings"] if finding["kind"] == "recovery-key-void"]
        self.assertIn("delete the file", void["remedy"])
        self.assertTrue(os.path.exists(self.beside("recovery")))

    def test_what_to_know_of_keys_is_told_before_the_conversion(self):
        os.chmod(self.keyfile, 0o644)
        command = self.at("protect", self.tree, "--vault", "v", "--keyfile", self.keyfile, "--skip-free-space")
        with husk.paused("convert.copied", *command) as paused:
            told = os.read(paused.process.stdout.fileno(), 1 << 16).decode()
        self.assertIn("chmod 600", told)
        self.assertNotIn("chmod 600", paused.done.expect(husk.DONE).out)

    def test_a_vault_that_could_not_be_made_leaves_no_key(self):
        self.protect_with_recovery("vault.create.private:enospc").expect_error_line(husk.FAILED)
        self.assertFalse(os.path.exists(self.beside("recovery")))
        self.assertFalse(os.path.exists(self.beside("recovery.new")))
        self.protect_with_recovery().expect(husk.DONE)
        self.opens()


if __name__ == "__main__":
    unittest.main()
