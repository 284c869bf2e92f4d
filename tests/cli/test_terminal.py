"""husk on a terminal: what it asks, what it draws, and that both stay away where there is none."""

import os
import re
import signal
import unittest

import disk
import husk
from job import Job, needs_faults
from terminal import on_terminal

NEW, AGAIN = "new passphrase: ", "the same again: "
RECOVERY_KEY = r"husk(?:-[0-9A-Z]{5}){13}"


class AskTest(Job):
    def protect_on_terminal(self, *words, **options):
        return on_terminal(*self.at("protect", self.tree, "--vault", "v", "--skip-free-space", *words), **options)

    def test_a_new_passphrase_is_asked_for_twice_without_echo(self):
        with self.protect_on_terminal("--passphrase-file", "-") as terminal:
            terminal.expect(NEW)
            self.assertFalse(terminal.echoes())
            terminal.line("short").expect("at least 8 bytes").expect(NEW)
            terminal.line("correct horse").expect(AGAIN).line("correct house").expect("not the same").expect(NEW)
            terminal.line("correct horse").expect(AGAIN).line("correct horse")
            self.assertEqual(terminal.end(), husk.DONE, terminal)
            self.assertTrue(terminal.echoes())
            self.assertNotIn("correct horse", terminal.seen)
        self.lock()
        self.json("unlock", "v", "--passphrase-file", "-", stdin=b"correct horse")

    def test_it_gives_up_and_nothing_has_changed(self):
        with self.nothing_changes():
            with self.protect_on_terminal("--passphrase-file", "-") as terminal:
                for _ in range(3):
                    terminal.expect(NEW).line("short")
                self.assertEqual(terminal.end(), husk.USAGE, terminal)
            for typed, status in (("\x03", husk.FAILED), ("\x04", husk.FAILED)):
                with self.protect_on_terminal("--passphrase-file", "-") as terminal:
                    terminal.expect(NEW).send(typed)
                    self.assertEqual(terminal.end(), status, terminal)
                    self.assertTrue(terminal.echoes())

    def test_a_recovery_key_is_shown_once_and_opens(self):
        with self.protect_on_terminal("--recovery-out", "-") as terminal:
            self.assertEqual(terminal.end(), husk.DONE, terminal)
            (key,) = re.findall(RECOVERY_KEY, terminal.seen)
        self.lock()
        with on_terminal(*self.at("unlock", "v")) as terminal:
            terminal.expect("recovery key of vault v: ").line("husk-nonsense").expect("does not open vault v")
            terminal.expect("recovery key of vault v: ").line(key.lower())
            self.assertEqual(terminal.end(), husk.DONE, terminal)
            self.assertNotIn(key.lower(), terminal.seen)
        # With a further directory it makes none, and says how one is made.
        second = self.make_tree("second")
        with on_terminal(*self.at("protect", second, "--vault", "v", "--recovery-out", "-")) as terminal:
            self.assertEqual(terminal.end(), husk.REFUSED, terminal)
            self.assertEqual(re.findall(RECOVERY_KEY, terminal.seen), [])

    def test_a_recovery_key_is_not_shown_into_a_pipe(self):
        with self.nothing_changes(), self.protect_on_terminal("--recovery-out", "-", out=False) as terminal:
            self.assertEqual(terminal.end(), husk.USAGE)
            self.assertEqual(re.findall(RECOVERY_KEY, terminal.seen + terminal.out), [])

    def test_unlock_asks_for_what_there_is_three_times(self):
        self.protect(key=("--passphrase-file", "-", "--recovery-out", self.beside("recovery")), stdin=b"correct horse")
        prompt = "passphrase or recovery key of vault v: "
        self.lock()
        with on_terminal(*self.at("unlock")) as terminal:
            for _ in range(3):
                terminal.expect(prompt).line("wrong horse")
            self.assertEqual(terminal.end(), husk.REFUSED, terminal)
        self.assertEqual(self.state(), "locked")
        with open(self.beside("recovery")) as file:
            recovery = file.read().strip()
        with on_terminal(*self.at("unlock")) as terminal:
            terminal.expect(prompt).line(recovery[:-1]).expect("group 13 has 4 letters").expect(prompt).line(recovery)
            self.assertEqual(terminal.end(), husk.DONE, terminal)
        self.lock()
        for typed in ("correct horse", recovery):
            with on_terminal(*self.at("unlock", "v")) as terminal:
                terminal.expect(prompt)
                self.assertFalse(terminal.echoes())
                terminal.line(typed)
                self.assertEqual(terminal.end(), husk.DONE, terminal)
            self.lock()

    def test_a_passphrase_named_as_standard_input_is_asked_for(self):
        self.protect(key=("--passphrase-file", "-"), stdin=b"correct horse")
        self.lock()
        with on_terminal(*self.at("unlock", "v", "--passphrase-file", "-")) as terminal:
            terminal.expect("passphrase: ").line("correct horse")
            self.assertEqual(terminal.end(), husk.DONE, terminal)

    def test_adding_a_passphrase_asks_for_the_new_and_the_old_one(self):
        self.protect(key=("--passphrase-file", "-"), stdin=b"correct horse")
        with on_terminal(*self.at("keyslot", "add", "v", "--passphrase-file", "-")) as terminal:
            terminal.expect(NEW).line("battery staple").expect(AGAIN).line("battery staple")
            terminal.expect("passphrase of vault v: ").line("correct horse")
            self.assertEqual(terminal.end(), husk.DONE, terminal)
        self.lock()
        self.json("unlock", "v", "--passphrase-file", "-", stdin=b"battery staple")

    def test_where_nobody_can_answer_nothing_is_asked(self):
        self.protect()
        self.lock()
        for words in (("unlock", "v"), ("protect", self.make_tree("more"), "--vault", "w")):
            done = self.call(*words)
            self.assertIn(done.status, (husk.REFUSED, husk.USAGE))
            self.assertIn("--keyfile", done.err)

    def test_erase_asks_nothing(self):
        self.protect()
        with on_terminal(*self.at("erase", "v")) as terminal:
            self.assertEqual(terminal.end(), husk.USAGE, terminal)
        self.assertEqual(self.state(), "unlocked")


class FeatureTest(Job):
    variant = "plain"

    def has_feature(self):
        return "encrypt" in disk.run("dumpe2fs", "-h", self.d.device)

    def test_setting_the_feature_is_asked_for_and_no_is_the_default(self):
        words = self.at("protect", self.tree, "--vault", "v", "--keyfile", self.keyfile, "--skip-free-space")
        for answer in ("n\n", "\n", "yess\n", "\x04", "\x03"):
            with self.nothing_changes(), on_terminal(*words) as terminal:
                terminal.expect("GRUB").expect("[y/N] ").send(answer)
                self.assertIn(terminal.end(), (husk.REFUSED, husk.FAILED), terminal)
            self.assertFalse(self.has_feature())
        with on_terminal(*words) as terminal:
            terminal.expect("[y/N] ").line("y")
            self.assertEqual(terminal.end(), husk.DONE, terminal)
        self.assertTrue(self.has_feature())
        self.assertEncrypted(self.tree)


class BarTest(Job):
    size_mib = 192

    def setUp(self):
        super().setUp()
        for number in range(5):
            with open(os.path.join(self.tree, f"big{number}"), "wb") as file:
                file.write(os.urandom(8 << 20))

    def words(self):
        return self.at("protect", self.tree, "--vault", "v", "--keyfile", self.keyfile, "--skip-free-space")

    def test_a_bar_is_drawn_on_a_terminal_and_never_wider_than_it(self):
        for columns, vault in ((80, "a"), (40, "b")):
            with self.subTest(columns):
                with on_terminal(*self.words()[:3], vault, *self.words()[4:], columns=columns) as terminal:
                    self.assertEqual(terminal.end(), husk.DONE, terminal)
                drawn = re.findall(r"\r\x1b\[K([^\r\n]+)", terminal.seen)
                self.assertTrue(any(re.search(r"\d+ %", line) for line in drawn), terminal)
                if columns == 80:
                    self.assertTrue(any(re.search(r"\[=*>? *\] \d+ %, .* of .*", line) for line in drawn), drawn)
                bars = [line for line in drawn if "%" in line]
                self.assertLess(max(map(len, bars)), columns, bars)
                # What stays on the terminal is whole lines, without any bar.
                self.assertNotRegex(terminal.text, r"\[=*>? *\]")
                self.assertRegex(terminal.text, r"(?m)^copying .*: \d+ files, [0-9.]+ MiB: .* s$")
                self.assertRegex(terminal.text, r"(?m) is encrypted ")
                self.call("unprotect", vault, expect=husk.DONE)

    def test_plain_lines_elsewhere(self):
        done = husk.run(*self.words()).expect(husk.DONE)
        self.assertNotRegex(done.err, r"[\r\x1b]")
        self.assertRegex(done.err, r"(?m)^copying .*: \d+ files, [0-9.]+ MiB$")
        self.assertNotIn("%", done.err)
        self.call("unprotect", "v", expect=husk.DONE)
        with on_terminal(*self.words(), term="dumb") as terminal:
            self.assertEqual(terminal.end(), husk.DONE, terminal)
            self.assertNotIn("\x1b", terminal.seen)

    @needs_faults
    def test_a_hang_up_of_the_terminal_stops_it_where_nothing_is_lost(self):
        with on_terminal(*self.words(), fault="convert.copied:pause") as terminal:
            os.waitid(os.P_PID, terminal.process.pid, os.WSTOPPED | os.WNOWAIT)
            os.kill(terminal.process.pid, signal.SIGHUP)
            os.kill(terminal.process.pid, signal.SIGCONT)
            self.assertEqual(terminal.end(), husk.FAILED, terminal)
            self.assertIn("run the same command again", terminal.seen)
        husk.run(*self.words()).expect(husk.DONE)
        self.assertEncrypted(self.tree)


if __name__ == "__main__":
    unittest.main()
