"""husk erase: nothing by accident, nothing left that opens, the report, files in use, resuming."""

import contextlib
import fcntl
import json
import os
import signal
import time
import unittest

import disk
import document
import husk
from job import Job, needs_faults


def sanitized():
    """Whether husk is built with AddressSanitizer, which makes mlockall() do nothing."""
    with open(husk.PROGRAM, "rb") as file:
        return b"__asan_init" in file.read()


class EraseTest(Job):
    def setUp(self):
        super().setUp()
        self.protect()

    def erase(self, *words, expect=husk.DONE, **options):
        return self.json("erase", "v", "--confirm", "v", *words, expect=expect, **options)

    def opens_no_more(self):
        for _ in range(2):
            self.assertEqual(self.state(), "erased")
            self.assertEqual(self.json("unlock", "v", "--keyfile", self.keyfile, expect=husk.REFUSED)["error"]["code"],
                             "erased")
            self.assertNotIn("file2", os.listdir(self.tree))
            self.d.remount()
        for verb, words in (("keyslot add", ("--keyfile", self.keyfile)), ("unprotect", ()),
                            ("keyslot remove", ("abcd",)), ("keyslot export", ("abcd", self.beside("x")))):
            self.assertEqual(self.json(verb, "v", *words, expect=husk.REFUSED)["error"]["code"], "erased", verb)

    def test_unlocked(self):
        found = self.erase()
        self.assertTrue(found["changed"])
        (report,) = found["result"]["reports"]
        self.assertEqual(report["schema"], "husk.erase-report/1")
        self.assertIs(report["signed"], False)
        self.assertIn("key-copy-snapshot", document.kinds(found))
        self.opens_no_more()

    def test_locked_and_without_any_key(self):
        self.lock()
        os.remove(self.keyfile)
        self.erase()
        self.keyfile = husk.keyfile(self.d.directory)
        self.opens_no_more()

    def change_manifest(self, **members):
        path = self.path(".husk/vaults/v/vault.json")
        with open(path) as file:
            outside = json.load(file)
        body = json.loads(outside["body"])
        body.update(members)
        with open(path, "w") as file:
            json.dump(dict(outside, body=json.dumps(body, separators=(",", ":"))), file)

    def test_a_forged_history_does_not_make_it_complete(self):
        """vault.json tells of no local keyslot, and there is none any more."""
        self.lock()
        (name,) = os.listdir(self.path(".husk/vaults/v/keyslots"))
        os.remove(self.path(".husk/vaults/v/keyslots", name))
        self.change_manifest(keyslots=[], born_encrypted=True)
        for _ in range(2):
            found = self.erase()
            (vault,) = found["result"]["vaults"]
            self.assertEqual((vault["key_destruction"], vault["plaintext_before"]), ("UNKNOWN", "UNKNOWN"))
            self.assertIn("key-copies-unknown", document.kinds(found))

    def test_a_forged_history_that_was_accepted_is_not_signed_as_true(self):
        self.lock()
        self.change_manifest(keyslots=[], born_encrypted=True)
        (name,) = os.listdir(self.path(".husk/vaults/v/keyslots"))
        self.json("unlock", "v", "--accept-changes", "--keyfile", self.keyfile)
        self.assertIs(self.status()["born_encrypted"], False)
        os.remove(self.path(".husk/vaults/v/keyslots", name))
        found = self.erase()
        (vault,) = found["result"]["vaults"]
        self.assertEqual((vault["key_destruction"], vault["plaintext_before"]), ("UNKNOWN", "UNKNOWN"))
        self.assertEqual(found["result"]["reports"][0]["reported_by_host"]["manifest"], "authenticated")

    def test_a_directory_that_was_emptied_is_not_said_to_have_held_nothing(self):
        os.mkdir(self.path("emptied"))
        self.call("protect", self.path("emptied"), "--vault", "w", "--skip-free-space", "--keyfile", self.keyfile,
                  expect=husk.DONE)
        self.assertIs(self.status("w")["born_encrypted"], True)
        self.assertIn("was empty when it was protected", self.call("status", "w", expect=husk.DONE).out)
        found = self.json("erase", "w", "--confirm", "w")
        self.assertEqual(found["result"]["vaults"][0]["plaintext_before"], "UNKNOWN")

    def test_the_report_is_written_where_it_was_asked_for(self):
        path = self.beside("report")
        found = self.erase("--certificate", path)
        with open(path) as file:
            self.assertEqual(json.load(file), found["result"]["reports"][0])

    def test_a_report_that_cannot_be_written_stops_it_before_it_begins(self):
        for path, status in ((self.keyfile, husk.REFUSED), (self.beside("no/such"), husk.FAILED),
                             (os.path.join(self.tree, "report"), husk.REFUSED)):
            found = self.erase("--certificate", path, expect=status)
            self.assertIn("nothing is erased", found["error"]["message"])
            self.assertEqual(self.state(), "unlocked")
        self.assertNotIn("report", os.listdir(self.tree))
        self.assertEqual(os.stat(self.keyfile).st_size, 64)

    def test_the_same_command_writes_the_report_of_an_erase_that_was_not_finished_anew(self):
        path = self.beside("report")
        with open(os.path.join(self.tree, "file2")):
            first = self.erase("--certificate", path, expect=husk.INCOMPLETE)
        self.assertEqual(self.state(), "erasing")
        self.assertIn(f"husk erase --at {self.d.path} v --confirm v goes on with it", self.call("status", expect=husk.DONE).out)
        found = self.erase("--certificate", path)
        self.assertNotEqual(found["result"]["reports"], first["result"]["reports"])
        with open(path) as file:
            self.assertEqual(json.load(file), found["result"]["reports"][0])
        self.assertEqual(self.erase("--certificate", path)["changed"], False)

    @needs_faults
    def test_the_same_command_takes_the_empty_report_that_a_crash_left(self):
        path = self.beside("report")
        done = self.call("erase", "v", "--confirm", "v", "--certificate", path, fault="program.certificate:crash")
        self.assertTrue(done.crashed, done)
        self.assertEqual(os.stat(path).st_size, 0)
        self.erase("--certificate", path)
        with open(path) as file:
            self.assertEqual(json.load(file)["vault"]["name"], "v")

    def test_the_report_of_another_vault_is_not_written_over(self):
        self.call("protect", self.make_tree("srv/other"), "--vault", "w", "--skip-free-space", "--keyfile", self.keyfile,
                  expect=husk.DONE)
        path, also = self.beside("report"), self.beside("also")
        self.json("erase", "w", "--confirm", "w", "--certificate", path)
        with open(path) as file:
            was = file.read()
        os.link(path, also)
        for words in (("v", "--confirm", "v"), ("w", "--confirm", "w")):
            found = self.json("erase", *words, "--certificate", path, expect=husk.REFUSED)
            self.assertEqual(found["error"]["code"], "exists")
        with open(path) as file:
            self.assertEqual(file.read(), was)
        os.remove(also)
        self.json("erase", "w", "--confirm", "w", "--certificate", path)

    @needs_faults
    def test_a_report_in_a_directory_that_its_owner_exchanges_costs_nobody_a_file(self):
        """Nothing is written to the report, so it goes; what has its path by then is not it."""
        theirs, other = self.beside("theirs"), self.beside("other")
        for directory in (theirs, other):
            os.mkdir(directory)
        with open(os.path.join(other, "report"), "w") as file:
            file.write("of somebody else")
        command = self.at("erase", "v", "--confirm", "v", "--certificate", os.path.join(theirs, "report"))
        with husk.paused("program.certificate", *command) as paused:
            os.rename(theirs, self.beside("aside"))
            os.symlink(other, theirs)
            held = open(self.path(".husk/lock"))
            fcntl.flock(held, fcntl.LOCK_EX)
        paused.done.expect(husk.REFUSED)
        held.close()
        with open(os.path.join(other, "report")) as file:
            self.assertEqual(file.read(), "of somebody else")
        self.assertEqual(os.listdir(self.beside("aside")), [])
        with husk.paused("program.certificate", *self.at("erase", "v", "--confirm", "v", "--certificate",
                                                         self.beside("aside/report"))) as paused:
            os.rename(self.beside("aside/report"), self.beside("aside/moved"))
            os.symlink(self.keyfile, self.beside("aside/report"))
        paused.done.expect(husk.DONE)
        self.assertEqual(os.stat(self.keyfile).st_size, 64)
        with open(self.beside("aside/moved")) as file:
            self.assertEqual(json.load(file)["schema"], "husk.erase-report/1")

    def test_on_a_read_only_filesystem_it_is_refused(self):
        self.d.remount("ro")
        found = self.erase(expect=husk.REFUSED)
        self.assertIn("mounted read-only", found["error"]["message"])
        self.assertIn("mount -o remount,rw", found["error"]["remedy"])

    def test_a_second_time_it_says_so(self):
        self.erase()
        self.assertIn("vault v was erased before", self.call("erase", "v", "--confirm", "v", expect=husk.DONE).out)

    def test_an_unprotect_that_was_refused_is_no_conversion(self):
        with open(os.path.join(self.tree, "file2")):
            self.json("unprotect", "v", expect=husk.REFUSED)
        self.assertNotIn("conversion-left", document.kinds(self.erase()))

    def test_files_in_use_keep_their_keys_and_that_is_said(self):
        with open(os.path.join(self.tree, "file2"), "rb"):
            found = self.erase(expect=husk.INCOMPLETE)
            self.assertIn(str(os.getpid()), json.dumps(found["findings"]))
            self.assertIn("end what the findings name", found["error"]["remedy"])
            self.assertEqual(self.state(), "erasing")
            self.assertEqual(found["result"]["vaults"][0]["key_destruction"], "INCOMPLETE")
            self.json("unlock", "v", "--keyfile", self.keyfile, expect=husk.REFUSED)
            for _ in range(2):
                told = self.call("erase", "v", "--confirm", "v", expect=husk.INCOMPLETE).out
                self.assertIn("vault v is not erased yet", told)
                self.assertNotRegex(told, "nothing opens it|was erased before")
        found = self.erase()
        self.opens_no_more()

    def snapshots(self, found):
        return [item["cause"] for item in found["findings"] if item["kind"] == "key-copy-snapshot"]

    def test_the_time_a_keyslot_was_on_the_disk_ends_when_it_was_destroyed_however_often_it_is_repeated(self):
        with open(os.path.join(self.tree, "file2"), "rb"):
            first = self.snapshots(self.erase(expect=husk.INCOMPLETE))
            time.sleep(1.1)
            self.assertEqual(self.snapshots(self.erase(expect=husk.INCOMPLETE)), first)
        time.sleep(1.1)
        for _ in range(2):
            self.assertEqual(self.snapshots(self.erase()), first)
        self.assertEqual(len(first), 1)

    def fill(self):
        """Until there is neither a block nor an inode."""
        os.mkdir(self.path("filler"))
        with contextlib.suppress(OSError):
            for number in range(100000):
                open(self.path("filler", str(number)), "xb").close()
        with open(self.path("filler/0"), "wb") as file:
            for size in (1 << 20, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
        room = os.statvfs(self.d.path)
        self.assertEqual((room.f_bavail, room.f_favail), (0, 0))

    def test_on_a_full_disk_it_is_erased_all_the_same(self):
        self.fill()
        found = self.erase()
        self.assertTrue(found["changed"])
        self.assertEqual(os.listdir(self.path(".husk/vaults/v/keyslots")), [])
        self.opens_no_more()

    @needs_faults
    def test_on_a_disk_that_stays_full_nothing_opens_it_and_the_report_is_told(self):
        """Whoever fills the disk takes each block that comes free: no file can be made, from the first on."""
        path = self.beside("report")
        found = self.erase("--certificate", path, expect=husk.INCOMPLETE, fault=",".join(["file.create:enospc"] * 16))
        self.assertIn("report could not be kept", found["error"]["message"])
        self.assertEqual(os.listdir(self.path(".husk/vaults/v/keyslots")), [])
        self.assertEqual(self.state(), "erasing")
        self.json("unlock", "v", "--keyfile", self.keyfile, expect=husk.REFUSED)
        with open(path) as file:
            self.assertEqual(json.load(file), found["result"]["reports"][0])
        self.erase()
        self.opens_no_more()

    @needs_faults
    def test_keyslots_are_called_destroyed_once_the_journal_is_zeroed(self):
        words = ("erase", "v", "--confirm", "v")
        told = "its keyslots on this disk are destroyed"
        self.assertNotIn(told, self.call(*words, expect=husk.INCOMPLETE, fault="erase.journal:eio").out)
        self.assertIn(told, self.call(*words, expect=husk.DONE).out)

    @needs_faults
    def test_a_keyslot_that_cannot_be_overwritten_stays_and_each_step_is_told(self):
        """Its blocks, once free, could be reached by nobody any more: the name stays with them for the next run."""
        found = self.erase(expect=husk.INCOMPLETE, fault="destroy.overwrite:eio")
        (slot,) = found["result"]["reports"][0]["reported_by_host"]["keyslots"]
        self.assertEqual({step: slot["steps"][step] for step in ("overwritten", "discarded", "unlinked")},
                         {"overwritten": "failed", "discarded": "not tried", "unlinked": "not tried"})
        self.assertEqual(found["result"]["vaults"][0]["key_destruction"], "INCOMPLETE")
        self.assertEqual(len(os.listdir(self.path(".husk/vaults/v/keyslots"))), 1)
        self.assertEqual(self.state(), "erasing")
        self.json("unlock", "v", "--keyfile", self.keyfile, expect=husk.REFUSED)
        self.erase()
        self.opens_no_more()

    @needs_faults
    def test_a_keyslot_that_vault_json_does_not_name_is_told_also_when_a_crash_comes_behind_its_destruction(self):
        """Nothing else knows then that it was here."""
        before = set(os.listdir(self.path(".husk/vaults/v/keyslots")))
        self.assertTrue(self.call("keyslot", "add", "v", "--passphrase-file", "-", "--with-keyfile", self.keyfile,
                                  stdin=b"correct horse", fault="vault.keyslot.written:crash").crashed)
        (unnamed,) = set(os.listdir(self.path(".husk/vaults/v/keyslots"))) - before
        for _ in range(2):
            self.assertTrue(self.call("erase", "v", "--confirm", "v", fault="erase.keyslot.destroyed:crash").crashed)
        self.assertEqual(os.listdir(self.path(".husk/vaults/v/keyslots")), [])
        found = self.erase()
        told = {slot["id"]: slot["kind"] for slot in found["result"]["reports"][0]["reported_by_host"]["keyslots"]}
        self.assertEqual(told, {unnamed: "passphrase", before.pop(): "keyfile"})
        self.assertIn(unnamed, [finding["subject"] for finding in found["findings"]
                                if finding["kind"] == "key-copy-snapshot"])

    def test_a_place_of_old_trees_that_cannot_be_looked_into_is_not_called_empty(self):
        os.close(os.open(self.path(".husk/plaintext/v"), os.O_CREAT | os.O_WRONLY))
        found = self.erase(expect=husk.INCOMPLETE)
        self.assertEqual(found["result"]["vaults"][0]["plaintext_before"], "INCOMPLETE")

    @needs_faults
    def test_abort_leaves_what_an_erase_reports(self):
        second = self.make_tree("second")
        words = ("--vault", "w", "--keyfile", self.keyfile, "--skip-free-space")
        self.assertTrue(self.call("protect", second, *words, fault="convert.copied:crash").crashed)
        self.json("erase", "w", "--confirm", "w", expect=husk.INCOMPLETE)
        self.call("protect", "--abort", "--vault", "w", expect=husk.DONE)
        self.assertEqual(self.state("w"), "erasing")
        report = self.json("erase", "w", "--confirm", "w")["result"]["reports"]
        self.assertEqual(report[0]["verdicts"]["plaintext_before_conversion"], "UNKNOWN")
        self.assertEqual(self.state("w"), "erased")
        self.assertEqual(self.json("erase", "w", "--confirm", "w")["result"]["reports"], report)

    @needs_faults
    def test_what_is_left_of_a_vault_that_was_being_made_is_destroyed(self):
        vaults, other = self.path(".husk/vaults"), self.make_tree("other")
        for words in (("w", "--confirm", "w"), ("--all", "--confirm", self.d.path)):
            made = self.call("protect", other, "--vault", "w", "--keyfile", self.keyfile, fault="vault.create.rename:crash")
            self.assertTrue(made.crashed)
            self.assertIn("w.new", os.listdir(vaults))
            found = self.json("erase", *words)
            self.assertTrue(found["changed"])
            self.assertNotIn("w.new", os.listdir(vaults))
            self.assertEqual(self.state(), "unlocked" if words[0] == "w" else "erased")
        self.json("erase", "w", "--confirm", "w", expect=husk.FAILED)

    def test_a_damaged_header_does_not_stop_it(self):
        with open(self.path(".husk/vaults/v/vault.json"), "w") as file:
            file.write("{")
        self.erase()
        self.assertEqual(os.listdir(self.path(".husk/vaults/v/keyslots")), [])

    @needs_faults
    def test_hang_ups_and_control_c_do_not_stop_it(self):
        with husk.paused("erase.mark", "erase", "v", "--confirm", "v", "--at", self.d.path) as paused:
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
                os.kill(paused.pid, number)
        paused.done.expect(husk.DONE)
        self.opens_no_more()

    @needs_faults
    @unittest.skipIf(sanitized(), "AddressSanitizer makes mlockall() do nothing")
    def test_it_is_locked_in_memory_before_it_begins(self):
        with husk.paused("erase.mark", "erase", "v", "--confirm", "v", "--at", self.d.path) as paused:
            with open(f"/proc/{paused.pid}/status") as file:
                locked = {line.split()[0]: int(line.split()[1]) for line in file if line.startswith(("VmLck", "VmRSS"))}
        self.assertGreaterEqual(locked["VmLck:"], locked["VmRSS:"] // 2)

    @needs_faults
    def test_the_same_command_finishes_it_after_a_crash(self):
        for point in [name for name in husk.list_faults() if name.startswith("erase.")]:
            with self.subTest(point):
                self.call("erase", "v", "--confirm", "v", fault=f"{point}:crash")
        self.erase()
        self.opens_no_more()


class AnotherHostTest(Job):
    """A rescue system, and below its root the disk of a customer with a vault of the same name."""

    def setUp(self):
        super().setUp()
        self.protect()
        self.write(self.d.path, "etc/hostname", "rescue\n")
        self.other = self.enterContext(disk.ext4(size_mib=64))
        self.mounted = self.path("mnt")
        os.mkdir(self.mounted)
        disk.run("mount", self.other.device, self.mounted)
        self.addCleanup(disk.run, "umount", self.mounted)
        os.makedirs(os.path.join(self.mounted, "data"))
        self.write(self.mounted, "data/file", "of the customer")
        husk.ok("protect", os.path.join(self.mounted, "data"), "--vault", "v", "--skip-free-space", "--keyfile",
                self.keyfile, "--at", self.mounted)

    def write(self, root, name, text):
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)

    def states(self):
        return {vault["filesystem"]: vault["state"] for vault in self.json("status")["result"]["vaults"]}

    def test_the_name_of_one_host_erases_no_disk_of_another(self):
        self.write(self.mounted, "etc/hostname", "customer\n")
        found = self.json("erase", "--all", "--confirm", "rescue", expect=husk.INCOMPLETE)
        self.assertEqual(self.states(), {self.d.path: "erased", self.mounted: "unlocked"})
        (failed,) = [finding for finding in found["findings"] if finding["kind"] == "vault-failed"]
        self.assertIn("is of customer, not of the host rescue", failed["cause"])
        self.assertIn(f"husk erase --at {self.mounted} --all --confirm customer", failed["remedy"])
        self.assertEqual([vault["filesystem"] for vault in found["result"]["vaults"]], [self.d.path])
        husk.ok("erase", "--all", "--confirm", "customer", "--at", self.mounted)
        self.assertEqual(self.states(), {self.d.path: "erased", self.mounted: "erased"})
        self.json("erase", "--all", "--confirm", "rescue")

    def test_nor_where_that_has_no_name_and_host_files(self):
        self.write(self.mounted, ".husk/host.json", '{"version":1,"keyfiles":[]}')
        found = self.json("erase", "--all", "--confirm", "rescue", expect=husk.INCOMPLETE)
        self.assertIn("another host", json.dumps(found["findings"]))
        self.assertEqual(self.states()[self.mounted], "unlocked")

    def test_a_further_disk_of_the_host_goes_with_it(self):
        self.json("erase", "--all", "--confirm", "rescue")
        self.assertEqual(self.states(), {self.d.path: "erased", self.mounted: "erased"})

    def test_what_all_means_is_listed_before_it_is_confirmed(self):
        told = self.call("erase", "--all", expect=husk.USAGE).out
        for place in (self.d.path, self.mounted):
            self.assertIn(f"--all means vault v of the filesystem at {place} (", told)
        self.assertEqual(set(self.states().values()), {"unlocked"})
        self.write(self.mounted, "etc/hostname", "customer\n")  # it would be left, and is not listed
        self.assertNotIn(self.mounted, self.call("erase", "--all", expect=husk.USAGE).out)

    def test_of_several_filesystems_each_line_names_its_own(self):
        for words in (("lock", "--all"), ("erase", "--all", "--confirm", "rescue")):
            told = self.call(*words, expect=husk.DONE).out
            ends = [f"at {place})" for place in (self.d.path, self.mounted)]
            about = [line for line in told.splitlines() if not line.startswith(("to know:", "    what to do:"))]
            self.assertTrue(about)
            for line in about:
                self.assertTrue(any(line.endswith(end) for end in ends), line)
            for end in ends:
                self.assertIn(end, told)


@needs_faults
class GoneReadOnlyTest(Job):
    """The kernel makes the filesystem read-only in the middle of it (errors=remount-ro)."""

    def setUp(self):
        self.d = self.enterContext(disk.ext4(size_mib=64, options="errors=remount-ro"))
        self.keyfile = husk.keyfile(self.d.directory)
        self.tree = self.make_tree("srv/data")
        self.protect()

    def mend(self):
        self.d.unmount()
        self.d.sync()
        disk.run("e2fsck", "-fy", self.d.device, accept=(0, 1))
        self.d.mount()

    def test_the_key_leaves_the_kernel_all_the_same(self):
        command = self.at("erase", "v", "--confirm", "v")
        with husk.paused("erase.marked", *command, json=True) as paused:
            disk.break_filesystem(self.d)
        for done in (paused.done, husk.run(*command, json=True)):
            found = document.check(done.expect(husk.INCOMPLETE), "erase")
            (report,) = found["result"]["reports"]
            self.assertEqual(report["reported_by_host"]["kernel_key"], "absent")
            self.assertEqual(report["verdicts"]["key_destruction"], "INCOMPLETE")
            self.assertIn("keyslot-not-destroyed", document.kinds(found))
            self.assertNotIn("file2", os.listdir(self.tree))
        self.mend()
        self.assertEqual(self.state(), "erasing")
        self.json("erase", "v", "--confirm", "v")
        self.assertEqual(self.state(), "erased")

    def test_a_report_that_cannot_be_kept_is_told(self):
        path = self.beside("report")
        command = self.at("erase", "v", "--confirm", "v", "--certificate", path)
        with husk.paused("erase.report", *command, json=True) as paused:
            disk.break_filesystem(self.d)
        found = document.check(paused.done.expect(husk.INCOMPLETE), "erase")
        self.assertIn("e2fsck", found["error"]["remedy"])
        with open(path) as file:
            self.assertEqual(json.load(file), found["result"]["reports"][0])
        self.mend()
        self.json("erase", "v", "--confirm", "v")
        self.assertEqual(self.state(), "erased")

    def test_lock(self):
        disk.break_filesystem(self.d)
        found = self.json("lock", "v")
        self.assertIn("gone-read-only", document.kinds(found))
        self.assertEqual(self.state(), "locked")
        self.assertNotIn("file2", os.listdir(self.tree))


if __name__ == "__main__":
    unittest.main()
