"""What the tests of the verbs start from: a small real ext4, a tree on it, a keyfile elsewhere."""

import contextlib
import os
import unittest

import disk
import document
import husk
import manifest
import sys_calls

KEY_BYTES = 64


class Job(unittest.TestCase):
    size_mib = 64
    variant = "default"

    def setUp(self):
        self.d = self.enterContext(disk.ext4(self.variant, size_mib=self.size_mib))
        self.keyfile = husk.keyfile(self.d.directory)
        self.tree = self.make_tree("srv/data")

    def path(self, *parts):
        return os.path.join(self.d.path, *parts)

    def beside(self, name):
        """A path outside of the disk."""
        return os.path.join(self.d.directory, name)

    def make_tree(self, name, files=30):
        path = self.path(name)
        os.makedirs(os.path.join(path, "below"))
        for number in range(files):
            with open(os.path.join(path, "below" if number % 2 else "", f"file{number}"), "wb") as file:
                file.write(os.urandom(100 * number))
        os.link(os.path.join(path, "file0"), os.path.join(path, "below", "link"))
        os.symlink("file0", os.path.join(path, "symlink"))
        return path

    def at(self, *words):
        return (*words, "--at", self.d.path)

    def call(self, *words, expect=None, **options):
        done = husk.run(*self.at(*words), **options)
        return done if expect is None else done.expect(expect)

    def json(self, verb, *operands, expect=husk.DONE, **options):
        """The document of a verb."""
        return document.run(verb, *self.at(*operands), expect=expect, **options)[1]

    def protect(self, *paths, expect=husk.DONE, key=True, **options):
        """Protect the paths (the tree, if none are given) in the vault v."""
        keys = ("--keyfile", self.keyfile) if key is True else key or ()
        return self.call("protect", *(paths or (self.tree,)), "--vault", "v", "--skip-free-space", *keys,
                         expect=expect, **options)

    def lock(self):
        self.call("lock", "v", expect=husk.DONE)

    def state(self, name="v"):
        return self.status(name)["state"]

    def status(self, name="v"):
        return self.json("status", name)["result"]["vaults"][0]

    def keyslots(self):
        """{kind: id} of the vault v."""
        return {slot["kind"]: slot["id"] for slot in self.json("keyslot list", "v")["result"]["keyslots"]}

    @contextlib.contextmanager
    def nothing_changes(self, *paths):
        """The trees, and whether there is a .husk, are as before when the block ends."""
        paths = paths or (self.d.path,)
        before = [manifest.take(path) for path in paths]
        had_husk = os.path.exists(self.path(".husk"))
        yield
        for path, was in zip(paths, before):
            manifest.same(was, manifest.take(path))
        self.assertEqual(os.path.exists(self.path(".husk")), had_husk)

    def assertEncrypted(self, path, yes=True):
        self.assertEqual(sys_calls.is_encrypted(path), yes, path)


needs_faults = unittest.skipUnless(husk.list_faults(), "a build with fault points (-Dfaults=true)")
