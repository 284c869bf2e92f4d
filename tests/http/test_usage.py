"""huskd's surface: words it does not know, help, JSON, completion, its manual page."""

import os
import re
import subprocess
import unittest

import authority
import husk

VERBS = ["init", "serve", "token create", "token list", "token revoke", "host list", "host show", "host hold",
         "host release", "host lock", "host power-off", "host cancel", "host erase",
         "host accept-restore", "host move", "host rename", "group set",
         "group list", "group erase", "group remove", "request list", "request approve", "request deny", "ledger show",
         "ledger verify", "ledger export", "keycopy list", "keycopy destroyed", "descriptor prepare",
         "descriptor sign", "descriptor install", "backup", "restore", "clock accept", "metrics", "help"]


def table():
    return authority.run("help", json=True).expect(0).document["result"]["verbs"]


def page():
    """The manual page as text, without overstrikes and with lines as long as they get."""
    text = subprocess.run(["mandoc", "-T", "ascii", "-O", "width=1000", os.path.join(husk.ROOT, "docs/man/huskd.8")],
                          check=True, stdout=subprocess.PIPE).stdout.decode()
    return re.sub(".\b", "", text)


class WordsTest(unittest.TestCase):
    def test_what_is_not_known_is_named(self):
        for words, said in [
                ([], "no verb"), (["frob"], "frob"),
                (["host"], "list, show, hold, release, lock, power-off, cancel, erase, accept-restore, move, rename"),
                (["host", "frob"], "frob"), (["host", "show"], "HOST"), (["host", "list", "a"], "a"),
                (["init"], "--root-out"), (["init", "--root-out", "/x"], "--address"), (["serve", "--port", "1"], "--port"),
                (["descriptor", "sign", "f"], "--root"), (["host", "list", "--dir"], "--dir"),
                (["group", "set", "g", "--approvals", "two"], "--approvals"),
                (["group", "set", "g", "--held", "maybe"], "--held"), (["backup"], "--out")]:
            done = authority.run(*words).expect_error_line_of("huskd", husk.USAGE)
            self.assertEqual(done.out, "", done)
            self.assertIn(said, done.err, words)
            told = authority.run(*words, json=True).expect(husk.USAGE).document
            self.assertEqual(list(told), ["schema", "changed", "result", "findings", "error"])
            self.assertRegex(told["schema"], r"\Ahuskd\.[a-z]+/1\Z")
            self.assertEqual(told["error"]["code"], "usage")

    def test_every_verb_tells_about_itself(self):
        self.assertEqual([verb["verb"] for verb in table()], VERBS)
        for verb in VERBS:
            text = authority.run("help", *verb.split()).expect(0).out
            self.assertTrue(text.startswith(f"usage: huskd {verb}"), text)
            self.assertEqual(authority.run(*verb.split(), "--help").expect(0).out, text)
            self.assertTrue(all(len(line) <= 80 for line in text.splitlines()), text)
        self.assertRegex(authority.run("--version").expect(0).out, r"^huskd \d+\.\d+\.\d+\n$")

    def test_the_completion_knows_verbs_and_options(self):
        script = authority.run("--print-completion").expect(0).out
        probe = script + '\nCOMP_WORDS=(huskd %s); COMP_CWORD=%d; _huskd; printf "%%s\\n" "${COMPREPLY[@]}"\n'
        for words, wanted in [("to", "token"), ("host er", "erase"), ("group set g --req", "--request-ttl"),
                              ("serve --trus", "--trusted-proxy"), ("ledger v", "verify")]:
            done = subprocess.run(["bash", "-u", "-c", probe % (words, len(words.split()))], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True)
            self.assertEqual((done.stdout.split(), done.stderr), ([wanted], ""), words)

    def test_a_root_key_signs_a_descriptor_offline(self):
        directory = authority.make_directory()
        try:
            server = authority.Server(directory).init()
            with open(f"{directory}/text", "w") as file:
                file.write("no descriptor")
            words = ["descriptor", "sign", f"{directory}/text", "--root", server.root, "--out", f"{directory}/signed"]
            authority.run(*words).expect(husk.FAILED)
            self.assertFalse(os.path.exists(f"{directory}/signed"))
            text = self.descriptor(server)
            with open(f"{directory}/text", "w") as file:
                file.write(text.replace('"sequence":1', '"sequence":2'))
            told = authority.run(*words, json=True).expect(0).document
            self.assertEqual(told["result"]["sequence"], 2)
            with open(f"{directory}/signed", "rb") as file:
                self.assertEqual(file.read()[64:].decode(), text.replace('"sequence":1', '"sequence":2'))
            authority.run(*words).expect(husk.REFUSED)  # it is there already
        finally:
            subprocess.run(["rm", "-r", directory], check=True)

    def descriptor(self, server):
        server.start()
        with server.connect() as sock:
            sock.sendall(b"POST /v1/message HTTP/1.0\r\nContent-Length: 0\r\n\r\n")
            data = b""
            while got := sock.recv(65536):
                data += got
        self.assertEqual(server.end(), 0)
        return data.partition(b"\r\n\r\n")[2][8 + 64:].decode()


class ManualTest(unittest.TestCase):
    def test_the_synopsis_of_the_page_is_that_of_the_table(self):
        synopsis = page().split("\nSYNOPSIS\n")[1].split("\nDESCRIPTION\n")[0]
        told = [" ".join(line.split()) for line in synopsis.splitlines() if line.strip()]
        self.assertEqual(told, [verb["synopsis"] for verb in table()])

    def test_every_option_is_described_on_the_page(self):
        text = page().split("\nDESCRIPTION\n")[1]
        for verb in table():
            section = re.search(rf"(?m)^   {verb['verb']}$(.*?)(?=^   \S|\Z)", text, re.S | re.M)
            self.assertTrue(section, verb["verb"])
            for option in verb["options"]:
                where = text if option["name"] in ("dir", "json", "help") else section[1]
                self.assertIn("--" + option["name"], where, verb["verb"])

    def test_every_exit_status_is_described(self):
        text = page().split("\nEXIT STATUS\n")[1].split("\nEXAMPLES\n")[0]
        self.assertEqual(re.findall(r"(?m)^     (\d) ", text), list("012345"))

    def test_the_examples_are_words_huskd_knows(self):
        text = page().split("\nEXAMPLES\n")[1].split("\nSEE ALSO\n")[0].replace("\\\n", " ")
        examples = re.findall(r"# huskd (.*)", text)
        self.assertGreater(len(examples), 4)
        known = {verb["verb"]: verb for verb in table()}
        for example in examples:
            words = example.split()
            verb = next(name for name in (" ".join(words[:2]), words[0]) if name in known)
            options = {"--" + option["name"] for option in known[verb]["options"]}
            self.assertLessEqual({word for word in words if word.startswith("--")}, options, example)


if __name__ == "__main__":
    unittest.main()
