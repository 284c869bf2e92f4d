"""Whatever uses a tree keeps it from being converted: husk names it, exits with 3, and changes nothing.

The users are real: programs, loop devices, swap, containers' mounts, sockets, NFS exports.
"""
# runs alone: a container whose layers cannot be found may lie in any tree of this machine

import os
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import disk
import husk
import manifest
from undo import Undo

PR_SET_NAME = 15
PYTHON = os.path.basename(sys.executable)[:15]  # as the kernel calls it

# Runs in a child: does what the test says, says so, and waits until its standard input ends.
CHILD = r"""
import ctypes, mmap, os, socket, sys
tree = sys.argv[1]
exec(sys.argv[2])
print("ready", flush=True)
sys.stdin.read()
"""


class Users:
    """Programs that use the tree until the test ends."""

    def __init__(self, undo):
        self.undo = undo

    def start(self, argv, **options):
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
        self.undo.push(self.end, process)
        line = process.stdout.readline()
        if line.strip() != b"ready":
            raise RuntimeError(f"the user ended early: {argv} {line}")
        return process

    def python(self, tree, code, **options):
        return self.start([sys.executable, "-c", CHILD, tree, code], **options)

    @staticmethod
    def end(process):
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@unittest.skipIf(husk.missing(), husk.missing())
class BusyTest(unittest.TestCase):
    def setUp(self):
        self.undo = Undo()
        self.addCleanup(self.undo.close)
        self.disk = self.undo_enter(disk.ext4())
        self.outside = disk.scratch(self.undo)
        self.tree = os.path.join(self.disk.path, "srv", "data")
        os.makedirs(os.path.join(self.tree, "sub dir"))
        for name in ("file", "sub dir/other"):
            with open(os.path.join(self.tree, name), "wb") as file:
                file.write(name.encode() * 1000)
        self.users = Users(self.undo)
        self.keyfile = husk.keyfile(self.outside)

    def undo_enter(self, context):
        entered = context.__enter__()
        self.undo.push(context.__exit__, None, None, None)
        return entered

    def mount(self, *arguments):
        disk.run("mount", *arguments)
        self.undo.push(disk.unmount, arguments[-1])

    def run_both(self):
        """check and protect, as a document each; both must refuse, and nothing may have changed."""
        before = manifest.take(self.disk.path)
        argv = [self.tree, "--at", self.disk.path]
        protect = ["--vault", "v", "--keyfile", self.keyfile]
        done = [husk.run("check", *argv, json=True), husk.run("protect", *argv, *protect, json=True)]
        for one in done:
            one.expect(husk.REFUSED)
            self.assertFalse(one.document["changed"], str(one))
        text = husk.run("protect", *argv, *protect)
        text.expect_error_line(husk.REFUSED)
        manifest.same(before, manifest.take(self.disk.path), what="the disk")
        self.assertFalse(os.path.exists(os.path.join(self.disk.path, ".husk")))
        return [one.document for one in done], text

    def refused(self, kind, *causes, subject=None):
        """Both verbs tell a finding of this kind whose cause holds these words, on this subject."""
        documents, text = self.run_both()
        subject = subject if subject is not None else self.tree
        for document in documents:
            found = [one for one in document["findings"]
                     if one["kind"] == kind and one["subject"] == subject and all(word in one["cause"] for word in causes)]
            self.assertTrue(found, f"no {kind} on {subject} with {causes} in {document['findings']}")
            for one in found:
                self.assertTrue(one["remedy"], one)
        for word in causes:
            self.assertIn(word, text.out + text.err)

    def goes_ahead(self):
        """Once the users are gone, check says that nothing is in the way."""
        husk.ok("check", self.tree, "--at", self.disk.path)

    def path(self, *names):
        return os.path.join(self.tree, *names)

    # Unprotecting

    def test_a_refused_unprotect_leaves_nothing_that_looks_like_a_conversion(self):
        at = ["--at", self.disk.path]
        husk.ok("protect", self.tree, "--vault", "v", "--keyfile", self.keyfile, "--skip-free-space", *at)
        own = os.path.join(self.disk.path, ".husk")
        before = manifest.take(own)
        user = self.users.python(self.tree, "held = open(tree + '/file')")
        done = husk.run("unprotect", "v", *at, json=True).expect(husk.REFUSED)
        self.assertFalse(done.document["changed"])
        self.assertIn("busy-process", [finding["kind"] for finding in done.document["findings"]])
        manifest.same(before, manifest.take(own), ["atime", "mtime"], "what is husk's own")
        self.users.end(user)
        erased = husk.ok("erase", "v", "--confirm", "v", *at, json=True).document
        self.assertNotIn("conversion-left", [finding["kind"] for finding in erased["findings"]])

    # Programs

    def test_an_open_file_is_named_with_program_and_pid(self):
        user = self.users.python(self.tree, "held = open(tree + '/file')")
        self.refused("busy-process", f"{PYTHON} (pid {user.pid}) has it open", subject=self.path("file"))
        self.users.end(user)
        self.goes_ahead()

    def test_a_mapping_is_named_after_its_descriptor_was_closed(self):
        user = self.users.python(self.tree, "f = open(tree + '/file', 'r+b'); held = mmap.mmap(f.fileno(), 0); f.close()")
        self.refused("busy-process", f"(pid {user.pid}) has it mapped", subject=self.path("file"))

    def test_a_current_directory_is_named(self):
        user = self.users.python(self.tree, "os.chdir(tree + '/sub dir')")
        self.refused("busy-process", f"(pid {user.pid}) works in it", subject=self.path("sub dir"))

    def test_the_tree_itself_as_current_directory_is_named(self):
        user = self.users.python(self.tree, "os.chdir(tree)")
        self.refused("busy-process", f"(pid {user.pid}) works in it")

    def test_a_running_program_is_named(self):
        disk.run("cp", "/bin/sleep", self.path("program"))
        user = subprocess.Popen([self.path("program"), "600"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.undo.push(self.users.end, user)
        self.undo.push(user.kill)
        self.refused("busy-process", f"program (pid {user.pid}) runs from it", subject=self.path("program"))

    def test_a_root_directory_is_named(self):
        user = self.users.python(self.tree, "os.chroot(tree); os.chdir('/'); os.chdir('sub dir')")
        self.refused("busy-process", f"(pid {user.pid}) has it as its root directory")

    def test_an_open_directory_and_a_path_descriptor_are_named(self):
        user = self.users.python(self.tree, "os.open(tree + '/sub dir', os.O_RDONLY); os.open(tree + '/file', os.O_PATH)")
        self.refused("busy-process", f"(pid {user.pid}) has it open", subject=self.path("sub dir"))
        self.refused("busy-process", f"(pid {user.pid}) has it open", subject=self.path("file"))

    def test_a_program_in_another_mount_namespace_is_named(self):
        # It sees the file by another path, in a namespace where ours does not even exist.
        code = (f"held = open(tree + '/file'); ctypes.CDLL(None).umount2({self.disk.path.encode()!r}, 2)")
        user = self.users.start(["unshare", "--mount", sys.executable, "-c", CHILD, self.tree, code])
        self.refused("busy-process", f"(pid {user.pid}) has it open", subject=self.path("file"))

    def test_the_name_of_a_program_is_escaped(self):
        code = f"ctypes.CDLL(None).prctl({PR_SET_NAME}, b'x\\x1b[2Jy\\n'); held = open(tree + '/file')"
        user = self.users.python(self.tree, code)
        self.refused("busy-process", f"x\\x1b[2Jy\\x0a (pid {user.pid})", subject=self.path("file"))

    def test_names_of_files_are_escaped(self):
        name = b"a\nb\xff\x1b"
        with open(os.path.join(os.fsencode(self.tree), name), "wb"):
            pass
        user = self.users.python(self.tree, f"held = open(os.fsencode(tree) + b'/' + {name!r}, 'rb')")
        self.refused("busy-process", f"(pid {user.pid}) has it open", subject=self.path("a\\x0ab\\xff\\x1b"))

    def test_every_user_of_a_tree_is_named_at_once(self):
        users = [self.users.python(self.tree, "held = open(tree + '/file')") for _ in range(3)]
        documents, text = self.run_both()
        for user in users:
            self.assertIn(f"(pid {user.pid}) has it open", text.out + text.err)
            self.assertTrue(any(f"(pid {user.pid})" in one["cause"] for one in documents[0]["findings"]))

    def test_users_beside_the_tree_do_not_matter(self):
        beside = os.path.join(self.disk.path, "srv", "database")
        os.mkdir(beside)
        self.users.python(beside, "os.chdir(tree); held = open('file', 'w')")
        self.goes_ahead()

    # The kernel

    def test_a_loop_device_is_named(self):
        with open(self.path("image"), "wb") as image:
            image.truncate(1 << 20)
        device = disk.attach(self.undo, self.path("image"))
        self.refused("busy-loop", f"loop device {device} is backed by it", subject=self.path("image"))

    def test_swap_is_named(self):
        with open(self.path("swap file"), "wb") as file:
            file.write(bytes(1 << 20))
        os.chmod(self.path("swap file"), 0o600)
        disk.run("mkswap", self.path("swap file"))
        disk.run("swapon", self.path("swap file"))
        self.undo.push(disk.run, "swapoff", self.path("swap file"))
        self.refused("busy-swap", "it is in use as swap", subject=self.path("swap file"))

    # Mounts

    def overlay(self, options, cwd=None):
        merged = os.path.join(self.outside, "merged")
        os.makedirs(merged, exist_ok=True)
        disk.run("mount", "-t", "overlay", "overlay", "-o", options, merged, cwd=cwd)
        self.undo.push(disk.unmount, merged)
        return merged

    def layers(self, *names):
        for name in names:
            os.makedirs(self.path(name))

    def test_the_layers_of_an_overlay_are_named(self):
        self.layers("lower", "up,p:er", "work")
        options = f"lowerdir={self.tree}/lower,upperdir={self.tree}/up\\,p:er,workdir={self.tree}/work"
        merged = self.overlay(options)
        for name in ("lower", "up,p:er", "work"):
            self.refused("busy-overlay", f"it is a layer of the overlay mount at {merged}", subject=self.path(name))

    def test_lower_layers_with_colons_are_named(self):
        self.layers("one:a", "two")
        self.overlay(f"lowerdir={self.tree}/one\\:a:{self.tree}/two")
        for name in ("one:a", "two"):
            self.refused("busy-overlay", "it is a layer of the overlay", subject=self.path(name))

    def test_layers_by_relative_paths_are_named_where_containers_keep_them(self):
        # As Docker does when its options grow long: DATA/overlay2/ID/merged with layers relative to DATA/overlay2.
        self.layers("overlay2/l/ONE", "overlay2/ID/diff", "overlay2/ID/work", "overlay2/ID/merged")
        disk.run("mount", "-t", "overlay", "overlay", "-o", "lowerdir=l/ONE,upperdir=ID/diff,workdir=ID/work",
                 self.path("overlay2/ID/merged"), cwd=self.path("overlay2"))
        self.undo.push(disk.unmount, self.path("overlay2/ID/merged"))
        for name in ("overlay2/l/ONE", "overlay2/ID/diff"):
            self.refused("busy-overlay", "it is a layer of the overlay", subject=self.path(name))

    def test_a_layer_that_cannot_be_found_counts_as_one_inside(self):
        self.layers("here/lower", "here/upper", "here/work")
        self.overlay("lowerdir=lower,upperdir=upper,workdir=work", cwd=self.path("here"))
        self.refused("busy-overlay", "that cannot be found, and it may lie in here")

    def test_a_lost_layer_on_another_filesystem_does_not_matter(self):
        other = self.undo_enter(disk.ext4(size_mib=64))
        for name in ("lower", "upper", "work"):
            os.makedirs(os.path.join(other.path, "here", name))
        self.overlay("lowerdir=lower,upperdir=upper,workdir=work", cwd=os.path.join(other.path, "here"))
        self.goes_ahead()

    def test_an_overlay_over_a_directory_above_is_named(self):
        upper = self.undo_enter(disk.tmpfs())
        for name in ("upper", "work"):
            os.mkdir(os.path.join(upper.path, name))
        self.overlay(f"lowerdir={self.disk.path}/srv,upperdir={upper.path}/upper,workdir={upper.path}/work")
        self.refused("busy-overlay", "it lies in a layer of the overlay mount")

    def test_a_mount_inside_is_named(self):
        self.mount("-t", "tmpfs", "none", self.path("sub dir"))
        self.refused("busy-mount", "none (tmpfs) is mounted on it", subject=self.path("sub dir"))

    def test_a_bind_mount_out_of_the_tree_is_named(self):
        there = os.path.join(self.outside, "bound")
        os.mkdir(there)
        self.mount("--bind", self.path("sub dir"), there)
        self.refused("busy-bind", f"it is mounted at {there}", subject=self.path("sub dir"))

    def test_a_bind_mount_of_one_file_is_named(self):
        there = os.path.join(self.outside, "bound")
        open(there, "w").close()
        self.mount("--bind", self.path("file"), there)
        self.refused("busy-bind", f"it is mounted at {there}", subject=self.path("file"))

    def test_the_bind_mount_a_tree_is_named_by_is_in_the_way_too(self):
        there = os.path.join(self.outside, "bound")
        os.mkdir(there)
        self.mount("--bind", self.tree, there)
        done = husk.run("check", there, "--at", self.disk.path, json=True).expect(husk.REFUSED)
        self.assertIn("busy-bind", [one["kind"] for one in done.document["findings"]])

    def test_mounts_of_other_mount_namespaces_are_named(self):
        there = os.path.join(self.outside, "bound")
        os.mkdir(there)
        shell = 'mount --bind "$1/sub dir" "$2" && mount -t tmpfs none "$1/sub dir" && echo ready && exec cat'
        user = self.users.start(["unshare", "--mount", "sh", "-c", shell, "sh", self.tree, there])
        where = f"in the mount namespace of cat (pid {user.pid})"
        self.refused("busy-bind", f"it is mounted at {there} {where}", subject=self.path("sub dir"))
        self.refused("busy-mount", "none (tmpfs) is mounted on it", where, subject=self.path("sub dir"))
        self.users.end(user)
        self.goes_ahead()

    def test_mounts_of_a_namespace_nobody_lives_in_are_named(self):
        # As snapd keeps them: the namespace is mounted on a file, which must lie on a private mount.
        kept = os.path.join(self.outside, "kept")
        os.mkdir(kept)
        self.mount("-t", "tmpfs", "none", kept)
        disk.run("mount", "--make-private", kept)
        there, name = os.path.join(self.outside, "bound"), os.path.join(kept, "namespace")
        os.mkdir(there)
        open(name, "w").close()
        try:
            disk.run("unshare", f"--mount={name}", "mount", "--bind", self.path("sub dir"), there)
        except RuntimeError as refused:  # in the tests' own mount namespace the kernel may not let it be kept
            self.skipTest(str(refused))
        self.undo.push(disk.run, "umount", name)
        self.refused("busy-bind", f"it is mounted at {there} in the mount namespace kept at {name}",
                     subject=self.path("sub dir"))

    def test_mounts_of_a_namespace_whose_only_process_is_chrooted_are_named(self):
        # Its mount table begins at its root.
        there = os.path.join(self.outside, "bound")
        os.makedirs(os.path.join(there, "inner"))
        code = f"ctypes.CDLL(None).mount(os.fsencode(tree), b'{there}/inner', None, 0x1000, None); os.chroot({there!r})"
        user = self.users.start(["unshare", "--mount", sys.executable, "-c", CHILD, self.tree, code])
        # The directory it is chrooted to is no mount: of what is mounted below it only a part can be told.
        self.refused("busy-bind", f"it is mounted at /inner in the mount namespace of {PYTHON} (pid {user.pid})")

    def test_a_bind_mount_of_what_was_deleted_does_not_matter(self):
        there = os.path.join(self.outside, "bound")
        os.mkdir(there)
        os.mkdir(self.path("gone"))
        self.mount("--bind", self.path("gone"), there)
        os.rmdir(self.path("gone"))
        self.goes_ahead()

    # Sockets

    def bind_socket(self, name):
        bound = socket.socket(socket.AF_UNIX)
        self.undo.push(bound.close)
        bound.bind(name)
        return bound

    def test_a_bound_socket_is_named(self):
        user = self.users.python(self.tree, "s = socket.socket(socket.AF_UNIX); s.bind(tree + '/s'); s.listen()")
        self.refused("busy-socket", f"{PYTHON} (pid {user.pid}) has a socket bound to it", subject=self.path("s"))

    def test_a_socket_bound_by_a_relative_path_is_named(self):
        user = self.users.python(self.tree, "os.chdir(tree); s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); "
                                            "s.bind('s'); os.chdir('/')")
        self.refused("busy-socket", f"(pid {user.pid}) has a socket bound to it", subject=self.path("s"))

    def test_a_socket_of_another_network_namespace_is_named(self):
        code = "s = socket.socket(socket.AF_UNIX); s.bind(tree + '/s'); s.listen()"
        user = self.users.start(["unshare", "--net", sys.executable, "-c", CHILD, self.tree, code])
        self.refused("busy-socket", f"(pid {user.pid}) has a socket bound to it", subject=self.path("s"))

    def test_a_socket_nobody_listens_on_any_more_does_not_matter(self):
        self.bind_socket(self.path("s")).close()
        self.goes_ahead()

    # NFS

    def exported(self, text, name="/etc/exports"):
        """husk's answers where NAME holds this text, in a mount namespace of its own."""
        stand_in = os.path.join(self.outside, "exports")
        with open(stand_in, "w") as file:
            file.write(text)
        shell = 'set -e; mount -t tmpfs none "$3"; mkdir -p "${2%/*}"; cp "$1" "$2"; shift 3; exec "$@"'
        covered = "/etc" if name.startswith("/etc/") else "/var/lib"
        argv = ["check", self.tree, "--at", self.disk.path, "--json"]
        done = subprocess.run(["unshare", "--mount", "sh", "-c", shell, "sh", stand_in, name, covered, husk.PROGRAM, *argv],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return husk.Done(argv, done.returncode, done.stdout.decode(), done.stderr.decode(), 0)

    def assert_exported(self, text, name="/etc/exports"):
        done = self.exported(text, name).expect(husk.REFUSED)
        found = [one for one in done.document["findings"] if one["kind"] == "nfs-export"]
        self.assertEqual(len(found), 1, str(done))
        self.assertEqual(found[0]["subject"], self.tree)
        self.assertIn(name, found[0]["cause"])
        self.assertTrue(found[0]["remedy"])

    def test_an_export_of_the_tree_or_of_what_is_in_it_or_above_it_is_named(self):
        for path in (self.tree, self.path("sub dir"), os.path.dirname(self.tree), self.disk.path):
            with self.subTest(path):
                self.assert_exported(f'# to the backup host\n"{path}" 10.0.0.0/8(ro)\n')

    def test_exports_that_exportfs_knows_are_named(self):
        path = self.path("sub dir").replace(" ", "\\040")
        self.assert_exported(f"{path}\t*(ro,wdelay)\n", "/var/lib/nfs/etab")
        self.assert_exported(f"{path}\t*(ro)\n", "/etc/exports.d/backup.exports")

    def test_exports_elsewhere_do_not_matter(self):
        beside = os.path.join(self.disk.path, "srv", "database")
        os.mkdir(beside)
        for text in (f"{beside} *(rw)\n", f"#{self.tree} *(rw)\n", f"{self.outside} *(rw)\n", "/no/such/path *(rw)\n"):
            with self.subTest(text):
                self.exported(text).expect(husk.DONE)


if __name__ == "__main__":
    unittest.main()
