"""Trees that something changes while they are converted: nothing is lost, and what is uncertain is kept and named."""

import contextlib
import mmap
import os
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import disk
import husk
import manifest
import sys_calls

SECRET = b"what lies outside the tree must never come into it\n"


class Changing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not husk.list_faults():
            raise unittest.SkipTest("no husk with fault points (meson option faults)")

    def setUp(self):
        self.disk = self.enterContext(disk.ext4(size_mib=96))
        self.key = husk.keyfile(self.disk.directory)
        self.tree = os.path.join(self.disk.path, "data")
        self.kept = os.path.join(self.disk.path, ".husk/plaintext/v/0")
        os.makedirs(os.path.join(self.tree, "below"))
        for name in ("one", "below/two"):
            self.write(name, os.urandom(300_000))

    def protect(self, *more, **options):
        return husk.run(*self.command(*more), **options)

    def command(self, *more):
        return ("protect", self.tree, "--vault", "v", "--keyfile", self.key, "--at", self.disk.path,
                "--skip-free-space", *more)

    def path(self, name):
        return os.path.join(self.tree, name)

    def write(self, name, content, mode="wb"):
        with open(self.path(name), mode) as file:
            file.write(content)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def paused_protect(self, point, hit=1):
        return husk.paused(point, *self.command(), hit=hit)

    def finish_and_compare(self, before):
        self.protect().expect(husk.DONE)
        manifest.same(before, manifest.take(self.tree))

    def refused_then_finished(self, paused):
        """It said that something writes there; the tree is as the writer left it; the same command finishes."""
        paused.done.expect_error_line(husk.REFUSED)
        before = manifest.take(self.tree)
        self.finish_and_compare(before)


class ChangingTest(Changing):
    def test_a_file_that_grows_while_it_is_copied_is_noticed(self):
        with self.paused_protect("tree.content.write") as paused:
            for name in ("one", "below/two"):
                self.write(name, b"more", "ab")
        self.refused_then_finished(paused)
        self.assertTrue(self.read("one").endswith(b"more"))

    def test_a_file_that_is_overwritten_while_it_is_copied_is_noticed(self):
        with self.paused_protect("tree.content.write") as paused:
            for name in ("one", "below/two"):
                self.write(name, b"changed", "r+b")
        self.refused_then_finished(paused)

    def test_a_file_that_shrinks_while_it_is_copied_is_noticed(self):
        with self.paused_protect("tree.content.read") as paused:
            for name in ("one", "below/two"):
                os.truncate(self.path(name), 10)
        self.refused_then_finished(paused)

    def test_a_file_that_vanishes_while_it_is_copied_is_noticed(self):
        with self.paused_protect("tree.content.write") as paused:
            os.unlink(self.path("one"))
            os.unlink(self.path("below/two"))
        self.refused_then_finished(paused)

    def test_a_file_that_becomes_a_symlink_while_it_is_copied_is_noticed_and_not_followed(self):
        outside = os.path.join(self.disk.path, "outside")
        with open(outside, "wb") as file:
            file.write(SECRET)
        with self.paused_protect("tree.copy.create") as paused:
            for name in ("one", "below/two"):
                os.unlink(self.path(name))
                os.symlink(outside, self.path(name))
        self.refused_then_finished(paused)
        self.assertTrue(os.path.islink(self.path("one")))

    def change_between_comparing_and_the_proof(self, change):
        with self.paused_protect("convert.compared") as paused:
            change()
        self.refused_then_finished(paused)

    def test_a_file_written_after_comparing_is_noticed(self):
        self.change_between_comparing_and_the_proof(lambda: self.write("one", b"late", "r+b"))

    def test_a_mode_changed_after_comparing_is_noticed(self):
        self.change_between_comparing_and_the_proof(lambda: os.chmod(self.path("one"), 0o600))

    def test_a_file_made_after_comparing_is_noticed(self):
        self.change_between_comparing_and_the_proof(lambda: self.write("below/new", b"late"))

    def test_a_file_removed_after_comparing_is_noticed(self):
        self.change_between_comparing_and_the_proof(lambda: os.unlink(self.path("below/two")))

    def test_a_file_moved_after_comparing_is_noticed(self):
        self.change_between_comparing_and_the_proof(lambda: os.rename(self.path("one"), self.path("below/one")))

    def change_after_the_proof(self, change):
        """The third journal entry is exchanging: the proof lies behind, the names are not exchanged yet."""
        with self.paused_protect("convert.journal.written", hit=3) as paused:
            change()
        return paused.done.expect(husk.INCOMPLETE)

    def test_a_file_written_after_the_proof_is_kept_and_named(self):
        before = self.read("one")
        done = self.change_after_the_proof(lambda: self.write("one", b"late", "r+b"))
        self.assertIn(".husk/plaintext/v/0/one", done.out + done.err)
        self.assertEqual(self.read("one"), before)
        with open(os.path.join(self.kept, "one"), "rb") as file:
            self.assertEqual(file.read(), b"late" + before[4:])
        self.assertFalse(os.path.exists(os.path.join(self.kept, "below/two")))
        self.protect().expect(husk.INCOMPLETE)
        os.unlink(os.path.join(self.kept, "one"))
        self.protect().expect(husk.DONE)
        self.assertFalse(os.path.exists(self.kept))

    def test_a_file_made_after_the_proof_is_kept_and_named(self):
        done = self.change_after_the_proof(lambda: self.write("below/new", b"late"))
        self.assertIn("below/new", done.out + done.err)
        with open(os.path.join(self.kept, "below/new"), "rb") as file:
            self.assertEqual(file.read(), b"late")
        os.unlink(os.path.join(self.kept, "below/new"))
        self.protect().expect(husk.DONE)

    def test_a_file_opened_after_the_proof_is_kept_until_it_is_closed(self):
        opened = []
        done = self.change_after_the_proof(lambda: opened.append(open(self.path("one"), "r+b")))
        before = self.read("one")
        self.assertIn(f"(pid {os.getpid()})", done.out + done.err)
        with opened[0] as file:
            self.assertEqual(file.read(), before)
        self.protect().expect(husk.DONE)
        self.assertEqual(self.read("one"), before)

    def test_a_file_mapped_after_the_proof_is_kept_until_it_is_unmapped(self):
        import mmap
        mapped = []

        def map_it():
            with open(self.path("one"), "r+b") as file:
                mapped.append(mmap.mmap(file.fileno(), 0))

        done = self.change_after_the_proof(map_it)
        self.assertIn("one", done.out + done.err)
        self.assertEqual(mapped[0][:], self.read("one"))
        mapped[0].close()
        self.protect().expect(husk.DONE)

    def test_a_link_made_after_the_proof_keeps_the_file(self):
        outside = os.path.join(self.disk.path, "outside")
        before = self.read("one")
        self.change_after_the_proof(lambda: os.link(self.path("one"), outside))
        with open(outside, "rb") as file:
            self.assertEqual(file.read(), before)

    def test_an_old_tree_that_something_works_in_is_kept_whole(self):
        shell = []

        def enter():
            shell.append(subprocess.Popen(["sleep", "600"], cwd=self.path("below")))

        try:
            done = self.change_after_the_proof(enter)
            self.assertIn(f"(pid {shell[0].pid})", done.out + done.err)
            self.assertTrue(os.path.exists(os.path.join(self.kept, "one")))
            self.assertTrue(os.path.exists(os.path.join(self.kept, "below/two")))
        finally:
            shell[0].kill()
            shell[0].wait()
        self.protect().expect(husk.DONE)
        self.assertFalse(os.path.exists(self.kept))

    def test_an_old_tree_that_is_mounted_elsewhere_is_kept_whole(self):
        for name in ("below", "."):
            with self.subTest(name):
                self.setUp()
                there = os.path.join(self.disk.directory, "there")
                os.mkdir(there)
                done = self.change_after_the_proof(lambda: disk.run("mount", "--bind", self.path(name), there))
                try:
                    self.assertIn(f"it is mounted at {there}", done.out)
                    self.assertTrue(os.path.exists(os.path.join(self.kept, "one")))
                    self.assertTrue(os.path.exists(os.path.join(self.kept, "below/two")))
                    self.protect().expect(husk.INCOMPLETE)
                finally:
                    disk.run("umount", there)
                self.protect().expect(husk.DONE)
                self.assertFalse(os.path.exists(self.kept))

    def test_a_user_who_races_symlinks_gets_nothing_from_outside(self):
        """Files and directories turn into symlinks and back without end: what comes out holds nothing from outside."""
        outside = os.path.join(self.disk.path, "outside")
        os.mkdir(outside)
        for name in ("one", "two"):
            with open(os.path.join(outside, name), "wb") as file:
                file.write(SECRET)
        stop = threading.Event()

        def race():
            while not stop.is_set():
                for name, target in (("one", os.path.join(outside, "one")), ("below", outside)):
                    aside = self.path(name + ".aside")
                    try:
                        os.symlink(target, aside)
                        os.rename(self.path(name), self.path(name + ".real"))
                        os.rename(aside, self.path(name))
                        os.unlink(self.path(name))
                        os.rename(self.path(name + ".real"), self.path(name))
                    except OSError:
                        time.sleep(0.001)

        thread = threading.Thread(target=race)
        thread.start()
        try:
            limit = time.monotonic() + 15
            while time.monotonic() < limit:
                if self.protect().expect(husk.DONE, husk.FAILED, husk.REFUSED, husk.INCOMPLETE).status == husk.DONE:
                    break
        finally:
            stop.set()
            thread.join()
        for directory, _, names in os.walk(self.disk.path):
            for name in names:
                path = os.path.join(directory, name)
                if directory != outside and not os.path.islink(path) and os.path.isfile(path):
                    with open(path, "rb") as file:
                        self.assertNotIn(SECRET, file.read(), path)
        for name in ("one", "two"):
            with open(os.path.join(outside, name), "rb") as file:
                self.assertEqual(file.read(), SECRET)


    def change_before_the_exchange(self, change):
        """The last look at the top of the tree lies behind: what changes now shows only afterwards."""
        with self.paused_protect("convert.exchange") as paused:
            change()
        done = paused.done.expect(husk.INCOMPLETE)
        self.assertNotIn("its old plaintext was overwritten in place and deleted", done.out)
        return done

    def test_a_file_moved_out_of_the_tree_is_not_called_overwritten(self):
        for name in ("one", "below/two"):
            with self.subTest(name):
                self.setUp()
                before, outside = self.read(name), os.path.join(self.disk.path, "outside")
                done = self.change_before_the_exchange(lambda: os.rename(self.path(name), outside))
                self.assertIn("moved elsewhere or deleted", done.out)
                self.assertEqual(self.read(name), before)
                with open(outside, "rb") as file:
                    self.assertEqual(file.read(), before)

    def test_a_tree_whose_name_was_given_to_another_directory_is_not_called_overwritten(self):
        before, outside = manifest.take(self.tree), os.path.join(self.disk.path, "outside")

        def exchange():
            os.rename(self.tree, outside)
            os.mkdir(self.tree)

        done = self.change_before_the_exchange(exchange)
        self.assertIn(".husk/plaintext/v/0", done.out)
        manifest.same(before, manifest.take(outside))

    def test_a_tree_whose_name_was_given_to_a_symlink_or_a_file_is_not_called_overwritten(self):
        for put in (lambda: os.symlink("outside", self.tree), lambda: open(self.tree, "w").close()):
            with self.subTest():
                self.setUp()
                before, outside = manifest.take(self.tree), os.path.join(self.disk.path, "outside")
                done = self.change_before_the_exchange(lambda: (os.rename(self.tree, outside), put()))
                self.assertIn("is not the old tree", done.out)
                manifest.same(before, manifest.take(outside))
                manifest.same(before, manifest.take(self.tree))
                self.protect().expect(husk.INCOMPLETE)
                os.unlink(self.kept)
                done = self.protect().expect(husk.INCOMPLETE)
                self.assertNotIn("overwritten in place and deleted", done.out)
                self.assertFalse(os.path.lexists(self.kept))
                self.protect().expect(husk.DONE)

    def test_a_tree_that_is_gone_when_it_is_exchanged_can_be_put_back(self):
        for point in ("convert.exchange", "convert.exchanged"):
            with self.subTest(point):
                self.setUp()
                outside, before = os.path.join(self.disk.path, "outside"), manifest.take(self.tree)
                with self.paused_protect(point) as paused:
                    os.rename(self.tree, outside)
                paused.done.expect_error_line(husk.FAILED)
                abort = husk.run("protect", "--abort", "--vault", "v", "--at", self.disk.path)
                self.assertIn("move it back", abort.expect_error_line(husk.FAILED).err)
                os.rename(outside, self.tree)
                self.finish_and_compare(before)
                self.assertTrue(sys_calls.is_encrypted(self.tree))

    def refused_before_the_exchange(self, change):
        with self.paused_protect("convert.journal.written", hit=3) as paused:
            change()
        self.refused_then_finished(paused)

    def test_the_top_of_the_tree_changed_after_the_proof_is_noticed_before_the_exchange(self):
        self.refused_before_the_exchange(lambda: os.chmod(self.tree, 0o700))
        self.assertEqual(os.stat(self.tree).st_mode & 0o777, 0o700)

    def test_a_file_moved_out_of_the_top_after_the_proof_is_noticed_before_the_exchange(self):
        self.refused_before_the_exchange(lambda: os.rename(self.path("one"), os.path.join(self.disk.path, "outside")))
        self.assertFalse(os.path.exists(self.path("one")))

    def test_another_tree_in_its_place_after_the_proof_is_noticed_before_the_exchange(self):
        def exchange():
            os.rename(self.tree, os.path.join(self.disk.path, "outside"))
            os.mkdir(self.tree)
            self.write("other", b"another")

        self.refused_before_the_exchange(exchange)
        self.assertEqual(self.read("other"), b"another")


class InFlightTest(Changing):
    """A directory's descriptor lies in a socket, received by nobody, while the proof is taken: no list shows it."""

    def at_the_scrubbing(self, act):
        directory = self.in_flight(self.path("below"))
        with self.paused_protect("convert.proven-old") as paused:
            with directory() as fd:
                act(fd)
        return paused.done

    @staticmethod
    def in_flight(path):
        ours, theirs = socket.socketpair()
        fd = os.open(path, os.O_RDONLY)
        socket.send_fds(ours, [b"x"], [fd])
        os.close(fd)

        @contextlib.contextmanager
        def receive():
            _, (received,), _, _ = socket.recv_fds(theirs, 1, 1)
            try:
                yield received
            finally:
                os.close(received)
                ours.close()
                theirs.close()
        return receive

    def keeps(self, done, name):
        done.expect(husk.INCOMPLETE)
        self.assertIn(f"0/below/{name}", done.out + done.err)
        self.assertNotIn("overwritten in place and deleted", done.out)
        return os.path.join(self.kept, "below", name)

    def finish(self, *left):
        self.protect().expect(husk.INCOMPLETE)
        for path in left:
            os.unlink(path)
        self.protect().expect(husk.DONE)
        self.assertFalse(os.path.exists(self.kept))

    @staticmethod
    def write_at(fd, name, content, flags=os.O_WRONLY):
        file = os.open(name, flags, dir_fd=fd)
        os.write(file, content)
        os.close(file)

    def test_what_is_written_through_it_is_kept(self):
        before = self.read("below/two")
        path = self.keeps(self.at_the_scrubbing(lambda fd: self.write_at(fd, "two", b"late")), "two")
        with open(path, "rb") as file:
            self.assertEqual(file.read(), b"late" + before[4:])
        self.assertEqual(self.read("below/two"), before)
        self.finish(path)

    def test_a_mode_that_is_set_is_a_change_too(self):
        path = self.keeps(self.at_the_scrubbing(lambda fd: os.chmod("two", 0o600, dir_fd=fd)), "two")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.finish(path)

    def test_what_is_made_through_it_is_kept(self):
        def make(fd):
            self.write_at(fd, "new", b"late", os.O_WRONLY | os.O_CREAT)
            os.symlink("late", "link", dir_fd=fd)
            os.mkfifo("fifo", dir_fd=fd)

        done = self.at_the_scrubbing(make)
        paths = [self.keeps(done, name) for name in ("new", "link", "fifo")]
        self.assertEqual(os.readlink(paths[1]), "late")
        self.finish(*paths)

    def test_what_is_moved_away_through_it_is_not_called_overwritten(self):
        outside, before = os.path.join(self.disk.path, "outside"), self.read("below/two")
        done = self.at_the_scrubbing(lambda fd: os.rename("two", outside, src_dir_fd=fd)).expect(husk.INCOMPLETE)
        self.assertIn("moved elsewhere or deleted", done.out)
        self.assertNotIn("overwritten in place and deleted", done.out)
        with open(outside, "rb") as file:
            self.assertEqual(file.read(), before)

    def test_what_is_written_between_two_runs_is_kept(self):
        """The first run proved it and was killed; the second one may not rely on that."""
        self.assertTrue(self.protect(fault="convert.proven-old:crash").crashed)
        with open(os.path.join(self.kept, "below/two"), "ab") as file:
            file.write(b"late")
        path = self.keeps(self.protect(), "two")
        self.finish(path)

    def test_what_is_written_into_an_old_encrypted_tree_is_kept(self):
        self.protect().expect(husk.DONE)
        before = self.read("below/two")
        directory = self.in_flight(self.path("below"))
        with husk.paused("convert.proven-old", "unprotect", "v", "--at", self.disk.path) as paused:
            with directory() as fd:
                self.write_at(fd, "two", b"late")
                os.symlink("late", "link", dir_fd=fd)
        paused.done.expect(husk.INCOMPLETE)
        for name in ("two", "link"):
            self.assertIn(f"below/{name}", paused.done.out)
        with open(os.path.join(self.kept, "below/two"), "rb") as file:
            self.assertEqual(file.read(), b"late" + before[4:])
        for name in ("two", "link"):
            os.unlink(os.path.join(self.kept, "below", name))
        husk.ok("unprotect", "v", "--at", self.disk.path)
        self.assertEqual(self.read("below/two"), before)


class DeletedTest(Changing):
    def test_a_deleted_file_that_is_open_is_named_where_free_space_is_overwritten(self):
        scrubbing = [word for word in self.command() if word != "--skip-free-space"]
        with open(self.path("deleted"), "wb") as file:
            file.write(SECRET * 100)
            file.flush()
            os.unlink(self.path("deleted"))
            found = husk.run(*scrubbing, json=True).expect(husk.DONE).document["findings"]
        (finding,) = [finding for finding in found if finding["kind"] == "deleted-file-open"]
        self.assertTrue(finding["subject"].endswith("/deleted (deleted)"), finding)
        self.assertIn(f"(pid {os.getpid()})", finding["cause"])


class ResumedTest(Changing):
    """Between a run that was cut short while it exchanged and the next one the directories are in use."""

    def setUp(self):
        super().setUp()
        self.other = os.path.join(self.disk.path, "other")
        os.mkdir(self.other)
        for name in ("kept", "changed", "removed"):
            with open(os.path.join(self.other, name), "wb") as file:
                file.write(name.encode() * 1000)

    def command(self, *more):
        return super().command(*more)[:2] + (self.other,) + super().command(*more)[2:]

    def use(self):
        with open(os.path.join(self.other, "changed"), "ab") as file:
            file.write(b"since then")
        with open(os.path.join(self.other, "new"), "wb") as file:
            file.write(b"since then")
        os.unlink(os.path.join(self.other, "removed"))
        os.chmod(self.other, 0o700)
        return manifest.take(self.other)

    def cut_short(self, fault):
        done = self.protect(fault=fault)
        self.assertNotEqual(done.status, husk.DONE)
        self.assertTrue(sys_calls.is_encrypted(self.tree))
        self.assertFalse(sys_calls.is_encrypted(self.other))

    def test_what_was_written_meanwhile_is_there_after_the_exchange(self):
        for fault in ("convert.exchange:eio:2", "convert.exchange:crash:2", "convert.recorded:crash:1"):
            with self.subTest(fault):
                self.setUp()
                before = manifest.take(self.tree)
                self.cut_short(fault)
                used = self.use()
                self.finish_and_compare(before)
                manifest.same(used, manifest.take(self.other))
                self.assertTrue(sys_calls.is_encrypted(self.other))
                self.assertFalse(os.path.exists(self.kept))

    def test_what_uses_a_directory_meanwhile_keeps_it_from_being_exchanged(self):
        self.cut_short("convert.exchange:crash:2")
        before = manifest.take(self.tree)
        with open(os.path.join(self.other, "changed"), "ab") as file:
            done = self.protect().expect_error_line(husk.REFUSED)
            self.assertIn(f"(pid {os.getpid()})", done.out)
            self.assertFalse(sys_calls.is_encrypted(self.other))
            husk.run("protect", "--abort", "--vault", "v", "--at", self.disk.path).expect_error_line(husk.REFUSED)
            file.write(b"more")
        used = self.use()
        self.finish_and_compare(before)
        manifest.same(used, manifest.take(self.other))

    def test_unprotect(self):
        self.protect().expect(husk.DONE)
        unprotect = ("unprotect", "v", "--at", self.disk.path)
        self.assertTrue(husk.run(*unprotect, fault="convert.exchange:crash:2").crashed)
        used = self.use()
        husk.ok(*unprotect)
        manifest.same(used, manifest.take(self.other))
        self.assertFalse(sys_calls.is_encrypted(self.other) or sys_calls.is_encrypted(self.tree))

    def test_going_back_leaves_a_sealed_directory_sealed(self):
        disk.run("chattr", "+i", self.tree)
        self.assertTrue(self.protect(fault="convert.exchange:crash").crashed)
        husk.ok("protect", "--abort", "--vault", "v", "--at", self.disk.path)
        self.assertIn("i", disk.run("lsattr", "-d", self.tree).split()[0])
        disk.run("chattr", "-i", self.tree)


class MovedTest(Changing):
    """A crash at the exchange, and then something else stands where the directory was: the old tree may be the only
    copy, whatever is asked for."""

    STEPS = ("convert.exchange", "convert.exchanged", "convert.put-away", "convert.recorded")

    def cut_short_and_replaced(self, fault, command):
        done = husk.run(*command, fault=f"{fault}:crash")
        self.assertTrue(done.crashed, done)
        os.rename(self.tree, f"{self.tree}.away")
        os.mkdir(self.tree)
        self.write("other", b"from a backup")

    def put_back(self):
        self.assertEqual(self.read("other"), b"from a backup")
        os.rename(self.tree, f"{self.tree}.other")
        os.rename(f"{self.tree}.away", self.tree)

    def test_neither_going_back_nor_going_on_touches_anything(self):
        for fault in self.STEPS[1:]:
            for back in (False, True):
                with self.subTest(fault=fault, back=back):
                    self.setUp()
                    before = manifest.take(self.tree)
                    again = ("protect", "--abort", "--vault", "v", "--at", self.disk.path) if back else self.command()
                    self.cut_short_and_replaced(fault, self.command())
                    self.assertIn("move the other back", husk.run(*again).expect_error_line(husk.REFUSED).err)
                    self.put_back()
                    self.finish_and_compare(before)
                    self.assertTrue(sys_calls.is_encrypted(self.tree))

    def test_nor_does_unprotect(self):
        for fault in self.STEPS:
            with self.subTest(fault=fault):
                self.setUp()
                self.protect().expect(husk.DONE)
                before = manifest.take(self.tree)
                unprotect = ("unprotect", "v", "--at", self.disk.path)
                self.cut_short_and_replaced(fault, unprotect)
                done = husk.run(*unprotect)
                self.put_back()
                if fault == "convert.exchange":  # a plain directory in place of an encrypted one
                    self.assertIn("move the other back", done.expect_error_line(husk.REFUSED).err)
                husk.ok(*unprotect)
                manifest.same(before, manifest.take(self.tree))
                self.assertFalse(sys_calls.is_encrypted(self.tree))

    def test_without_a_journal_an_old_tree_is_left_alone(self):
        for fault in self.STEPS[1:]:
            with self.subTest(fault=fault):
                self.setUp()
                before = manifest.take(self.tree)
                self.assertTrue(self.protect(fault=f"{fault}:crash").crashed)
                os.unlink(os.path.join(self.disk.path, ".husk/convert/v/journal.json"))
                abort = husk.run("protect", "--abort", "--vault", "v", "--at", self.disk.path)
                self.assertIn("it may be the only copy", abort.expect_error_line(husk.INCOMPLETE).err)
                manifest.same(before, manifest.take(self.tree))  # the vault is unlocked, and was not given up
                left = [place for place in ("convert/v/0", "plaintext/v/0")
                        if os.path.isdir(os.path.join(self.disk.path, ".husk", place))]
                self.assertEqual(len(left), 1)
                manifest.same(before, manifest.take(os.path.join(self.disk.path, ".husk", left[0])))

    def test_nothing_new_begins_over_a_tree_that_no_journal_tells_of(self):
        for place in ("convert/v/0", "plaintext/v/0"):
            with self.subTest(place):
                self.setUp()
                self.protect().expect(husk.DONE)
                old = os.path.join(self.disk.path, ".husk", place)
                other = os.path.join(self.disk.path, "other")
                for directory in (old, other):
                    os.makedirs(directory)
                    with open(os.path.join(directory, "file"), "wb") as file:
                        file.write(SECRET)
                before = manifest.take(old)
                command = ("protect", other, *self.command()[2:])
                self.assertIn("it may be the only copy", husk.run(*command).expect_error_line(husk.INCOMPLETE).err)
                self.assertFalse(sys_calls.is_encrypted(other))
                manifest.same(before, manifest.take(old))
                os.rename(old, os.path.join(self.disk.path, "found"))
                husk.ok(*command)
                self.assertTrue(sys_calls.is_encrypted(other))

    def test_one_that_is_moved_while_the_old_tree_is_overwritten_is_not_called_encrypted(self):
        with self.paused_protect("convert.scrubbed") as paused:
            os.rename(self.tree, f"{self.tree}.away")
        paused.done.expect_error_line(husk.INCOMPLETE)
        self.assertIn("has been moved away or deleted since", paused.done.out)
        self.assertNotIn("is encrypted under", paused.done.out)

    def test_one_that_is_moved_between_exchange_and_record_is_not_called_encrypted(self):
        with self.paused_protect("convert.put-away") as paused:
            os.rename(self.tree, f"{self.tree}.away")
            os.mkdir(self.tree)
        self.assertIn("move the other back", paused.done.expect_error_line(husk.REFUSED).err)
        self.assertNotIn("is encrypted under", paused.done.out)


class InheritedFlagsTest(Changing):
    def test_flags_that_directories_hand_down_are_not_on_files_that_lack_them(self):
        """The place where twins are made hands some down, and so would directories whose twins a crash left whole."""
        for directory in (self.disk.path, self.path("below")):
            disk.run("chattr", "+SAd", directory)
        for fault in ("tree.copy.leave:crash:1", "tree.copy.leave:crash:2", "convert.compared:crash:1"):
            self.assertTrue(self.protect(fault=fault).crashed, fault)
            self.write("below/two", b"to be copied anew, into what is there")
            before = manifest.take(self.tree)
        self.finish_and_compare(before)


class TickTest(unittest.TestCase):
    """Inodes of 128 bytes have times in whole seconds: two changes in one second look like one."""

    def on_one_processor(self):
        """One thread copies then: first the files of a directory, then what is below."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        self.addCleanup(os.sched_setaffinity, 0, before)

    def written_long_ago(self):
        d = self.enterContext(disk.ext4(size_mib=96, mkfs=["-I", "128"]))
        tree = os.path.join(d.path, "data")
        path = os.path.join(tree, "below", "file")
        os.makedirs(os.path.dirname(path))
        for place in (path, os.path.join(tree, "first")):
            with open(place, "wb") as file:
                file.write(b"first   " * 1024)
        disk.sync(d.path)
        time.sleep(1.2)
        return d, tree, path

    def test_a_change_in_the_second_of_the_copy_is_not_lost(self):
        if not husk.list_faults():
            self.skipTest("no husk with fault points (meson option faults)")
        self.on_one_processor()
        d, tree, path = self.written_long_ago()
        closed = self.enterContext(sys_calls.watch_closing(path))
        with husk.paused("tree.copy.create", "protect", tree, "--vault", "v", "--keyfile", husk.keyfile(d.directory),
                         "--at", d.path, "--skip-free-space") as paused:
            time.sleep(1.01 - time.time() % 1)  # a second of its own for what follows
            with open(path, "r+b") as file:
                file.write(b"second  " * 1024)
            writer = threading.Thread(target=self.write_when_read_twice, args=(closed, path))
            writer.start()
        writer.join()
        with open(path, "rb") as file:
            self.assertEqual(file.read(), b"third   " * 1024, paused.done)

    def test_nor_is_a_store_through_a_mapping(self):
        """Into a page that was written in the second of the copy and waits to go to the disk: it changes no time."""
        if not husk.list_faults():
            self.skipTest("no husk with fault points (meson option faults)")
        self.on_one_processor()
        d, tree, path = self.written_long_ago()
        with husk.paused("tree.copy.create", "protect", tree, "--vault", "v", "--keyfile", husk.keyfile(d.directory),
                         "--at", d.path, "--skip-free-space") as paused:
            with open(path, "r+b") as file:
                mapping = mmap.mmap(file.fileno(), 0)
            closed = self.enterContext(sys_calls.watch_closing(path))
            time.sleep(1.01 - time.time() % 1)
            mapping[:8] = b"second  "
            writer = threading.Thread(target=self.store_when_read_twice, args=(closed, mapping))
            writer.start()
        writer.join()
        with open(path, "rb") as file:
            self.assertEqual(file.read(8), b"third   ", paused.done)

    @staticmethod
    def store_when_read_twice(closed, mapping):
        if closed():
            time.sleep(0.3)
            mapping[:8] = b"second  "
        if closed():
            mapping[:8] = b"third   "
        mapping.close()

    @staticmethod
    def write_when_read_twice(closed, path):
        """Copying reads it once, comparing once more."""
        if closed() and closed():
            with open(path, "r+b") as file:
                file.write(b"third   " * 1024)


class PlaintextTest(Changing):
    """What a vault says of plaintext that was on the disk."""

    def born(self):
        document = husk.run("status", "v", "--at", self.disk.path, json=True).document
        return document["result"]["vaults"][0]["born_encrypted"]

    def test_a_vault_whose_first_exchange_was_cut_short_says_that_there_was_plaintext(self):
        self.assertTrue(self.protect(fault="convert.exchanged:crash").crashed)
        self.assertFalse(self.born())

    def test_so_does_one_that_was_unprotected_or_began_to_be(self):
        for cut in (None, "convert.twin.made:crash", "convert.compared:crash"):
            with self.subTest(cut):
                self.setUp()
                empty = os.path.join(self.disk.path, "empty")
                os.mkdir(empty)
                husk.ok("protect", empty, "--vault", "v", "--keyfile", self.key, "--at", self.disk.path)
                with open(os.path.join(empty, "file"), "wb") as file:
                    file.write(SECRET)
                husk.run("unprotect", "v", "--at", self.disk.path, fault=cut)
                if cut:
                    husk.ok("protect", "--abort", "--vault", "v", "--at", self.disk.path)
                self.assertFalse(self.born())


if __name__ == "__main__":
    unittest.main()
