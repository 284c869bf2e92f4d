"""husk on what ext4 can do and the kernel of the machine that runs the tests may not: fs-verity, casefold, quotas and
projects. All on one boot."""
# runs long

import os
import re
import unittest

import husk
import manifest
import torture
from canary import left_of_free_space
from husk_guest import HuskGuest, InGuest, kinds


def setUpModule():
    InGuest.guest = HuskGuest.for_module("convert")


class FeaturesTest(InGuest):
    def test_everything_ext4_can_hold_goes_there_and_back(self):
        self.make("everything", size_mib=96, mkfs=["-O", "encrypt,verity,casefold,project,quota", "-E",
                                                   "encoding=utf8,quotatype=usrquota:grpquota:prjquota"])
        tree = self.d.at("tree")
        self.assertEqual(self.guest.build(tree, list(torture.PARTS)), {})
        before = self.guest.manifest(tree)
        self.assertIn("content", self.guest.canaries.find(self.d))

        # Files under fs-verity cannot be overwritten in place; their blocks are, once they are free.
        done = self.protect(tree, expect=husk.INCOMPLETE)
        self.assertEqual({finding["subject"] for finding in done.document["findings"] if "fs-verity" in finding["cause"]},
                         {f"0/verity/verity-{size}" for size in (0, 1, 4096, 300_000)})
        told = " ".join(finding["cause"] for finding in done.document["findings"])
        self.guest.canaries.gone(self.d, left_bytes=left_of_free_space(told))
        manifest.same(before, self.guest.manifest(tree))

        self.lock()
        self.assertEqual(self.guest.run(["test", "-e", f"{tree}/verity"]).status, 1)
        self.unlock()
        manifest.same(before, self.guest.manifest(tree))
        self.unprotect()
        manifest.same(before, self.guest.manifest(tree))
        self.d.fsck()

    def test_fs_verity_goes_with_the_files_and_is_enforced(self):
        self.make("verity", mkfs=["-O", "encrypt,verity"])
        tree = self.d.at("tree")
        self.guest.check(f"mkdir {tree}\n"
                    f"for name in sha256 sha512 salted; do head -c 50000 /dev/urandom >{tree}/$name; done\n"
                    f"fsverity enable {tree}/sha256; fsverity enable --hash-alg=sha512 {tree}/sha512\n"
                    f"fsverity enable --salt=00112233445566778899aabbccddeeff {tree}/salted")
        digests = self.guest.check(f"fsverity measure {tree}/*")
        self.assertEqual(re.findall(r"(?m)^sha\d+", digests), ["sha256", "sha256", "sha512"])

        def enforced(form):
            self.assertEqual(self.guest.check(f"fsverity measure {tree}/*"), digests, form)
            self.assertEqual(self.guest.check(f"lsattr {tree} | cut -c1-22 | grep -c V"), "3\n", form)
            self.assertIn(b"not permitted", self.guest.run(f"echo more >>{tree}/sha256").stderr, form)

        before = self.guest.manifest(tree)
        self.protect(tree, "--skip-free-space", expect=husk.INCOMPLETE)
        enforced("protected")
        self.lock()
        self.unlock()
        enforced("unlocked again")
        self.check_damage_is_found(f"{tree}/sha256")
        enforced("unlocked again, repaired")
        self.assertSame(before, tree)
        self.unprotect()
        enforced("unprotected")
        self.assertSame(before, tree)
        self.d.fsck()

    def check_damage_is_found(self, path):
        """A bit of ciphertext that is turned on the disk keeps the file from being read, until it is turned back."""
        layout = self.guest.check(f"sync; filefrag -b4096 -v {path}")
        at = int(re.search(r"(?m)^ +0: +0\.\. +\d+: +(\d+)\.\.", layout)[1]) * 4096 + 100
        for status in (1, 0):
            self.lock()
            self.d.unmount()
            with open(self.d.image, "r+b") as image:
                byte = os.pread(image.fileno(), 1, at)[0]
                os.pwrite(image.fileno(), bytes([byte ^ 1]), at)
            self.d.mount()
            self.unlock()
            self.assertEqual(self.guest.run(f"cat {path} >/dev/null").status, status)

    def test_casefolded_directories_find_names_in_any_case(self):
        self.make("casefold", mkfs=["-O", "encrypt,casefold", "-E", "encoding=utf8"])
        tree = self.d.at("tree")
        self.guest.check(f"mkdir -p {tree}/Plain {tree}/FOLD && chattr +F {tree}/FOLD\n"
                    f"mkdir -p {tree}/FOLD/ÄrGer/'STRASSE no 1'\n"
                    f"echo deep >{tree}/FOLD/ÄrGer/'STRASSE no 1'/ReadMe.TXT; echo plain >{tree}/Plain/ÄrGer\n"
                    f"for n in $(seq 300); do echo $n >{tree}/FOLD/ÄrGer/Name-$n-ß; done")

        def folded(form):
            self.assertEqual(self.guest.check(f"cat {tree}/FOLD/äRGER/'strasse NO 1'/README.txt {tree}/FOLD/ÄRGER/nAME-299-ß"),
                             "deep\n299\n", form)
            self.assertIn(b"exists", self.guest.run(f"mkdir {tree}/FOLD/ärger").stderr, form)
            self.assertIn("ÄrGer\n", self.guest.check(["ls", f"{tree}/FOLD"]), form)
            self.assertIn(b"No such file", self.guest.run(f"cat {tree}/Plain/äRGER").stderr, form)

        before = self.guest.manifest(tree)
        for form, act in (("plain", lambda: None),
                          ("protected", lambda: self.protect(tree, "--skip-free-space")),
                          ("unlocked again", lambda: (self.lock(), self.unlock())),
                          ("unprotected", self.unprotect)):
            act()
            folded(form)
            self.assertSame(before, tree, form)
        # An empty one is not copied; it just gets the policy.
        self.guest.check(f"mkdir {self.d.at('empty')} && chattr +F {self.d.at('empty')}")
        self.protect(self.d.at("empty"), "--skip-free-space")
        self.assertEqual(self.guest.check(f"echo x >{self.d.at('empty')}/ÖL; cat {self.d.at('empty')}/öl"), "x\n")
        self.d.fsck()


class QuotaTest(InGuest):
    """While both copies are there everyone would count twice, so limits must not be enforced then."""

    def fill(self, limits):
        """A tree where user 1000 and project 42 have something, and limits that leave them little more."""
        tree = self.d.at("tree")
        self.guest.check(
            f"mkdir -p {tree}/user {tree}/project; chmod 777 {self.d.path}\n"
            f"for n in $(seq 20); do head -c 9000 /dev/zero >{tree}/user/$n; done; ln {tree}/user/1 {tree}/second\n"
            f"chown -R 1000 {tree}/user; head -c 300000 /dev/urandom >{tree}/project/file\n{limits.format(self.d.path)}")
        return tree

    def used(self, *quotas):
        """{id: (blocks, inodes)} of each; root is left out, who has husk's own files."""
        told = [self.guest.check(f"sync; repquota -n -{kind} {self.d.path}") for kind in quotas]
        return [{number: (blocks, inodes) for number, blocks, inodes
                 in re.findall(r"(?m)^#([1-9]\d*) +\S+ +(\d+) +\d+ +\d+ +(\d+)", text)} for text in told]

    def is_enforced(self):
        write = "setpriv --reuid 1000 --clear-groups dd if=/dev/zero bs=64K count=32 of={0}/more; rm -f {0}/more"
        return b"quota exceeded" in self.guest.run(write.format(self.d.path)).stderr

    def refused(self, *verbs):
        """Each names it, and changes nothing."""
        before = self.guest.manifest(self.d.path)
        for verb in verbs:
            done = self.guest.husk(*verb, json=True).expect(husk.REFUSED)
            self.assertFalse(done.document["changed"])
            (finding,) = [one for one in done.document["findings"] if one["kind"] == "quota-active"]
            self.assertEqual(finding["subject"], self.d.path)
            self.assertIn("quotaoff", finding["remedy"])
        manifest.same(before, self.guest.manifest(self.d.path), ["atime", "mtime"])

    def verbs(self, tree):
        return ["check", tree], ["protect", tree, "--vault", self.vault, "--keyfile", self.guest.KEYFILE]

    def protected_and_same(self, tree):
        before = self.guest.manifest(tree)
        self.protect(tree, "--skip-free-space")
        self.assertSame(before, tree)

    def test_enforced_limits_are_refused_and_counting_alone_is_not(self):
        self.make("quota", mkfs=["-O", "encrypt,quota,project", "-E", "quotatype=usrquota:prjquota"],
                  options="usrquota,prjquota")
        tree = self.fill("setquota -u 1000 0 512 0 0 {0}; setquota -P 42 0 1024 0 0 {0}\n"
                         "chattr -p 42 {0}/tree/project/file; chattr -p 42 +P {0}/tree/project")
        self.assertTrue(self.is_enforced())
        used = self.used("u", "P")
        self.assertEqual([list(one) for one in used], [["1000"], ["42"]])
        self.refused(*self.verbs(tree))

        for kind in "u", "P":  # one is as much as both
            self.refused(*self.verbs(tree))
            self.guest.check(f"quotaoff -{kind} {self.d.path}")
        self.assertFalse(self.is_enforced())
        self.protected_and_same(tree)
        self.assertEqual(self.used("u", "P"), used)

        self.guest.check(f"quotaon -uP {self.d.path}")
        self.assertTrue(self.is_enforced())
        self.refused(["unprotect", self.vault])

        # Mounted without the options the limits are there and not enforced.
        self.d.unmount()
        self.d.mount("defaults")
        self.unlock()
        self.assertFalse(self.is_enforced())
        self.unprotect()
        self.assertEqual(self.used("u", "P"), used)
        self.d.fsck()

    def test_quota_files_of_the_old_kind_are_noticed_too(self):
        self.make("quotafile", options="usrjquota=aquota.user,jqfmt=vfsv1")
        tree = self.fill("sync; quotacheck -cum {0} && quotaon -u {0} && setquota -u 1000 0 512 0 0 {0}")
        self.assertTrue(self.is_enforced())
        used = self.used("u")
        self.refused(*self.verbs(tree))
        self.guest.check(f"quotaoff -u {self.d.path}")
        self.protected_and_same(tree)
        self.guest.check(f"sync; quotacheck -um {self.d.path} && quotaon -u {self.d.path}")
        self.assertEqual(self.used("u"), used)
        self.assertTrue(self.is_enforced())

    def test_a_project_that_keeps_the_twin_from_being_moved_is_refused_beforehand(self):
        self.make("project", mkfs=["-O", "encrypt,quota,project", "-E", "quotatype=prjquota"])
        above, tree = self.d.at("above"), self.d.at("above", "tree")
        self.guest.check(f"mkdir {above}; chattr -p 7 +P {above}; mkdir {tree}; echo content >{tree}/file\n"
                         f"chattr -p 8 {tree} {tree}/file")
        before = self.guest.manifest(self.d.path)
        done = self.protect(tree, "--skip-free-space", expect=husk.REFUSED)
        self.assertEqual(kinds(done), {"project-differs"})
        self.assertSame(before, self.d.path)

        self.guest.check(f"chattr -p 7 {tree}")
        self.protected_and_same(tree)
        self.guest.check(f"chattr -p 8 {tree}")
        self.assertEqual(kinds(self.guest.husk("unprotect", self.vault, json=True).expect(husk.REFUSED)),
                         {"project-differs"})
        self.guest.check(f"chattr -P {above}")
        self.unprotect()


if __name__ == "__main__":
    unittest.main(verbosity=2)
