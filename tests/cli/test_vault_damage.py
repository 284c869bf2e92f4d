"""Vault headers, manifests, keyslots and protected directories that are not what husk left.

Each: one clear line, the right exit status, no key added, nothing changed.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import struct
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import disk
import document
import husk
from undo import Undo

PASSPHRASE = b"correct horse battery staple"


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)


def digest(path):
    """Of the content, as far as it can be read."""
    try:
        return hashlib.sha256(read(path)).digest()
    except OSError as error:
        if error.errno != errno.ENOKEY:
            raise
        return b"locked"


def snapshot(top):
    """Type, mode, owner, content of everything below top, and the names and policies' visible side of the rest."""
    found = {}
    for directory, names, files in os.walk(top):
        names[:] = [name for name in names if name != "private"]
        for name in names + files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            content = b""
            if os.path.islink(path):
                content = os.readlink(path).encode()
            elif os.path.isfile(path):
                content = digest(path)
            found[path] = (status.st_mode, status.st_uid, status.st_gid, status.st_ino, content)
    return found


class VaultCase(unittest.TestCase):
    """A disk with two vaults, data (directories a and b) and other (directory o), both locked: fresh for each test."""

    @classmethod
    def setUpClass(cls):
        reason = husk.missing()
        if reason:
            raise unittest.SkipTest(reason)
        cls.undo = cls.enterClassContext(Undo())
        cls.scratch = disk.scratch(cls.undo)
        cls.keyfile, cls.other_keyfile = husk.keyfile(cls.scratch), husk.keyfile(cls.scratch, "other")
        cls.passphrase_file = os.path.join(cls.scratch, "passphrase")
        write(cls.passphrase_file, PASSPHRASE)
        cls.recovery_file = os.path.join(cls.scratch, "recovery")
        cls.original = os.path.join(cls.scratch, "original")
        with disk.ext4(size_mib=48) as made:
            cls.at = made.path
            cls.make()
            made.unmount()
            made.sync()
            disk.run("cp", "--sparse=always", made.image, cls.original)
        cls.image = os.path.join(cls.scratch, "image")
        shutil.copy(cls.original, cls.image)
        cls.disk = disk.Disk(cls.undo, "ext4", "", disk.attach(cls.undo, cls.image), cls.image, cls.scratch)
        cls.at = cls.disk.path

    @classmethod
    def make(cls):
        for name, content in [("a", b"of a"), ("b", b"of b"), ("o", b"of o")]:
            os.mkdir(cls.path(name))
            write(cls.path(name, "file"), content)
        os.symlink("a/file", cls.path("link"))
        cls.ok("protect", cls.path("a"), "--vault", "data", "--keyfile", cls.keyfile, "--passphrase-file",
               cls.passphrase_file, "--recovery-out", cls.recovery_file, "--skip-free-space")
        cls.older = read(cls.in_vault("vault.json"))
        cls.ok("protect", cls.path("b"), "--vault", "data", "--skip-free-space")
        cls.ok("protect", cls.path("o"), "--vault", "other", "--keyfile", cls.other_keyfile, "--skip-free-space")
        cls.header = read(cls.in_vault("vault.json"))

    def setUp(self):
        self.disk.unmount()
        self.disk.drop_cache()
        disk.run("cp", "--sparse=always", self.original, self.image)
        self.disk.drop_cache()
        self.disk.mount()

    @classmethod
    def path(cls, *names):
        return os.path.join(cls.at, *names)

    @classmethod
    def in_vault(cls, *names, vault="data"):
        return cls.path(".husk/vaults", vault, *names)

    @classmethod
    def ok(cls, *words):
        return husk.ok(*words, "--at", cls.at)

    def keyslot(self, kind, vault="data"):
        """The path of the vault's keyslot of a kind."""
        number = {"keyfile": 2, "passphrase": 3, "recovery": 4}[kind]
        for name in os.listdir(self.in_vault("keyslots", vault=vault)):
            path = self.in_vault("keyslots", name, vault=vault)
            if struct.unpack("<I", read(path)[16:20])[0] == number:
                return path
        raise AssertionError(f"no {kind} keyslot")

    def state(self, name="data"):
        """What the kernel says, through a vault.json that is right again."""
        damaged = read(self.in_vault("vault.json"))
        write(self.in_vault("vault.json"), self.header)
        done = husk.ok("status", name, "--at", self.at, json=True)
        write(self.in_vault("vault.json"), damaged)
        return document.check(done, "status")["result"]["vaults"][0]["state"]

    def refused(self, *words, status=husk.REFUSED, says=(), code=None):
        """Ends with one line that says these words, and with nothing below the mount point changed."""
        before = snapshot(self.at)
        done = husk.run(*words, "--at", self.at).expect_error_line(status)
        for said in [says] if isinstance(says, str) else says:
            self.assertIn(said, done.err, done)
        again = husk.run(*words, "--at", self.at, json=True).expect(status)
        parsed = document.check(again, words[0])
        self.assertFalse(parsed["changed"], again)
        if code:
            self.assertEqual(parsed["error"]["code"], code, again)
        self.assertEqual(snapshot(self.at), before)
        return done

    def unlock_refused(self, key="keyfile", **expected):
        words = {"keyfile": ["--keyfile", self.keyfile], "passphrase": ["--passphrase-file", self.passphrase_file],
                 "recovery": ["--recovery-key-file", self.recovery_file]}[key]
        return self.refused("unlock", "data", *words, **expected)


class HeaderTest(VaultCase):
    def damaged(self, content, status, says, code, unlock_only=False):
        path = self.in_vault("vault.json")
        write(path, content)
        self.unlock_refused(status=status, says=says, code=code)
        if not unlock_only:
            for words in (["status", "data"], ["keyslot", "list", "data"],
                          ["keyslot", "add", "data", "--keyfile", self.other_keyfile, "--with-keyfile", self.keyfile],
                          ["protect", self.path("a"), "--vault", "data"], ["unprotect", "data"]):
                self.refused(*words, status=status, says=says, code=code)
        self.assertEqual(self.state(), "locked")

    def with_body(self, change):
        """vault.json with its body, a dict, changed and everything else kept."""
        file = json.loads(read(self.in_vault("vault.json")))
        body = json.loads(file["body"])
        change(body)
        file["body"] = json.dumps(body, separators=(",", ":"))
        return json.dumps(file).encode()

    def test_a_vault_with_a_damaged_header_is_locked_all_the_same(self):
        for content in (b"", b"{", b'{"version":2}', None):
            self.ok("unlock", "data", "--keyfile", self.keyfile)
            (os.remove if content is None else lambda path: write(path, content))(self.in_vault("vault.json"))
            with open(self.path("a/file")):
                done = husk.run("lock", "data", "--at", self.at, json=True).expect(husk.INCOMPLETE)
            self.assertIn("busy-process", [finding["kind"] for finding in done.document["findings"]])
            for words in (("lock", "data"), ("lock", "--all")):
                done = husk.ok(*words, "--at", self.at, json=True)
                self.assertIn("vault-unreadable", [finding["kind"] for finding in done.document["findings"]])
            self.assertFalse(os.path.exists(self.path("a/file")))
            write(self.in_vault("vault.json"), self.header)
            self.assertEqual(self.state(), "locked")

    def test_where_nothing_says_which_key_it_is_no_vault_is_called_locked(self):
        self.ok("unlock", "data", "--keyfile", self.keyfile)
        write(self.in_vault("vault.json"), b"{")
        shutil.rmtree(self.in_vault("private"))
        done = husk.run("lock", "data", "--at", self.at).expect_error_line(husk.FAILED)
        self.assertIn("may be unlocked", done.err)

    def test_what_is_no_header_is_refused(self):
        whole = read(self.in_vault("vault.json"))
        for content in (b"", b"\0" * 4096, os.urandom(500), whole[:len(whole) // 2], whole[:-20], whole + whole,
                        b"[]", b"{}", b'{"version":1}', b'{"version":0,"body":"{}","mac":""}'):
            with self.subTest(content[:30]):
                self.damaged(content, husk.FAILED, "vault.json", "corrupt")

    def test_a_member_out_of_bounds_is_refused(self):
        def edit(name, value):
            return lambda body: body.__setitem__(name, value)
        for name, value in [("name", "../data"), ("id", "00"), ("created", -1), ("sequence", 0), ("keyslots", {}),
                            ("authorities", [{}]), ("extra", 1), ("born_encrypted", "yes"), ("protected_since", 2**70),
                            ("directories", [{"path": "../etc", "nonce": "00" * 16}]),
                            ("directories", [{"path": "a", "nonce": "00" * 16}] * 2),
                            ("directories", [{"path": f"d{n}", "nonce": "00" * 16} for n in range(257)]),
                            ("symlinks", [{"path": "a/b", "target": "c", "uid": 0, "gid": 0, "mode": 511}])]:
            with self.subTest(name=name, value=str(value)[:40]):
                self.damaged(self.with_body(edit(name, value)), husk.FAILED, "vault.json", "corrupt")

    def test_a_header_of_a_newer_husk_is_named_so(self):
        self.damaged(b'{"version":2,"whatever":[]}', husk.REFUSED, "newer husk (format 2", "too-new")

    def test_a_header_that_is_missing_or_no_file_is_refused(self):
        path = self.in_vault("vault.json")
        whole = read(path)
        def directory():
            os.mkdir(path)
        def symlink():
            write(os.path.join(self.scratch, "elsewhere"), whole)
            os.symlink(os.path.join(self.scratch, "elsewhere"), path)
        def fifo():
            os.mkfifo(path)
        for make in (lambda: None, directory, symlink, fifo, lambda: write(path, b" " * (9 << 20) + whole)):
            os.remove(path)
            make()
            self.unlock_refused(status=husk.FAILED, says="vault.json", code="corrupt")
            self.refused("status", "data", status=husk.FAILED, says="vault.json")
            if os.path.isdir(path) and not os.path.islink(path):
                os.rmdir(path)
            elif os.path.lexists(path):
                os.remove(path)
            write(path, whole)

    def test_a_header_swapped_with_another_vaults_is_refused(self):
        data, other = (read(self.in_vault("vault.json", vault=vault)) for vault in ("data", "other"))
        write(self.in_vault("vault.json", vault="other"), data)
        self.damaged(other, husk.FAILED, "vault.json is that of the vault other, not of data", "corrupt")
        self.refused("unlock", "other", "--keyfile", self.other_keyfile, status=husk.FAILED, says="not of other")

    def test_a_swapped_header_with_the_name_put_right_opens_nothing(self):
        file = json.loads(read(self.in_vault("vault.json", vault="other")))
        file["body"] = file["body"].replace('"name":"other"', '"name":"data"')
        done = self.damaged_unlock(json.dumps(file).encode(), husk.FAILED, "corrupt")
        self.assertIn("belongs to another vault", done.out + done.err)

    def damaged_unlock(self, content, status, code):
        write(self.in_vault("vault.json"), content)
        done = self.unlock_refused(status=status, code=code)
        self.assertEqual(self.state(), "locked")
        return done

    def test_a_manifest_that_was_written_by_someone_else_is_noticed(self):
        file = json.loads(read(self.in_vault("vault.json")))
        mac = dict(file, mac=("1" if file["mac"][0] == "0" else "0") + file["mac"][1:])
        for content in (json.dumps(mac).encode(), self.with_body(lambda body: body.__setitem__("sequence", 99)),
                        self.with_body(lambda body: body.__setitem__("born_encrypted", True)),
                        self.with_body(lambda body: body["directories"].pop()),
                        self.with_body(lambda body: body["symlinks"].clear()),
                        self.with_body(lambda body: body["keyslots"][0].__setitem__("exported", 5))):
            self.damaged(content, husk.REFUSED, "MAC", "changed", unlock_only=True)

    def test_the_key_of_another_vault_in_the_manifest_stops_it(self):
        identifier = json.loads(json.loads(read(self.in_vault("vault.json", vault="other")))["body"])["policy"]["identifier"]
        self.damaged(self.with_body(lambda body: body["policy"].__setitem__("identifier", identifier)), husk.REFUSED,
                     "MAC", "changed", unlock_only=True)

    def test_a_changed_manifest_is_not_made_good_while_the_vault_is_unlocked(self):
        self.ok("unlock", "data", "--keyfile", self.keyfile)
        write(self.in_vault("vault.json"), self.with_body(lambda body: body["directories"].pop()))
        self.refused("keyslot", "add", "data", "--keyfile", self.other_keyfile, "--with-keyfile", self.keyfile,
                     says="MAC", code="changed")
        slot = os.path.basename(self.keyslot("passphrase"))
        self.refused("keyslot", "remove", "data", slot, says="MAC", code="changed")
        self.refused("keyslot", "export", "data", slot, os.path.join(self.scratch, "never"), says="MAC", code="changed")
        self.assertFalse(os.path.exists(os.path.join(self.scratch, "never")))

    def test_another_identifier_in_the_manifest_does_not_hide_the_key_in_the_kernel(self):
        for identifier in ("00" * 16, "ab" * 16):
            for words, state in ((["lock", "data"], "locked"), (["erase", "data", "--confirm", "data"], "erased")):
                with self.subTest(words, identifier=identifier):
                    self.setUp()
                    self.ok("unlock", "data", "--keyfile", self.keyfile)
                    write(self.in_vault("vault.json"),
                          self.with_body(lambda body: body["policy"].__setitem__("identifier", identifier)))
                    self.assertEqual(self.stated(), "unlocked")
                    with open(self.path("b/file"), "rb"):
                        busy = husk.run(*words, "--at", self.at, json=True).expect(husk.INCOMPLETE).document
                        self.assertIn(os.path.realpath(self.path("b/file")),
                                      [finding["subject"] for finding in busy["findings"]])
                    self.ok(*words)
                    self.assertEqual(self.stated(), state)
                    self.assertFalse(os.path.exists(self.path("b/file")))

    def stated(self):
        return husk.ok("status", "data", "--at", self.at, json=True).document["result"]["vaults"][0]["state"]

    def test_an_older_manifest_is_not_noticed(self):
        """The limit docs/boundaries.md names: this disk alone cannot tell that it was put back."""
        write(self.in_vault("vault.json"), self.older)
        self.ok("unlock", "data", "--keyfile", self.keyfile)
        self.assertEqual(read(self.path("b/file")), b"of b")

    def test_one_damaged_vault_does_not_hide_the_others(self):
        write(self.in_vault("vault.json"), b"{")
        done = husk.run("status", "--at", self.at, json=True).expect(husk.INCOMPLETE)
        found = document.check(done, "status")
        self.assertEqual([vault["name"] for vault in found["result"]["vaults"]], ["other"])
        self.assertIn("vault-unreadable", [finding["kind"] for finding in found["findings"]])

    def test_a_husk_directory_others_can_write_is_not_believed(self):
        for path in (self.path(".husk"), self.in_vault()):
            for change, undo in [(lambda: os.chown(path, 1000, -1), lambda: os.chown(path, 0, -1)),
                                 (lambda: os.chmod(path, 0o770), lambda: os.chmod(path, 0o700)),
                                 (lambda: os.chmod(path, 0o707), lambda: os.chmod(path, 0o700))]:
                change()
                try:
                    self.unlock_refused(status=husk.FAILED, says="can be changed by others than root", code="corrupt")
                finally:
                    undo()


class KeyslotTest(VaultCase):
    """One keyslot damaged: it opens nothing and is named; the others open."""

    def one_damaged(self, damage, says):
        path = self.keyslot("keyfile")
        whole = read(path)
        damage(path, whole)
        try:
            done = self.unlock_refused(status=husk.REFUSED, says="none of 2 keyslots", code="wrong-key")
            self.assertIn(says, done.out + done.err)
            self.assertIn(os.path.basename(path), done.out + done.err)
            self.ok("unlock", "data", "--recovery-key-file", self.recovery_file)
            self.ok("lock", "data")
        finally:
            with contextlib.suppress(FileNotFoundError):
                (os.rmdir if os.path.isdir(path) else os.remove)(path)
            write(path, whole)

    def test_damage_of_every_kind(self):
        def flip(at):
            return lambda path, whole: write(path, whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
        def swapped(path, whole):
            shutil.copy(self.keyslot("passphrase"), path)
        def of_the_other_vault(path, whole):
            shutil.copy(self.keyslot("keyfile", vault="other"), path)
        for name, damage, says in [
                ("empty", lambda path, whole: write(path, b""), "keyslot"),
                ("cut", lambda path, whole: write(path, whole[:-1]), "keyslot"),
                ("longer", lambda path, whole: write(path, whole + b"\0"), "keyslot"),
                ("zeros", lambda path, whole: write(path, bytes(4096)), "keyslot"),
                ("missing", lambda path, whole: os.remove(path), "keyslot"),
                ("directory", lambda path, whole: (os.remove(path), os.mkdir(path)), "regular file"),
                ("magic", flip(0), "keyslot"),
                ("suite", flip(12), "keyslot"),
                ("reserved", flip(110), "keyslot"),
                ("id", flip(40), "another keyslot"),
                ("vault", flip(50), "another vault"),
                ("newer", lambda path, whole: write(path, whole[:8] + struct.pack("<I", 2) + whole[12:]), "2"),
                ("swapped", swapped, "another keyslot"),
                ("other vault", of_the_other_vault, "another")]:
            with self.subTest(name):
                self.one_damaged(damage, says)

    def test_an_authenticated_byte_flipped_opens_nothing(self):
        """What the format cannot see, the AEAD does: then it is a keyslot like any other that does not open."""
        path = self.keyslot("keyfile")
        whole = read(path)
        for at in (64, 96, 128, 152, 199):  # salt, created, nonce, ciphertext, tag
            write(path, whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
            self.unlock_refused(status=husk.REFUSED, says="none of 3 keyslots", code="wrong-key")

    def test_padding_does_not_matter(self):
        path = self.keyslot("keyfile")
        write(path, read(path)[:200] + os.urandom(3896))
        self.ok("unlock", "data", "--keyfile", self.keyfile)

    def test_no_keyslot_left_whole(self):
        for name in os.listdir(self.in_vault("keyslots")):
            write(self.in_vault("keyslots", name), b"x")
        self.unlock_refused(status=husk.FAILED, says="no keyslot that can be read", code="corrupt")
        shutil.rmtree(self.in_vault("keyslots"))
        self.unlock_refused(status=husk.FAILED, says="keyslots")

    def test_keyslots_that_belong_to_nothing_are_passed_over(self):
        whole = read(self.keyslot("keyfile"))
        for name in ("README", "." + "0" * 32 + ".new", "0" * 31, "0" * 33, "0" * 32, "F" * 32):
            write(self.in_vault("keyslots", name), whole)
        self.ok("unlock", "data", "--keyfile", self.keyfile)

    def test_wrong_keys(self):
        wrong = os.path.join(self.scratch, "wrong")
        for content, words, status, code in [
                (PASSPHRASE + b"!", "--passphrase-file", husk.REFUSED, "wrong-key"),
                (PASSPHRASE[:-1], "--passphrase-file", husk.REFUSED, "wrong-key"),
                (PASSPHRASE.upper(), "--passphrase-file", husk.REFUSED, "wrong-key"),
                (os.urandom(64), "--keyfile", husk.REFUSED, "wrong-key"),
                (read(self.keyfile)[:-1], "--keyfile", husk.REFUSED, "wrong-key"),
                (read(self.keyfile) + b"\n", "--keyfile", husk.REFUSED, "wrong-key"),
                (PASSPHRASE * 2, "--keyfile", husk.REFUSED, "wrong-key"),
                (b"x" * 31, "--keyfile", husk.USAGE, "usage"),
                (b"", "--keyfile", husk.USAGE, "usage"),
                (b"x" * ((1 << 20) + 1), "--keyfile", husk.USAGE, "usage"),
                (b"husk-0000", "--recovery-key-file", husk.USAGE, "usage")]:
            with self.subTest(words=words, content=content[:20], length=len(content)):
                write(wrong, content)
                self.refused("unlock", "data", words, wrong, status=status, code=code)
                self.assertEqual(self.state(), "locked")
        self.refused("unlock", "data", "--keyfile", os.path.join(self.scratch, "none"), status=husk.FAILED)
        self.refused("unlock", "other", "--keyfile", self.keyfile, status=husk.REFUSED, code="wrong-key")


class DirectoryTest(VaultCase):
    """Protected directories and the symlinks that lead into them, replaced while the vault is locked."""

    def rename(self, *pairs):
        for source, target in pairs:
            os.rename(self.path(source), self.path(target))

    def replaced(self, says, subject, kind):
        done = self.unlock_refused(says=[says, subject], code="changed")
        self.assertEqual(self.state(), "locked")
        again = husk.run("unlock", "data", "--keyfile", self.keyfile, "--at", self.at, json=True)
        self.assertIn(kind, [finding["kind"] for finding in document.check(again, "unlock")["findings"]], again)
        if kind.startswith("directory"):
            self.assertIn(says, self.ok("status", "data").out)
        return done

    def test_by_a_plain_directory(self):
        os.rename(self.path("a"), self.path("kept"))
        shutil.copytree(self.path("."), self.path("a"), ignore=lambda *_: os.listdir(self.at))
        self.replaced("not encrypted", "/a", "directory-replaced")
        for key in ("passphrase", "recovery"):
            self.unlock_refused(key, says="not encrypted", code="changed")

    def test_while_it_is_unlocked_status_tells_and_unprotect_begins_nothing(self):
        self.ok("unlock", "data", "--keyfile", self.keyfile)
        os.rename(self.path("a"), self.path("kept"))
        os.mkdir(self.path("a"))
        self.assertIn("not encrypted", self.ok("status", "data").out)
        self.refused("unprotect", "data", says=["not encrypted", "put it back"])
        self.assertNotIn("conversion", self.ok("status", "data").out)

    def test_by_another_directory_of_the_vault(self):
        self.rename(("a", "t"), ("b", "a"), ("t", "b"))
        self.replaced("another directory of this vault", "/a", "directory-replaced")

    def test_by_a_directory_of_another_vault(self):
        self.rename(("a", "t"), ("o", "a"))
        self.replaced("another key", "/a", "directory-replaced")

    def test_by_nothing_a_file_and_a_symlink(self):
        os.rename(self.path("a"), self.path("kept"))
        self.replaced("not there", "/a", "directory-missing")
        write(self.path("a"), b"")
        self.replaced("not there", "/a", "directory-missing")
        os.remove(self.path("a"))
        os.symlink("kept", self.path("a"))
        self.replaced("not there", "/a", "directory-missing")

    def test_a_mount_over_it_is_told_and_hides_no_change(self):
        """As that of a system which has /tmp in memory while it runs."""
        os.rename(self.path("a"), self.path("kept"))
        os.mkdir(self.path("a"))
        with self.covered("a"):
            self.replaced("not encrypted", "/a", "directory-replaced")
        os.rmdir(self.path("a"))
        os.rename(self.path("kept"), self.path("a"))
        with self.covered("a"):
            done = husk.ok("unlock", "data", "--keyfile", self.keyfile, "--at", self.at, json=True)
            self.assertEqual([finding["kind"] for finding in document.check(done, "unlock")["findings"]],
                             ["directory-covered"])
            self.assertIn("mounted over it", self.ok("status", "data").out)
            self.refused("unprotect", "data", says=["mounted over it", "unmount it"])
        self.assertEqual(self.ok("unprotect", "data").status, husk.DONE)

    @contextlib.contextmanager
    def covered(self, name):
        path = self.path(name)
        disk.run("mount", "-t", "tmpfs", "-o", "size=1m", "none", path)
        try:
            yield
        finally:
            disk.run("umount", path)

    def test_a_symlink_into_it_that_leads_elsewhere(self):
        def again(target, owner=0):
            os.remove(self.path("link"))
            if target is not None:
                os.symlink(target, self.path("link"))
                os.lchown(self.path("link"), owner, owner)
        for target, owner in [("b/file", 0), ("a/../o", 0), ("a/file", 1000), (None, 0)]:
            again(target, owner)
            self.replaced("symlink", "link", "symlink-changed")
        write(self.path("link"), b"")
        self.replaced("symlink", "link", "symlink-changed")

    def test_names_that_are_not_recorded_do_not_matter(self):
        os.mkdir(self.path("new"))
        os.symlink("a/new", self.path("newlink"))
        self.ok("unlock", "data", "--keyfile", self.keyfile)

    def test_only_a_passphrase_or_recovery_key_accepts_a_change(self):
        self.rename(("a", "t"), ("b", "a"), ("t", "b"))
        self.refused("unlock", "data", "--accept-changes", "--keyfile", self.keyfile, code="denied")
        self.assertEqual(self.state(), "locked")
        self.ok("unlock", "data", "--accept-changes", "--passphrase-file", self.passphrase_file)
        self.assertEqual(read(self.path("a/file")), b"of b")
        self.ok("lock", "data")
        self.ok("unlock", "data", "--keyfile", self.keyfile)

    def test_accepting_forgets_what_is_not_of_the_vault(self):
        os.rename(self.path("b"), self.path("kept"))
        os.mkdir(self.path("b"))
        with self.covered("a"):
            done = husk.ok("unlock", "data", "--accept-changes", "--recovery-key-file", self.recovery_file, "--at", self.at,
                           json=True)
        self.assertIn("directory-replaced", [finding["kind"] for finding in document.check(done, "unlock")["findings"]])
        status = husk.ok("status", "data", "--at", self.at, json=True).document["result"]["vaults"][0]
        self.assertEqual(status["directories"], [self.path("a")])

    def test_accepting_a_manifest_someone_changed(self):
        file = json.loads(read(self.in_vault("vault.json")))
        file["mac"] = "00" * 32
        write(self.in_vault("vault.json"), json.dumps(file).encode())
        self.ok("unlock", "data", "--accept-changes", "--passphrase-file", self.passphrase_file)
        self.ok("lock", "data")
        self.ok("unlock", "data", "--keyfile", self.keyfile)


class PrivateTest(VaultCase):
    def test_a_damaged_key_of_the_manifest_is_written_anew(self):
        self.ok("unlock", "data", "--keyfile", self.keyfile)
        for damage in (lambda path: write(path, b"\0" * 32), lambda path: write(path, b"short"), os.remove):
            damage(self.in_vault("private/manifest.key"))
            self.ok("lock", "data")
            done = self.ok("unlock", "data", "--keyfile", self.keyfile)
            self.assertIn("written anew", done.out + done.err)
            self.assertEqual(len(read(self.in_vault("private/manifest.key"))), 32)

    def test_a_plain_directory_in_its_place_gets_no_key(self):
        os.rename(self.in_vault("private"), self.in_vault("kept"))
        os.mkdir(self.in_vault("private"), 0o700)
        write(self.in_vault("private/trap"), b"")
        before = snapshot(self.at)
        husk.run("unlock", "data", "--keyfile", self.keyfile, "--at", self.at).expect_error_line(husk.REFUSED)
        self.assertEqual(snapshot(self.at), before)
        self.assertEqual(os.listdir(self.in_vault("private")), ["trap"])
        self.assertEqual(self.state(), "locked")

    def test_a_mark_closes_the_vault(self):
        for mark in ("erasing", "erased"):
            write(self.in_vault(mark), b"whatever")
            self.unlock_refused(says="erased", code="erased")
            for words in (["keyslot", "add", "data", "--keyfile", self.other_keyfile, "--with-keyfile", self.keyfile],
                          ["protect", self.path("a"), "--vault", "data", "--skip-free-space"]):
                self.refused(*words, code="erased")
            os.remove(self.in_vault(mark))


class HostTest(VaultCase):
    def test_a_damaged_host_record_is_named(self):
        path = self.path(".husk/host.json")
        for content, status, code in [(b"", husk.FAILED, "corrupt"), (b"{}", husk.FAILED, "corrupt"),
                                      (b'{"version":2}', husk.REFUSED, "too-new"),
                                      (b'{"version":1,"keyfiles":[{"vault":"00","path":"/k"}]}', husk.FAILED, "corrupt")]:
            write(path, content)
            self.refused("unlock", "data", status=status, says="host.json", code=code)
        self.ok("unlock", "data", "--keyfile", self.keyfile)  # which needs no host.json

    def test_the_recorded_key_file_opens_and_stays_below_the_host(self):
        vault = json.loads(json.loads(read(self.in_vault("vault.json")))["body"])["id"]
        shutil.copy(self.keyfile, self.path("key"))
        os.symlink(self.keyfile, self.path("outside"))  # leads nowhere when / is the host's root
        def record(*paths):
            write(self.path(".husk/host.json"), json.dumps(
                {"version": 1, "keyfiles": [{"vault": vault, "path": name} for name in paths]}).encode())
        record("/key")
        self.ok("unlock", "data")
        self.ok("lock", "data")
        record("/outside")
        done = husk.run("unlock", "data", "--at", self.at).expect(husk.REFUSED, husk.USAGE)
        self.assertIn("/outside", done.out + done.err)
        self.assertEqual(self.state(), "locked")


class EraseDamagedTest(unittest.TestCase):
    """Erasing needs no key and no vault.json that can be read."""

    def erase(self, damage, expected_state="erased"):
        with Undo() as undo, disk.ext4(size_mib=48) as d:
            keyfile = husk.keyfile(disk.scratch(undo))
            os.mkdir(f"{d.path}/a")
            husk.ok("protect", f"{d.path}/a", "--vault", "v", "--keyfile", keyfile, "--skip-free-space", "--at", d.path)
            vault = f"{d.path}/.husk/vaults/v"
            slots = [read(f"{vault}/keyslots/{name}")[152:200] for name in os.listdir(f"{vault}/keyslots")]
            damage(d, vault)
            done = husk.ok("erase", "v", "--confirm", "v", "--at", d.path, json=True)
            parsed = document.check(done, "erase")
            self.assertTrue(parsed["changed"])
            self.assertEqual(parsed["result"]["vaults"][0]["key_destruction"], "UNKNOWN")
            self.assertEqual(os.listdir(f"{vault}/keyslots") if os.path.exists(f"{vault}/keyslots") else [], [])
            self.assertEqual(d.find(slots), {})
            status = husk.run("status", "--at", d.path, json=True).document
            self.assertEqual(status["result"]["vaults"][0]["state"], expected_state)
            self.assertFalse(husk.ok("erase", "v", "--confirm", "v", "--at", d.path, json=True).document["changed"])
            husk.run("unlock", "v", "--keyfile", keyfile, "--at", d.path).expect_error_line(husk.REFUSED)
            return parsed

    def test_a_locked_vault(self):
        self.erase(lambda d, vault: husk.ok("lock", "v", "--at", d.path))

    def test_a_damaged_header(self):
        parsed = self.erase(lambda d, vault: write(f"{vault}/vault.json", b"garbage"))
        self.assertIn("key-copies-unknown", [finding["kind"] for finding in parsed["findings"]])

    def test_a_missing_header_and_a_damaged_keyslot(self):
        def damage(d, vault):
            os.remove(f"{vault}/vault.json")
            for name in os.listdir(f"{vault}/keyslots"):
                write(f"{vault}/keyslots/.{name}.new", b"x" * 4096)
        self.erase(damage)

    def test_neither_header_nor_private_directory(self):
        def damage(d, vault):
            os.remove(f"{vault}/vault.json")
            shutil.rmtree(f"{vault}/private")
            d.remount()
        parsed = self.erase(damage)
        self.assertIn("kernel-key-unknown", [finding["kind"] for finding in parsed["findings"]])

    def test_a_keyslot_that_came_back_is_destroyed_again(self):
        with Undo() as undo, disk.ext4(size_mib=48) as d:
            keyfile = husk.keyfile(disk.scratch(undo))
            os.mkdir(f"{d.path}/a")
            husk.ok("protect", f"{d.path}/a", "--vault", "v", "--keyfile", keyfile, "--skip-free-space", "--at", d.path)
            slots = f"{d.path}/.husk/vaults/v/keyslots"
            name = os.listdir(slots)[0]
            content = read(f"{slots}/{name}")
            husk.ok("erase", "v", "--confirm", "v", "--at", d.path)
            write(f"{slots}/{name}", content)
            husk.run("unlock", "v", "--keyfile", keyfile, "--at", d.path).expect_error_line(husk.REFUSED)
            self.assertTrue(husk.ok("erase", "v", "--confirm", "v", "--at", d.path, json=True).document["changed"])
            self.assertEqual(os.listdir(slots), [])


class LockTest(unittest.TestCase):
    def test_two_at_once(self):
        with Undo() as undo, disk.ext4(size_mib=48) as d:
            keyfile = husk.keyfile(disk.scratch(undo))
            os.mkdir(f"{d.path}/a")
            husk.ok("protect", f"{d.path}/a", "--vault", "v", "--keyfile", keyfile, "--skip-free-space", "--at", d.path)
            with open(f"{d.path}/.husk/lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                done = husk.run("lock", "v", "--at", d.path).expect_error_line(husk.REFUSED)
                self.assertIn(f"pid {os.getpid()}", done.err)
            husk.ok("lock", "v", "--at", d.path)


if __name__ == "__main__":
    unittest.main()
