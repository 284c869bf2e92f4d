"""scripts/package: the same sources make the same packages, and lintian has nothing against them.

Built twice, from two copies of the sources that differ in all but what is in the files. By default the programs are
those under test; the long form compiles them each time, as a distribution would.
"""
# runs long

import hashlib
import os
import pathlib
import subprocess
import tempfile
import unittest

import disk
import husk
from undo import Undo

COMPILES = bool(os.environ.get("HUSK_TEST_LONG"))
BUILD = [] if COMPILES else ["--build", os.path.dirname(os.path.abspath(husk.PROGRAM))]
LEFT_OUT = "build", ".git", ".gitignore"
# Where what is in a folder of the sources is looked for on a Debian host.
PLACES = {
    "packaging/systemd": lambda name: f"lib/systemd/system{'-generators' if '.' not in name else ''}/{name}",
    "packaging/sysusers.d": "usr/lib/sysusers.d/{}".format,
    "docs/man": lambda name: f"usr/share/man/man{name[-1]}/{name}.gz",
    "packaging/initramfs": {"hook": "usr/share/initramfs-tools/hooks/husk",
                            "local-bottom": "usr/share/initramfs-tools/scripts/local-bottom/husk",
                            "dhcp": "usr/share/initramfs-tools/scripts/husk-dhcp",
                            "post-update": "etc/initramfs/post-update.d/husk"}.get,
}
OTHERS = {"husk": {"usr/share/lintian/overrides/husk"}, "huskd": set()}  # of the packages themselves
PACKAGES = {"husk_0.1.0_amd64.deb", "huskd_0.1.0_amd64.deb", "husk_0.1.0.dsc", "husk_0.1.0.tar.xz"}


def copy_sources(to, umask, date):
    """A git tree of its own: new inodes, times and modes, the same bytes."""
    to.mkdir(parents=True)
    subprocess.run(f"git -C {husk.ROOT} ls-files -z --cached --others --exclude-standard | "
                   f"tar -C {husk.ROOT} --null --files-from=- -c | tar -x --no-same-permissions -C {to}",
                   shell=True, umask=umask, check=True)
    disk.run("find", to, "-exec", "touch", f"--date={date}", "{}", "+")
    disk.run("git", "init", "--quiet", to)


def package(tree, umask, **environment):
    """{name: bytes} of what is in build/packages then."""
    environment = {**os.environ, "CCACHE_DISABLE": "1", **environment}
    made = subprocess.run([tree / "scripts" / "package", *BUILD], env=environment, umask=umask, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if made.returncode:
        raise AssertionError(made.stderr)
    directory = tree / "build" / "packages"
    told = {pathlib.Path(line).name for line in made.stdout.splitlines()}
    there = {path.name: path.read_bytes() for path in directory.iterdir()}
    assert told == set(there), f"told {told}, there is {set(there)}"
    return there


@unittest.skipIf(husk.missing(), husk.missing() or "")
class PackagesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if "ASAN_OPTIONS" in os.environ:
            raise unittest.SkipTest("a sanitized husk is not packaged")
        undo = cls.enterClassContext(Undo())
        scratch = pathlib.Path(disk.scratch(undo))
        cls.first, second = scratch / "one", scratch / "another" / "place"
        copy_sources(cls.first, 0o022, "now")
        copy_sources(second, 0o077, "2001-01-01")
        cls.made = package(cls.first, 0o022, TZ="UTC")
        cls.again = package(second, 0o077, TZ="Asia/Tokyo", LC_ALL="C", HOME="/nonexistent", USER="somebody")

    def test_the_same_sources_make_the_same_packages(self):
        self.assertLessEqual(PACKAGES, set(self.made))
        self.assertEqual(set(self.made), set(self.again))
        for name, content in self.made.items():
            with self.subTest(name):
                self.assertEqual(hashlib.sha256(content).hexdigest(), hashlib.sha256(self.again[name]).hexdigest())

    def test_lintian_has_nothing_against_them(self):
        made = self.first / "build" / "packages"
        paths = [str(path) for path in made.iterdir() if path.suffix in (".deb", ".dsc")]
        self.assertGreaterEqual(len(paths), 3)
        told = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", *paths], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        self.assertEqual(told.returncode, 0, told.stdout)

    def test_every_unit_page_completion_and_script_is_where_its_package_puts_it(self):
        wanted = {name: set() for name in ("husk", "huskd")}
        for where, to in PLACES.items():
            sources = {path.name for path in pathlib.Path(husk.ROOT, where).iterdir()} - {"meson.build"}
            for source in sources:
                self.assertIsNotNone(to(source), source)
                wanted["huskd" if source.startswith("huskd") else "husk"].add(to(source))
        for name, paths in wanted.items():
            with self.subTest(name):
                paths |= {f"usr/sbin/{name}", f"usr/share/bash-completion/completions/{name}"}
                (package,) = [path for path in (self.first / "build" / "packages").glob(f"{name}_*.deb")]
                there = disk.run("dpkg-deb", "--contents", package).splitlines()
                files = {line.split()[5].removeprefix("./") for line in there if line.startswith("-")}
                self.assertEqual({path for path in files if not path.startswith("usr/share/doc/")} ^ paths, OTHERS[name])

    def test_the_source_package_holds_every_file(self):
        """But .gitignore, which dpkg-source leaves out always, and packaging/debian, which is debian there."""
        with tempfile.TemporaryDirectory() as directory:
            top = pathlib.Path(directory) / "sources"
            source = self.first / "build" / "packages" / "husk_0.1.0.dsc"
            disk.run("dpkg-source", "--no-check", "--extract", source, top)
            self.assertTrue(os.access(top / "debian" / "rules", os.X_OK))
            for path in self.first.rglob("*"):
                name = path.relative_to(self.first)
                if path.is_file() and name.parts[0] not in LEFT_OUT and name.parts[:2] != ("packaging", "debian"):
                    self.assertEqual((top / name).read_bytes(), path.read_bytes(), name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
