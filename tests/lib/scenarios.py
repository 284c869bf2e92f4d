"""What husk's verbs do to a small disk, for tests that interrupt them: by a power cut, a kill, or an I/O error.

A scenario prepares a disk, has one command, and can tell whether the disk is as it must be: complete() at any moment,
finished() when the command has said that it is done. Key files lie outside of the disk.
"""

import os

import disk
import husk
import manifest
import sys_calls
import torture
from canary import KINDS, Canaries, left_of_free_space

PARTS = ["names", "links", "specials", "symlinks", "holes", "unwritten", "xattrs", "acls", "modes", "times", "flags",
         "empties", "whole"]
FEW_PARTS = ["links", "symlinks", "unwritten", "xattrs", "flags", "empties", "whole"]


class Scenario:
    """The directory tree of the disk is to be in the vault v."""
    name = "?"
    size_mib = 48
    mkfs = ("-O", "encrypt")
    parts = PARTS
    many = 20
    zeroes_journal_again = False  # in a step of its own, when zeroing it with a file failed

    def __init__(self, directory):
        self.keyfile = husk.keyfile(directory, f"{type(self).__name__}.key")
        self.canaries = Canaries()
        self.before = {}
        self.left_bytes = 0

    # What each scenario has of its own.

    def prepare(self, d):
        self.build(d, "tree")

    def command(self, d):
        raise NotImplementedError

    def complete(self, d):
        """Raise unless nothing is lost, whatever was interrupted."""
        self.forms(d)

    def finished(self, d, gone=KINDS):
        """Raise unless what the command is for holds, and these kinds of canaries are gone. Unmounts the disk."""

    # What they share.

    def attempt(self, d, fault=None):
        """Run the command, however it may end."""
        done = husk.run(*self.command(d), fault=fault)
        if "overwriting free space" in done.err:
            self.left_bytes = left_of_free_space(done.out + done.err)
        return done

    def run(self, d):
        self.attempt(d).expect(husk.DONE)

    def recorded(self, log):
        """What ran was recorded; nothing here depends on when it was said."""

    def check(self, d, state=None):
        """After an interruption: all is there, the same command goes on, and ends well. state is of recorder.py."""
        self.complete(d)
        self.go_on(d)

    def go_on(self, d):
        self.run(d)
        self.complete(d)
        self.finished(d)

    def build(self, d, *names):
        for number, name in enumerate(names):
            tree = os.path.join(d.path, name)
            torture.build(tree, "small", self.many, self.canaries, self.parts if number == 0 else ["links"], number)
            self.canaries.plant(os.path.join(tree, "canaries"), files=3)
            self.before[name] = manifest.take(tree)

    def at(self, d):
        return ("--at", d.path)

    def protect(self, d):
        trees = [os.path.join(d.path, name) for name in self.before]
        return ("protect", *trees, "--vault", "v", "--keyfile", self.keyfile, *self.at(d))

    def unlock(self, d, keyfile=None):
        return husk.run("unlock", "v", "--keyfile", keyfile or self.keyfile, *self.at(d))

    def forms(self, d):
        """{directory: is it encrypted}; every one is there, whole."""
        forms = {name: sys_calls.is_encrypted(os.path.join(d.path, name)) for name in self.before}
        if any(forms.values()):
            self.unlock(d).expect(husk.DONE)
        for name, before in self.before.items():
            manifest.same(before, manifest.take(os.path.join(d.path, name)),
                          what=f"{name} ({'encrypted' if forms[name] else 'plain'})")
        return forms

    def all_are(self, d, encrypted):
        for name, form in self.forms(d).items():
            if form != encrypted:
                raise AssertionError(f"husk said it was done, and {name} is {'encrypted' if form else 'plain'}")

    def keyslot_needles(self, d, which=None):
        """Pieces of the keyslot files, one of every sector, to be looked for in the image."""
        directory = os.path.join(d.path, ".husk", "vaults", "v", "keyslots")
        needles = []
        for name in [which] if which else os.listdir(directory):
            with open(os.path.join(directory, name), "rb") as file:
                content = file.read()
            needles += [content[at + 200:at + 232] for at in range(0, len(content), 512)]
        return needles

    def keyslot_ids(self, d):
        return set(os.listdir(os.path.join(d.path, ".husk", "vaults", "v", "keyslots")))


def no_needles(d, needles, what):
    found = d.find(needles)
    if found:
        raise AssertionError(f"{what}: {len(found)} of {len(needles)} pieces still in the image, the first at byte "
                             f"{min(map(min, found.values()))}")


def clean(d):
    """e2fsck finds nothing to mend. Unmounts the disk."""
    d.unmount()
    d.sync()
    disk.run("e2fsck", "-fn", d.image)


class Protect(Scenario):
    """Two directories are converted by one command."""
    name = "protect"

    def prepare(self, d):
        self.build(d, "tree", "other")

    def command(self, d):
        return self.protect(d)

    def check(self, d, state=None):
        forms = self.forms(d)
        if state and state.seed % 3 == 1 and not any(forms.values()):
            self.abort(d)
        self.go_on(d)

    def abort(self, d):
        """Going back from here leaves the plain trees. There may be no vault yet; a locked one holds sealed twins."""
        husk.run("protect", "--vault", "v", "--abort", *self.at(d)).expect(husk.DONE, husk.FAILED, husk.REFUSED)
        self.all_are(d, encrypted=False)

    def finished(self, d, gone=KINDS):
        self.all_are(d, encrypted=True)
        d.unmount()
        self.canaries.gone(d, gone, self.left_bytes)
        clean(d)


class Abort(Protect):
    """A conversion whose twins are complete is given up; from wherever that is interrupted, protecting works too."""
    name = "abort"

    def prepare(self, d):
        super().prepare(d)
        if not husk.run(*self.protect(d), fault="convert.compared:crash").crashed:
            raise AssertionError("the conversion was not interrupted")

    def command(self, d):
        return ("protect", "--vault", "v", "--abort", *self.at(d))

    def attempt(self, d, fault=None):
        self.unlock(d)  # sealed twins of a locked vault cannot be removed
        done = super().attempt(d, fault)
        if not os.path.exists(os.path.join(d.path, ".husk", "vaults", "v")):
            done.status = husk.DONE  # the interruption came after the last step
        return done

    def complete(self, d):
        self.all_are(d, encrypted=False)

    def check(self, d, state=None):
        self.complete(d)
        if state and state.seed % 2:
            husk.run(*self.protect(d)).expect(husk.DONE)
            super().finished(d)
        else:
            self.go_on(d)

    def finished(self, d, gone=KINDS):
        self.all_are(d, encrypted=False)
        left = os.listdir(os.path.join(d.path, ".husk", "convert"))
        if left:
            raise AssertionError(f"husk said it went back, and left {left}")
        clean(d)


class AbortFull(Abort):
    """The same on a disk that somebody else has filled."""
    name = "abort on a full disk"

    def prepare(self, d):
        super().prepare(d)
        d.fill_up()


class Join(Protect):
    """A directory joins a vault that has one."""
    name = "join"

    def prepare(self, d):
        self.build(d, "tree")
        husk.ok(*self.protect(d))
        self.build(d, "joining")

    def check(self, d, state=None):
        self.complete(d)
        self.go_on(d)


class Unprotect(Scenario):
    """The encryption is taken off again."""
    name = "unprotect"

    def prepare(self, d):
        self.build(d, "tree")
        husk.ok(*self.protect(d))

    def command(self, d):
        return ("unprotect", "v", "--keyfile", self.keyfile, *self.at(d))

    def finished(self, d, gone=KINDS):
        self.all_are(d, encrypted=False)
        clean(d)


class AbortUnprotect(Unprotect):
    """An unprotect whose twins are complete is given up: nothing that was in the vault alone is in the clear again."""
    name = "abort of unprotect"

    def prepare(self, d):
        os.mkdir(os.path.join(d.path, "tree"))
        husk.ok("protect", os.path.join(d.path, "tree"), "--vault", "v", "--keyfile", self.keyfile, *self.at(d))
        self.build(d, "tree")
        for point in ("tree.content.write:crash:9", "convert.compared:crash"):
            if not husk.run(*Unprotect.command(self, d), fault=point).crashed:
                raise AssertionError("the unprotect was not interrupted")

    def command(self, d):
        return ("protect", "--vault", "v", "--abort", *self.at(d))

    def complete(self, d):
        self.all_are(d, encrypted=True)

    def finished(self, d, gone=KINDS):
        self.all_are(d, encrypted=True)
        left = os.listdir(os.path.join(d.path, ".husk", "convert"))
        if left:
            raise AssertionError(f"husk said it went back, and left {left}")
        d.unmount()
        self.canaries.gone(d, gone, self.left_bytes)
        clean(d)


class Unlock(Unprotect):
    """A locked vault is unlocked."""
    name = "unlock"

    def prepare(self, d):
        super().prepare(d)
        d.remount()

    def command(self, d):
        return ("unlock", "v", "--keyfile", self.keyfile, *self.at(d))

    def finished(self, d, gone=KINDS):
        self.all_are(d, encrypted=True)
        clean(d)


class KeyslotAdd(Unprotect):
    """A second keyfile gets a keyslot. The first one opens at every moment."""
    name = "keyslot add"

    def __init__(self, directory):
        super().__init__(directory)
        self.second = husk.keyfile(directory, f"{type(self).__name__}.second")

    def command(self, d):
        return ("keyslot", "add", "v", "--keyfile", self.second, "--with-keyfile", self.keyfile, *self.at(d))

    def finished(self, d, gone=KINDS):
        d.remount()
        self.unlock(d, self.second).expect(husk.DONE)
        self.all_are(d, encrypted=True)
        clean(d)


class KeyslotRemove(KeyslotAdd):
    """The second keyslot is removed. The first one opens at every moment, and the second never again."""
    name = "keyslot remove"

    def prepare(self, d):
        super().prepare(d)
        first = self.keyslot_ids(d)
        husk.ok(*KeyslotAdd.command(self, d))
        (self.removed,) = self.keyslot_ids(d) - first
        self.needles = self.keyslot_needles(d, self.removed)

    def command(self, d):
        return ("keyslot", "remove", "v", self.removed, "--with-keyfile", self.keyfile, *self.at(d))

    def attempt(self, d, fault=None):
        done = super().attempt(d, fault)
        # Gone already is what it is for: the interruption came after its last step.
        if done.status == husk.REFUSED and self.removed not in self.keyslot_ids(d):
            done.status = husk.DONE
        return done

    def finished(self, d, gone=KINDS):
        d.remount()
        if self.unlock(d, self.second).status == husk.DONE:
            raise AssertionError("a removed keyslot still opens the vault")
        self.all_are(d, encrypted=True)
        d.unmount()
        no_needles(d, self.needles, "the removed keyslot")
        clean(d)


class Erase(Unprotect):
    """The vault is erased: either it still opens and all is there, or its mark is there and it never opens again."""
    name = "erase"
    zeroes_journal_again = True

    def prepare(self, d):
        super().prepare(d)
        self.needles = self.keyslot_needles(d)

    def command(self, d):
        return ("erase", "v", "--confirm", "v", *self.at(d))

    def marked(self, d):
        return any(os.path.exists(os.path.join(d.path, ".husk/vaults/v", mark)) for mark in ("erasing", "erased"))

    def complete(self, d):
        if not self.marked(d):
            self.all_are(d, encrypted=True)
        elif self.unlock(d).status == husk.DONE:
            raise AssertionError("a vault that is being erased was opened")

    def finished(self, d, gone=KINDS):
        if not self.marked(d):
            raise AssertionError("husk said it was erased, and there is no mark")
        if self.unlock(d).status == husk.DONE:
            raise AssertionError("an erased vault was opened")
        d.unmount()
        no_needles(d, self.needles, "the keyslots")
        clean(d)


class EraseLeftovers(Erase):
    """The vault is erased while its conversion is half exchanged: what that left in the clear in .husk is gone in the end."""
    name = "erase of leftovers"
    point = "convert.put-away:crash"

    def prepare(self, d):
        self.build(d, "tree")
        if not husk.run(*self.protect(d), fault=self.point).crashed:
            raise AssertionError("the conversion was not interrupted")
        self.needles = self.keyslot_needles(d)

    def finished(self, d, gone=KINDS):
        left = [os.listdir(os.path.join(d.path, ".husk", place)) for place in ("plaintext", "convert")]
        if any(left):
            raise AssertionError(f"husk said it was erased, and left {left}")
        super().finished(d)
        # Erasing leaves free space, which may hold what nothing could write to before it was free.
        self.canaries.gone(d, [kind for kind in gone if kind in ("content", "short symlink")])


ALL = (Protect, Abort, Join, Unprotect, AbortUnprotect, Unlock, KeyslotAdd, KeyslotRemove, Erase, EraseLeftovers)
