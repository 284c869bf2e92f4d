"""The program's surface: words it does not know, help, JSON, output that cannot be written, who may run it."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

import disk
import document
import husk

ROOT = husk.ROOT
VERBS = ["check", "protect", "unprotect", "unlock", "lock", "status", "keyslot list", "keyslot add", "keyslot remove",
         "keyslot export", "enroll", "ticket", "agent", "boot", "erase", "help"]


def usage(test, *words):
    """Refused with one line and a hint, nothing on standard output; the line."""
    done = husk.run(*words).expect(husk.USAGE)
    test.assertEqual(done.out, "", done)
    lines = done.err.splitlines()
    test.assertEqual(len(lines), 2, done)
    test.assertTrue(lines[0].startswith("husk: ") and lines[1].startswith("  what to do: "), done)
    return lines[0]


class WordsTest(unittest.TestCase):
    def test_what_is_not_known_is_named(self):
        for words, said in [
                ([], "no verb"), (["frobnicate"], "frobnicate"), (["--frobnicate"], "--frobnicate"),
                (["keyslot"], "list, add, remove, export"), (["keyslot", "frob"], "frob"),
                (["status", "--frob"], "--frob"), (["status", "a", "b"], "b"), (["lock", "--json=1"], "--json"),
                (["check"], "PATH"), (["protect", "/x"], "--vault"), (["protect", "--vault", "v"], "PATH"),
                (["unprotect"], "NAME"), (["erase"], "NAME"), (["erase", "v", "--all"], "NAME"),
                (["keyslot", "export", "v", "id"], "FILE"), (["status", "--at"], "--at"),
                (["check", "/x", "--vault"], "--vault"), (["status", "--at", "/", "--at", "/"], "twice"),
                (["help", "frob"], "frob"), (["--version", "x"], "--version"), (["status\n"], "status\\x0a")]:
            self.assertIn(said, usage(self, *words), words)

    def test_a_vault_name_is_no_path(self):
        for name in ["a/b", "../v", ".", "..", "-", "v.new", "ä", "x" * 65, "a b", "v\n"]:
            for verb in [["status"], ["unlock"], ["lock"], ["unprotect"], ["keyslot", "list"], ["keyslot", "add"],
                         ["check", "/tmp", "--vault"], ["protect", "/tmp", "--vault"]]:
                done = husk.run(*verb, "--", name) if verb[-1] != "--vault" else husk.run(*verb, name)
                self.assertEqual(done.status, husk.USAGE, done)

    def test_keys_are_checked_before_anything_is_looked_at(self):
        done = husk.run("unlock", "v", "--keyfile", "-").expect(husk.USAGE)
        self.assertIn("--keyfile -", done.err)
        done = husk.run("unlock", "v", "--passphrase-file", "-", "--recovery-key-file", "-").expect(husk.USAGE)
        self.assertIn("only one", done.err)
        husk.run("unlock", "v", "--passphrase-file", "-", stdin=b"").expect(husk.USAGE)
        husk.run("unlock", "v", "--passphrase-file", "-", stdin=b"\n").expect(husk.USAGE)
        done = husk.run("unlock", "v", "--keyfile", "/nonexistent/key").expect(husk.FAILED)
        self.assertIn("/nonexistent/key", done.err)
        self.assertIn("put the keyfile back", done.err)
        for option in "--passphrase-file", "--recovery-key-file":
            done = husk.run("unlock", "v", option, "/nonexistent/text").expect(husk.FAILED)
            self.assertIn("name the file it is in", done.err)
        with tempfile.NamedTemporaryFile() as short:
            short.write(b"x" * 31)
            short.flush()
            self.assertIn(short.name, husk.run("unlock", "v", "--keyfile", short.name).expect(husk.USAGE).err)
        done = husk.run("unlock", "v", "--recovery-key-file", "-", stdin=b"husk-00000\n").expect(husk.USAGE)
        self.assertNotIn("00000", done.err)

    def test_the_root_of_the_host_has_to_be_there(self):
        for words in (("status", "--at", "/nonexistent"), ("check", "/nonexistent")):
            done = husk.run(*words).expect_error_line(husk.FAILED)
            self.assertIn("/nonexistent", done.err)
            self.assertIn("what to do: ", done.err)
        with tempfile.NamedTemporaryFile() as file:
            husk.run("status", "--at", file.name).expect(husk.USAGE)

    def test_errors_are_told_in_json_too(self):
        for words, verb in [(["frob"], "usage"), ([], "usage"), (["keyslot"], "usage"), (["status", "--frob"], "status"),
                            (["keyslot", "add"], "keyslot"), (["unlock", "a/b"], "unlock"),
                            (["status", "--at", "/nonexistent"], "status"), (["erase", "v"], "erase")]:
            done = husk.run(*words, json=True)
            self.assertNotEqual(done.status, 0)
            self.assertEqual(document.check(done, verb)["changed"], False)
        # Behind "--" it is an operand.
        self.assertEqual(husk.run("status", "--", "--json").expect(husk.USAGE).out, "")

    def test_erase_says_what_to_type_and_does_nothing(self):
        done = husk.run("erase", "v").expect(husk.USAGE)
        self.assertIn("husk erase v --confirm v", done.err)
        self.assertIn("nothing is erased", done.err)
        done = husk.run("erase", "v", "--confirm", "w").expect(husk.USAGE)
        self.assertIn("nothing is erased", done.err)
        done = husk.run("erase", "--all", "--confirm", "v").expect(husk.USAGE)
        self.assertIn(f"--all --confirm {os.uname().nodename}", done.err)
        with tempfile.TemporaryDirectory() as host:
            os.mkdir(f"{host}/etc")
            with open(f"{host}/etc/hostname", "w") as file:
                file.write("given-back\n")
            done = husk.run("erase", "--all", "--at", host).expect(husk.USAGE)
            self.assertIn(f"husk erase --at {host} --all --confirm given-back", done.err)
            os.unlink(f"{host}/etc/hostname")  # as behind a root that is locked: not the name of this machine
            done = husk.run("erase", "--all", "--at", host).expect(husk.USAGE)
            self.assertIn(f"husk erase --at {host} --all --confirm {host}", done.err)
            done = husk.run("erase", "--all", "--at", host, "--confirm", host).expect(husk.FAILED)
            self.assertIn("nothing is erased: there is no vault", done.err)  # nobody mounted it


class HelpTest(unittest.TestCase):
    def test_every_verb_tells_about_itself_in_three_ways(self):
        for verb in VERBS:
            text = husk.ok("help", *verb.split()).out
            self.assertTrue(text.startswith(f"usage: husk {verb}"), text)
            self.assertEqual(husk.ok(*verb.split(), "--help").out, text)
            self.assertEqual(husk.ok(*verb.split(), "-h", "--nonsense").out, text)
        overview = husk.ok("--help").out
        self.assertEqual(husk.ok("help").out, overview)
        self.assertEqual(re.findall(r"^  (\w+(?: \w+)?)  ", overview, re.M), VERBS)
        self.assertEqual(husk.ok("help", "keyslot").out.count("usage: "), 4)
        for option in "--help", "-h":
            self.assertEqual(husk.ok("keyslot", option).out, husk.ok("help", "keyslot").out)
        self.assertIn("husk help keyslot", husk.run("keyslot", "frob").expect(husk.USAGE).err)
        self.assertRegex(husk.ok("--version").out, r"^husk \d+\.\d+\.\d+\n$")

    def test_the_table_can_be_read_as_json(self):
        done, found = document.run("help", expect=husk.DONE)
        self.assertEqual([verb["verb"] for verb in found["result"]["verbs"]], VERBS)
        for verb in found["result"]["verbs"]:
            names = [option["name"] for option in verb["options"]]
            self.assertEqual(names[-3:], ["at", "json", "help"])
            self.assertEqual(len(names), len(set(names)))
        _, one = document.run("status", "--help", expect=husk.DONE)
        self.assertEqual([verb["verb"] for verb in one["result"]["verbs"]], ["status"])

    def test_fault_points_are_listed_only_by_a_test_build(self):
        names = husk.ok("--list-faults").out.split()
        self.assertEqual(names, sorted(set(names)))


def page(name):
    """A manual page as text, without overstrikes and with lines as long as they get."""
    text = subprocess.run(["mandoc", "-T", "ascii", "-O", "width=1000", os.path.join(ROOT, "docs", "man", name)],
                          check=True, stdout=subprocess.PIPE).stdout.decode()
    return re.sub(".\b", "", text)


class ManualTest(unittest.TestCase):
    def test_the_synopsis_of_the_page_is_that_of_the_table(self):
        text = page("husk.8")
        synopsis = text.split("\nSYNOPSIS\n")[1].split("\nDESCRIPTION\n")[0]
        told = [" ".join(line.split()) for line in synopsis.splitlines() if line.strip()]
        table = husk.ok("help", json=True).document["result"]["verbs"]
        self.assertEqual(told, [verb["synopsis"] for verb in table])

    def test_every_option_is_described_on_the_page(self):
        text = page("husk.8").split("\nDESCRIPTION\n")[1]
        for verb in husk.ok("help", json=True).document["result"]["verbs"]:
            self.assertRegex(text, rf"(?m)^   {verb['verb']}$")
            for option in verb["options"]:
                self.assertIn("--" + option["name"], text)

    def test_every_exit_status_is_described(self):
        text = page("husk.8").split("\nEXIT STATUS\n")[1].split("\nEXAMPLES\n")[0]
        self.assertEqual(re.findall(r"(?m)^     (\d) ", text), list("012345"))

    def test_the_examples_are_words_husk_knows(self):
        """Each is run with --help added, which still refuses unknown verbs; options are looked up in the table."""
        text = page("husk.8").split("\nEXAMPLES\n")[1].split("\nSEE ALSO\n")[0].replace("\\\n", " ")
        examples = re.findall(r"# husk (.*)", text)
        self.assertGreater(len(examples), 6)
        table = {verb["verb"]: verb for verb in husk.ok("help", json=True).document["result"]["verbs"]}
        for example in examples:
            words = example.split()
            verb = " ".join(words[:2]) if words[0] == "keyslot" else words[0]
            options = {"--" + option["name"] for option in table[verb]["options"]}
            self.assertLessEqual({word for word in words if word.startswith("--")}, options, example)

    def test_the_keyslot_on_the_page_is_that_of_the_header(self):
        with open(os.path.join(ROOT, "src", "keyslot", "keyslot.h")) as file:
            header = re.findall(r"(?m)^ \*\s+(\d+)\s+(\d+)  (\S.*)", file.read())
        told = re.findall(r"(?m)^\s+(\d+)\s+(\d+)  (\S.*)", page("husk-vault.5"))
        self.assertGreater(len(header), 10)
        self.assertEqual([row[:2] for row in told], [row[:2] for row in header])
        at = 0
        for start, size, what in told:
            self.assertEqual(int(start), at, what)
            at += int(size)
        self.assertEqual(at, 4096)


COMPLETE = r"""
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_husk
printf '%s\n' "${COMPREPLY[@]}"
"""


class CompletionTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.script = tempfile.NamedTemporaryFile(mode="w", suffix=".bash")
        cls.script.write(husk.ok("--print-completion").out)
        cls.script.flush()

    @classmethod
    def tearDownClass(cls):
        cls.script.close()

    def complete(self, *words):
        done = subprocess.run(["bash", "-c", COMPLETE, "bash", self.script.name, "husk", *words],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual((done.returncode, done.stderr), (0, b""), words)
        return done.stdout.decode().split()

    def test_verbs_and_their_options(self):
        self.assertEqual(self.complete("pro"), ["protect"])
        self.assertIn("keyslot", self.complete(""))
        self.assertEqual(self.complete("keyslot", ""), ["list", "add", "remove", "export"])
        self.assertEqual(self.complete("keyslot", "add", "v", "--with-k"), ["--with-keyfile"])
        table = husk.ok("help", json=True).document["result"]["verbs"]
        for verb in table:
            told = self.complete(*verb["verb"].split(), "--")
            self.assertEqual(told, ["--" + option["name"] for option in verb["options"]])

    def test_names_of_vaults_and_files(self):
        with tempfile.TemporaryDirectory() as host:
            for name in ["data", "mail"]:
                os.makedirs(f"{host}/.husk/vaults/{name}")
                open(f"{host}/.husk/vaults/{name}/vault.json", "w").close()
            os.makedirs(f"{host}/.husk/vaults/half.new")
            self.assertEqual(self.complete("lock", "--at", host, ""), ["data", "mail"])
            self.assertEqual(self.complete("protect", "/x", "--at", host, "--vault", "m"), ["mail"])
            self.assertEqual(self.complete("lock", "--at", f"{host}/.husk/va"), [f"{host}/.husk/vaults"])
            self.assertEqual(self.complete("unlock", "--keyfile", f"{host}/.husk/vaults/data/v"),
                             [f"{host}/.husk/vaults/data/vault.json"])

    def test_names_of_vaults_on_a_filesystem_mounted_below(self):
        with disk.ext4(size_mib=16) as d:
            os.makedirs(f"{d.path}/.husk/vaults/far")
            open(f"{d.path}/.husk/vaults/far/vault.json", "w").close()
            for at in (os.path.dirname(d.path), d.path, d.path + "/"):
                self.assertEqual(self.complete("lock", "--at", at, ""), ["far"], at)
            self.assertEqual(self.complete("lock", "--at", d.path[:-1], ""), [])


class OutputTest(unittest.TestCase):
    def run_into(self, stdout, *words):
        return subprocess.run([husk.PROGRAM, *words], stdin=subprocess.DEVNULL, stdout=stdout,
                              stderr=subprocess.PIPE, env=dict(os.environ))

    def test_a_full_disk_behind_standard_output_is_an_error(self):
        for words in [["help"], ["--version"], ["status", "--json", "--at", "/proc"], ["frob", "--json"]]:
            with open("/dev/full", "wb") as full:
                done = self.run_into(full, *words)
            self.assertEqual(done.returncode, 2 if words[0] == "frob" else 1, words)
            self.assertIn(b"cannot write to standard output: No space left", done.stderr)

    def test_a_reader_that_left_ends_it_quietly(self):
        for words in [["help"], ["help", "--json"]]:
            reading, writing = os.pipe()
            os.close(reading)
            done = self.run_into(writing, *words)
            os.close(writing)
            self.assertEqual((done.returncode, done.stderr), (-signal.SIGPIPE, b""))

    def test_descriptors_that_are_closed_are_not_used_for_files(self):
        done = subprocess.run(["sh", "-c", f"'{husk.PROGRAM}' help >&- 2>&-"])
        self.assertEqual(done.returncode, 1)
        done = subprocess.run(["sh", "-c", f"'{husk.PROGRAM}' unlock v --passphrase-file - <&-"],
                              stderr=subprocess.PIPE)
        self.assertNotEqual(done.returncode, 0)


class UserTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory)
        os.chmod(self.directory, 0o755)
        self.program = shutil.copy(husk.PROGRAM, self.directory)
        os.chmod(self.program, 0o755)

    def as_nobody(self, *words):
        return subprocess.run([self.program, *words], user=65534, group=65534, extra_groups=[],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/")

    def test_only_root_gets_further_than_help(self):
        for verb, operands in [("status", []), ("check", ["/tmp"]), ("unlock", ["v"]), ("erase", ["v"]),
                               ("keyslot list", ["v"])]:
            done = self.as_nobody(*verb.split(), *operands)
            self.assertEqual(done.returncode, husk.REFUSED)
            self.assertEqual(done.stderr.decode(),
                             f"husk: husk {verb} has to be run by root\n  what to do: run it with sudo\n")
            self.assertEqual(done.stdout, b"")
        found = json.loads(self.as_nobody("status", "--json").stdout)
        self.assertEqual(found["error"]["code"], "denied")
        for words in [["--help"], ["--version"], ["help", "protect"], ["--list-faults"], ["--print-completion"]]:
            self.assertEqual(self.as_nobody(*words).returncode, husk.DONE)


if __name__ == "__main__":
    unittest.main()
