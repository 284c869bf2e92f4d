"""The commands that husk names work where it was told to work itself: they carry --at DIR."""

import json
import os
import re
import shlex
import unittest

import disk
import document
import husk
from job import Job, needs_faults

COMMAND = re.compile(r"husk (?:check|protect|unprotect|unlock|lock|status|keyslot \w+|enroll|ticket|erase)\b(?! would)([^,;:]*)")


class NamedCommandTest(Job):
    def names(self, verb, *words, expect):
        """Run it, in JSON and as text; every command in what it says has the place. Returns those of the document."""
        found = self.json(verb, *words, expect=expect)
        texts = [finding["remedy"] for finding in found["findings"]] + found["result"].get("truths", [])
        texts += [found["error"]["remedy"]] if found["error"] else []
        done = self.call(*verb.split(), *words)
        named = [match.group() for text in texts for match in COMMAND.finditer(text)]
        for each in named + [match.group() for match in COMMAND.finditer(done.out + done.err)]:
            self.assertIn(f" --at {self.d.path}", each)
        return named

    def test_remedies(self):
        self.protect()
        for verb, *words in (("protect", self.tree, "--vault", "v", "--keyfile", self.keyfile),
                             ("check", self.tree, "--vault", "w"), ("keyslot remove", "v", "0000"), ("status", "nothing"),
                             ("protect", self.make_tree("new"), "--vault", "v", "--recovery-out", self.beside("key"))):
            self.assertTrue(self.names(verb, *words, expect=None), verb)

    def test_status(self):
        self.protect()
        with open(os.path.join(self.tree, "file2")):
            self.json("lock", "v", expect=husk.INCOMPLETE)
            self.names("status", expect=husk.DONE)
        self.assertTrue(self.names("status", expect=husk.DONE))

    @needs_faults
    def test_of_a_conversion_that_was_cut_short(self):
        self.assertTrue(self.protect(expect=None, fault="convert.copied:crash").crashed)
        for verb, *words in ("status", "v"), ("lock", "v"), ("erase", "v", "--confirm", "v"):
            named = self.names(verb, *words, expect=None)
            self.assertTrue(named or verb == "status", verb)

    def test_a_place_with_any_name_can_be_pasted(self):
        self.protect()
        self.lock()
        place = self.beside("it's $HOME; here")
        os.mkdir(place)
        disk.run("mount", "--bind", self.d.path, place)
        try:
            _, found = document.run("unlock", "v", "--keyfile", husk.keyfile(self.d.directory, "b"), "--at", place,
                                    expect=husk.REFUSED)
        finally:
            disk.run("umount", place)
        self.assertEqual(shlex.split(found["error"]["remedy"].replace(" shows", "\0", 1).split("\0")[0]),
                         ["husk", "keyslot", "list", "--at", place, "v"])

    def test_without_a_place_none_is_named(self):
        done = husk.run("status", "a-vault-that-is-not-there", json=True)
        self.assertNotIn("status --at", json.dumps(done.document))


if __name__ == "__main__":
    unittest.main()
