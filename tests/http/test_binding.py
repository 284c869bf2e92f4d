"""A keyslot on its way from the authority to the disk: a kill there leaves no scalar without a keyslot for long."""

import os
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cli"))

import document
import husk
from job import needs_faults
from test_host import HostTest

NOTED = ("vault.binding.write", "vault.binding.written", "unlock.bound", "vault.binding.forget")
ADDED = ("vault.keyslot.write", "vault.keyslot.written", "vault.manifest.write", "vault.manifest.written")
MADE = ("vault.create.keyslot", "vault.create.header", "vault.create.rename", "vault.create.renamed")


@needs_faults
class BindingTest(HostTest):
    def setUp(self):
        super().setUp()
        self.authority.unlock_by("auto")

    def scalars(self):
        return self.authority.admin("host show", "web-1")["hosts"][0]["keyslots"]

    def bindings(self):
        path = self.path(".husk/bindings")
        return os.listdir(path) if os.path.isdir(path) else []

    def on_disk(self):
        slots = self.json("keyslot list", "v")["result"]["keyslots"]
        return [slot["id"] for slot in slots if slot["kind"] == "authority"]

    def add(self, **options):
        return self.json("keyslot add", "v", "--authority", "--with-keyfile", self.keyfile, **options)

    def killed_adding(self, point):
        self.assertTrue(self.call("keyslot", "add", "v", "--authority", "--with-keyfile", self.keyfile,
                                  fault=f"{point}:crash").crashed, point)

    def test_the_next_adding_settles_it(self):
        self.enroll()
        self.protect()
        for point in NOTED + ADDED:
            with self.subTest(point):
                self.killed_adding(point)
                self.add()
                slots = self.on_disk()
                self.assertEqual((len(slots), self.scalars(), self.bindings()), (1, 1, []))
                self.lock()
                self.assertEqual(self.unlock("--authority")["result"]["vaults"][0]["opened_by"], "authority")
                self.json("keyslot remove", "v", slots[0])
                self.assertEqual(self.scalars(), 0)

    def test_the_next_making_settles_it(self):
        self.enroll()
        for number, point in enumerate(NOTED + MADE):
            with self.subTest(point):
                tree, vault = self.make_tree(f"srv/tree{number}"), f"v{number}"
                words = ("protect", tree, "--vault", vault, "--authority", "--skip-free-space")
                self.assertTrue(self.call(*words, fault=f"{point}:crash").crashed)
                self.call(*words, expect=husk.DONE)
                self.assertEqual((self.scalars(), self.bindings()), (number + 1, []))

    def test_the_agent_settles_it(self):
        self.enroll()
        self.protect()
        self.killed_adding("unlock.bound")
        self.assertEqual((self.scalars(), len(self.bindings())), (1, 1))
        agent = subprocess.Popen([husk.PROGRAM, "agent", "--at", self.d.path], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        limit = time.monotonic() + 20
        while self.bindings() and time.monotonic() < limit:
            time.sleep(0.05)
        agent.terminate()
        agent.wait(10)
        self.assertEqual((self.scalars(), self.bindings()), (0, []))

    def test_it_stays_noted_while_the_authority_is_away(self):
        self.enroll()
        self.protect()
        self.killed_adding("unlock.bound")
        self.authority.end()
        words = ("keyslot add", "v", "--with-keyfile", self.keyfile, "--recovery-out", self.beside("recovery"))
        self.assertIn("authority-not-told", document.kinds(self.json(*words)))
        self.assertEqual(len(self.bindings()), 1)
        self.authority.start()
        self.json("keyslot remove", "v", self.keyslots()["recovery"])
        self.assertEqual((self.scalars(), self.bindings()), (0, []))

    def test_a_keyslot_that_is_on_the_disk_keeps_its_scalar_whatever_is_damaged(self):
        self.enroll()
        self.protect()
        self.killed_adding("vault.keyslot.written")
        self.add_damage()
        self.call("protect", self.make_tree("srv/other"), "--vault", "w", "--keyfile", self.keyfile,
                  "--skip-free-space", expect=husk.DONE)
        self.assertEqual((self.scalars(), self.bindings()), (1, []))

    def test_a_note_by_another_spelling_of_the_name_destroys_nothing(self):
        self.enroll()
        self.protect()
        self.killed_adding("vault.keyslot.written")
        note = self.path(".husk/bindings", self.bindings()[0])
        os.rename(note, os.path.join(os.path.dirname(note), os.path.basename(note).upper()))
        self.json("keyslot add", "v", "--with-keyfile", self.keyfile, "--recovery-out", self.beside("recovery"))
        self.assertEqual((self.scalars(), len(self.on_disk())), (1, 1))

    def add_damage(self):
        with open(self.path(".husk/vaults/v/vault.json"), "r+b") as file:
            file.truncate(100)


if __name__ == "__main__":
    unittest.main()
