"""huskd when things go wrong around it: every trouble has clear words, nothing is granted, and it ends when its cause
does."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import authority
import disk
import husk
import prometheus


class Scene(unittest.TestCase):
    """A huskd whose directory is self.server.path, in which hosts open by themselves."""

    words = ()

    def setUp(self):
        self.directory = authority.make_directory()
        self.addCleanup(shutil.rmtree, self.directory)
        self.server = authority.Server(self.place(), self.words)
        self.server.root = self.directory + "/root.key"
        self.server.log_path = self.directory + "/log"
        self.addCleanup(self.kill)
        self.init()
        self.server.start()
        self.server.ok("group", "set", "default", "--unlock", "auto")

    def place(self):
        return self.directory

    def init(self):
        self.server.init()

    def kill(self):
        if self.server.process is not None:
            self.server.process.kill()
            self.server.process.wait()

    def path(self, name):
        return os.path.join(self.server.path, name)

    def keyring(self):
        found = [name for name in os.listdir(self.server.path) if name.startswith("keyring.")]
        self.assertEqual(len(found), 1, found)
        return self.path(found[0])

    def refuses_to_start(self, *said):
        with self.assertRaises(authority.Ended):
            self.server.start()
        self.assertIn(self.server.process.wait(20), (husk.FAILED, husk.REFUSED), self.server.log())
        self.server.process = None
        for words in said:
            self.assertRegex(self.server.log(), words)
        self.assertNotRegex(self.server.log(), "(?i)segmentation|abort")


class Opening(Scene):
    """One host of it."""

    def setUp(self):
        super().setUp()
        self.fresh()

    def fresh(self):
        """A host of this start of the server."""
        self.host = self.server.host(f"web{time.monotonic_ns()}")
        self.addCleanup(self.host.close)
        self.host.result({"type": "heartbeat", "boot": "@boot", "lineage": "@id", "facts": authority.FACTS,
                          "descriptor_sequence": 1})
        self.keyslot = os.urandom(16).hex()
        self.host.result({"type": "bind", "keyslot": self.keyslot, "vault": os.urandom(16).hex(),
                          "vault_name": "data", "blinded": ["@point", "@point"]})

    def ask(self):
        return self.host.say({"type": "open", "boot": "@boot", "planned": False, "facts": authority.FACTS,
                              "open": [{"keyslot": self.keyslot, "blinded": "@point"}], "wait_s": 0})

    def assert_granted(self):
        told = self.ask()
        self.assertEqual(told.get("object", {}).get("result", {}).get("state"), "granted", told)

    def assert_try_again(self):
        told = self.ask()
        self.assertEqual(told["kind"], "try again", told)


class FullDiskTest(Opening):
    def place(self):
        self.disk = self.enterContext(disk.ext4(size_mib=16))
        return self.disk.path

    def fill(self):
        with open(self.disk.path + "/filler", "wb", buffering=0) as file:
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * 65536)
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * 512)
        disk.sync(self.disk.path)
        # What the log has already must run out too.
        for _ in range(400):
            done = self.server.run("token", "create")
            if done.status != 0:
                return done
        raise AssertionError("the disk is never full")

    def test_nothing_is_granted_while_the_disk_is_full_and_all_goes_on_afterwards(self):
        self.assert_granted()
        done = self.fill().expect_error_line_of("huskd", husk.FAILED)
        self.assertIn("the disk of the authority is full", done.err)
        self.assertIn("free space on that filesystem", done.err)
        self.assert_try_again()
        self.server.run("host", "erase", self.host.name, "--confirm", self.host.name).expect(husk.FAILED,
                                                                                              husk.INCOMPLETE)
        self.assertEqual(prometheus.parse(self.server.ok("metrics").out)["huskd_in_trouble"], 1)
        self.assertRegex(self.server.log(), "cannot decide: the disk of the authority is full")
        self.server.ok("host", "list")
        backup = ("backup", *[word for name in ("out", "envelope-out", "backup-key-out")
                              for word in ("--" + name, os.path.join(self.directory, name))])
        done = self.server.run(*backup).expect_error_line_of("huskd", husk.FAILED)
        self.assertNotIn("is the backup key", done.out + done.err)
        self.assertEqual([name for name in os.listdir(self.directory) if name.endswith("out")], [])
        os.unlink(self.disk.path + "/filler")
        self.assertIn("is the backup key", self.server.ok(*backup).out)
        self.assert_granted()
        self.assertRegex(self.server.log(), "decides again")
        self.assertEqual(prometheus.parse(self.server.ok("metrics").out)["huskd_in_trouble"], 0)
        self.server.ok("host", "erase", self.host.name, "--confirm", self.host.name)
        self.server.ok("ledger", "verify")
        self.assertEqual(self.server.end(), 0)

    def test_a_full_disk_at_the_start_is_told(self):
        self.fill()
        self.server.end()
        with contextlib.suppress(authority.Ended):
            self.server.start()
            self.server.end()
        log = self.server.log()
        self.assertRegex(log, "full|No space|cannot be opened|listening", log)
        self.server.process = None
        os.unlink(self.disk.path + "/filler")
        self.server.start()
        self.fresh()
        self.assert_granted()
        self.server.ok("ledger", "verify")


class ReadOnlyTest(Opening):
    def place(self):
        self.disk = self.enterContext(disk.ext4(size_mib=32, options="errors=remount-ro"))
        return self.disk.path

    def test_a_filesystem_that_goes_read_only_grants_nothing(self):
        self.assert_granted()
        with open(f"/sys/fs/ext4/{os.path.basename(self.disk.device)}/trigger_fs_error", "w") as file:
            file.write("test")
        with self.assertRaises(OSError):
            open(self.disk.path + "/x", "w").close()
        self.assert_try_again()
        done = self.server.run("token", "create").expect_error_line_of("huskd", husk.FAILED)
        self.assertRegex(done.err, "cannot be (read or )?written|read-only")
        self.assertIn("what to do", done.err)
        self.assertRegex(self.server.log(), "cannot decide: the database cannot be")
        self.kill()
        self.server.process = None
        self.disk.unmount()
        disk.run("e2fsck", "-fy", self.disk.device, accept=(0, 1))
        self.disk.mount("ro")
        self.refuses_to_start("read-only|Read-only|readonly")
        self.disk.remount("errors=remount-ro")
        self.server.start()
        self.fresh()
        self.assert_granted()
        self.server.ok("ledger", "verify")


class DamageTest(Opening):
    def setUp(self):
        super().setUp()
        self.assertEqual(self.server.end(), 0)

    def works(self):
        self.server.start()
        self.fresh()
        self.assert_granted()
        self.server.ok("ledger", "verify")
        self.assertEqual(self.server.end(), 0)

    @contextlib.contextmanager
    def kept(self, path):
        """As it was again afterwards."""
        shutil.copy2(path, self.directory + "/kept")
        try:
            yield
        finally:
            shutil.copy2(self.directory + "/kept", path)

    def flip(self, path, place, mask=0xff):
        with open(path, "r+b") as file:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ mask]))

    def test_a_keyring_that_is_damaged_cut_or_gone_is_named(self):
        keyring = self.keyring()
        size = os.path.getsize(keyring)
        for place in (0, 8, 12, 16, 24, 48, size // 2, size - 1):
            with self.subTest(place=place), self.kept(keyring):
                self.flip(keyring, place)
                self.refuses_to_start("keyring")
        for length in (0, 10, 24, 48, size - 1):
            with self.subTest(length=length), self.kept(keyring):
                os.truncate(keyring, length)
                self.refuses_to_start("keyring")
        with self.kept(keyring):
            os.unlink(keyring)
            self.refuses_to_start("keyring")
        self.works()

    def test_a_keyring_of_another_generation_or_another_authority_is_none(self):
        keyring = self.keyring()
        name, generation = keyring.rsplit(".", 1)
        other = authority.Server(self.directory + "/other")
        os.mkdir(other.directory)
        other.init()
        with self.kept(keyring):
            shutil.copy2(keyring, f"{self.directory}/old")
            os.unlink(keyring)
            shutil.copy2(f"{self.directory}/old", f"{name}.{int(generation) + 1}")
            self.refuses_to_start("keyring")
            os.unlink(f"{name}.{int(generation) + 1}")
        with self.kept(keyring):
            shutil.copy2(f"{other.path}/keyring.1", keyring)
            self.refuses_to_start("keyring")
        # The database of one, the keyring of another: both whole.
        with self.kept(keyring), sqlite3.connect(self.path("authority.db")) as database:
            shutil.copy2(f"{other.path}/keyring.1", self.path("keyring.1"))
            database.execute("UPDATE state SET generation = 1")
            database.commit()
            shutil.copy2(keyring, f"{self.directory}/mine")
            self.refuses_to_start("the keyring is not that of the descriptor")
            database.execute("UPDATE state SET generation = ?", (int(generation),))
        if generation != "1":
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path("keyring.1"))
        self.works()

    def test_what_the_database_must_say_of_the_authority_is_missed(self):
        database = self.path("authority.db")
        for script, said in [("UPDATE state SET descriptor = x''", "descriptor"),
                             ("UPDATE state SET descriptor = zeroblob(400)", "descriptor"),
                             ("UPDATE state SET descriptor = substr(descriptor, 2)", "descriptor|signature"),
                             ("DELETE FROM state", "not complete"), ("DELETE FROM moving", "not complete"),
                             ("DROP TABLE hosts", "hosts|damaged"), ("PRAGMA user_version = 2", "version 2"),
                             ("PRAGMA user_version = 0", "not one of huskd")]:
            with self.subTest(script), self.kept(database):
                connection = sqlite3.connect(database)
                connection.execute("PRAGMA foreign_keys = OFF")
                connection.execute(script)
                connection.commit()
                connection.execute("PRAGMA journal_mode = DELETE")
                connection.close()
                self.refuses_to_start(said)
        self.works()

    def test_a_database_that_is_cut_or_no_database_is_named(self):
        database = self.path("authority.db")
        for length in (0, 100, 4096, os.path.getsize(database) // 2):
            with self.subTest(length=length), self.kept(database):
                os.truncate(database, length)
                self.refuses_to_start("database")
        with self.kept(database):
            with open(database, "r+b") as file:
                file.write(b"no database at all")
            self.refuses_to_start("database is damaged, or is none|not a database")
        with self.kept(database):
            os.unlink(database)
            self.refuses_to_start("authority.db")
        self.works()

    def test_flipped_bytes_in_pages_are_told_or_harmless_and_never_end_huskd(self):
        """At places all over it: huskd says that it is damaged, or serves and its ledger tells, or it was a byte
        that says nothing. It never ends otherwise."""
        database = self.path("authority.db")
        size = os.path.getsize(database)
        outcomes = {"refused": 0, "served": 0}
        step = max(4096, size // (200 if os.environ.get("HUSK_TEST_LONG") else 6) // 4096 * 4096)
        for page in range(0, size, step):
            for place in {page, page + 5, page + 4090, page + 2048 + page // 4096 % 2000}:
                if place >= size:
                    continue
                with self.kept(database):
                    self.flip(database, place)
                    outcomes[self.serve_damaged(place)] += 1
            for name in ("authority.db-wal", "authority.db-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.path(name))
        self.assertGreater(outcomes["refused"], 0)
        self.works()

    def serve_damaged(self, place):
        try:
            self.server.start()
        except authority.Ended:
            status = self.server.process.wait(20)
            self.server.process = None
            self.assertIn(status, (husk.FAILED, husk.REFUSED), (place, self.server.log()))
            self.assertRegex(self.server.log(), "damaged|database|descriptor|keyring|ledger")
            return "refused"
        self.server.run("host", "list").expect(husk.DONE, husk.FAILED)
        self.server.run("ledger", "verify").expect(husk.DONE, husk.FAILED)
        self.assertEqual(self.server.end(), 0, (place, self.server.log()))
        return "served"


class HolderTest(Opening):
    def setUp(self):
        self.medium = authority.make_directory()
        self.addCleanup(shutil.rmtree, self.medium)
        self.holder = self.medium + "/h"
        self.words = ("--holder", self.holder)
        super().setUp()
        self.assertEqual(self.server.end(), 0)

    def init(self):
        authority.run("init", "--dir", self.server.path, "--root-out", self.server.root, "--address",
                      "http://127.0.0.1:4875", "--holder", self.holder).expect(0)

    def test_without_the_right_holder_nothing_starts_and_with_it_all_is_as_before(self):
        file = [name for name in os.listdir(self.medium)]
        self.assertEqual(len(file), 1)
        path = f"{self.medium}/{file[0]}"
        with open(path, "rb") as handle:
            right = handle.read()
        for content, said in [(os.urandom(32), "the holder does not open"), (right[:31], "holder"), (b"", "holder"),
                              (right + b"x", "holder")]:
            with open(path, "wb") as handle:
                handle.write(content)
            self.refuses_to_start(said)
        os.unlink(path)
        self.refuses_to_start("holder")
        os.rename(self.medium, self.medium + ".away")
        self.refuses_to_start("mount the medium")
        os.rename(self.medium + ".away", self.medium)
        with open(path, "wb") as handle:
            handle.write(right)
        self.server.words = []
        with self.assertRaises(authority.Ended):
            self.server.start()
        self.server.process = None
        self.assertIn("holder", self.server.log())
        self.server.words = list(self.words)
        self.server.start()
        self.fresh()
        self.assert_granted()

    @contextlib.contextmanager
    def renamed(self):
        os.rename(self.medium, self.medium + ".away")
        try:
            yield
        finally:
            os.rename(self.medium + ".away", self.medium)

    @contextlib.contextmanager
    def unmounted(self):
        """The directory is there, as a mount point is, and nothing in it."""
        subprocess.run(["mount", "-t", "tmpfs", "husk-test", self.medium], check=True)
        try:
            yield
            self.assertEqual(os.listdir(self.medium), [])
        finally:
            subprocess.run(["umount", self.medium], check=True)

    def test_an_erase_without_its_medium_grants_nothing_and_is_finished_when_it_is_back(self):
        self.erase_away(self.renamed)

    def test_nothing_is_written_where_the_medium_of_the_holder_is_not_mounted(self):
        self.erase_away(self.unmounted)
        self.assertEqual(self.server.end(), 0)
        self.assertEqual(len(os.listdir(self.medium)), 1)
        self.server.start()
        self.fresh()
        self.assert_granted()

    def erase_away(self, away):
        self.server.start()
        self.fresh()
        name = self.host.name
        with away():
            done = self.server.run("host", "erase", name, "--confirm", name).expect(husk.FAILED, husk.INCOMPLETE)
            self.assertIn("holder", done.err)
            told = self.ask()
            self.assertNotEqual(told.get("object", {}).get("result", {}).get("state"), "granted", told)
        self.server.ok("host", "erase", name, "--confirm", name)
        self.assertEqual(self.ask()["object"]["error"]["code"], "erased")
        self.server.ok("ledger", "verify")


class ClockTest(Opening):
    def set_highest(self, seconds):
        self.assertEqual(self.server.end(), 0)
        with contextlib.closing(sqlite3.connect(self.path("authority.db"))) as database:
            database.execute("UPDATE state SET clock_highest = ?", (int(time.time()) + seconds,))
            database.commit()
        self.server.start()

    def test_a_clock_that_went_back_opens_nothing_by_itself_and_is_told(self):
        for seconds in (600, 10 * 365 * 86400):
            with self.subTest(seconds=seconds):
                self.set_highest(seconds)
                self.fresh()
                told = self.ask()["object"]["result"]
                self.assertEqual((told["state"], told["flags"]), ("pending", ["clock"]))
                self.assertRegex(self.server.log(), r"the clock went back by \d+ seconds")
                self.assertEqual(prometheus.parse(self.server.ok("metrics").out)["huskd_clock_went_back"], 1)
                for verb in ("host", "request"):
                    findings = self.server.document(verb, "list")["findings"]
                    self.assertEqual([finding["kind"] for finding in findings], ["clock-went-back"])
                    self.assertIn("huskd clock accept", self.server.ok(verb, "list").out +
                                  self.server.ok(verb, "list").err)
                self.assertTrue(self.server.document("clock", "accept")["changed"])
                self.assertFalse(self.server.document("clock", "accept")["changed"])
                self.assertIn("nothing to accept", self.server.ok("clock", "accept").out)
                self.assertRegex(self.server.log(), "the clock is right again")
                self.fresh()
                self.assert_granted()
                self.assertEqual(self.server.document("host", "list")["findings"], [])
                self.assertIn("clock-accepted", [entry["kind"] for entry in
                                                 self.server.document("ledger", "show")["result"]["entries"]])
                self.server.ok("ledger", "verify")

    def test_a_clock_some_seconds_behind_is_nothing(self):
        self.set_highest(30)
        self.fresh()
        self.assert_granted()


class LedgerTest(Opening):
    """The ledger on disk, by someone who can write to it."""

    def change(self, script, *values):
        self.assertEqual(self.server.end(), 0)
        with contextlib.closing(sqlite3.connect(self.path("authority.db"))) as database:
            database.execute(script, values)
            database.commit()
        self.server.start()

    def test_what_was_changed_removed_or_reordered_is_named(self):
        kept = self.directory + "/whole"
        self.assert_granted()
        self.assertEqual(self.server.end(), 0)
        shutil.copy2(self.path("authority.db"), kept)
        for script in ["UPDATE ledger SET entry = replace(entry, 'granted', 'granteD') WHERE entry LIKE '%granted%'",
                       "UPDATE ledger SET entry = CAST(replace(CAST(entry AS TEXT), 'granted', 'denied') AS BLOB) "
                       "WHERE CAST(entry AS TEXT) LIKE '%granted%'",
                       "DELETE FROM ledger WHERE sequence = 3", "DELETE FROM ledger WHERE sequence = 1",
                       "UPDATE ledger SET sequence = CASE sequence WHEN 3 THEN 1000 ELSE sequence END",
                       "UPDATE ledger SET hash = (SELECT hash FROM ledger WHERE sequence = 2) WHERE sequence = 3",
                       "UPDATE ledger SET entry = (SELECT entry FROM ledger WHERE sequence = 2) WHERE sequence = 3"]:
            with self.subTest(script):
                with contextlib.closing(sqlite3.connect(self.path("authority.db"))) as database:
                    try:
                        changed = database.execute(script).rowcount
                        database.commit()
                    except sqlite3.IntegrityError:
                        changed = 0
                if not changed:
                    continue
                self.server.start()
                done = self.server.run("ledger", "verify").expect_error_line_of("huskd", husk.FAILED)
                self.assertRegex(done.err, r"entry \d+ of the ledger")
                self.server.end()
                for name in ("authority.db-wal", "authority.db-shm"):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(self.path(name))
                shutil.copy2(kept, self.path("authority.db"))
        self.server.start()
        self.server.ok("ledger", "verify")

    def test_a_ledger_that_was_cut_or_is_an_old_copy_is_found_by_a_kept_checkpoint(self):
        self.assertEqual(self.server.end(), 0)
        shutil.copy2(self.path("authority.db"), self.directory + "/old")
        self.server.start()
        self.fresh()
        self.assert_granted()
        checkpoint = self.server.document("ledger", "verify")["result"]["checkpoint"]
        self.server.ok("ledger", "verify", "--checkpoint", checkpoint)
        self.change("DELETE FROM ledger WHERE sequence = (SELECT max(sequence) FROM ledger)")
        self.server.ok("ledger", "verify")  # a whole chain, for all it can tell
        done = self.server.run("ledger", "verify", "--checkpoint", checkpoint)
        done.expect_error_line_of("huskd", husk.FAILED, husk.REFUSED)
        self.assertRegex(done.err, "was cut|written anew")
        # The whole database of before; its keyring is still valid where nothing was erased or bound since.
        self.assertTrue(any(name.startswith("keyring") for name in os.listdir(self.server.path)))


class MetricsTest(Opening):
    def test_the_text_is_what_prometheus_takes(self):
        self.assert_granted()
        text = self.server.ok("metrics").out
        metrics = prometheus.parse(text)
        for name, least in [("huskd_hosts", 1), ("huskd_keyslots", 1), ("huskd_messages_total", 3),
                            ("huskd_requests_total", 1), ("huskd_granted_total", 1), ("huskd_ledger_entries", 5),
                            ("huskd_ledger_epoch", 1), ("huskd_descriptor_sequence", 1), ("huskd_batches_total", 1)]:
            self.assertGreaterEqual(metrics[name], least, name)
        for name in ("huskd_hosts_held", "huskd_in_trouble", "huskd_clock_went_back", "huskd_ledger_alarms",
                     "huskd_erases_unfinished", "huskd_keyrings_undestroyed", "huskd_awaiting_root",
                     "huskd_commits_failed_total", "huskd_troubles_total", "huskd_backups"):
            self.assertEqual(metrics[name], 0, name)


if __name__ == "__main__":
    unittest.main()
