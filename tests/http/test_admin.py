"""The administrators' socket and the verbs that use it."""

import json
import os
import pwd
import shutil
import socket
import stat
import subprocess
import threading
import time
import unittest

import authority
import prometheus
import husk


def ask_raw(server, data, patience=20):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(patience)
        sock.connect(f"{server.path}/admin.socket")
        sock.sendall(data)
        answer = b""
        while True:
            got = sock.recv(65536)
            if not got:
                return answer
            answer += got


def name_of(uid):
    """As the ledger has it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def login_uid():
    """None where the kernel knows of none."""
    try:
        with open("/proc/self/loginuid") as file:
            uid = int(file.read())
    except FileNotFoundError:
        return None
    return None if uid == 2 ** 32 - 1 else uid


class SocketTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.running = authority.running()
        cls.server = cls.running.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.running.__exit__(None, None, None)

    def test_one_line_brings_one_line(self):
        answer = ask_raw(self.server, b'{"operation":"host list","arguments":{}}\n')
        self.assertTrue(answer.endswith(b"\n") and answer.count(b"\n") == 1)
        self.assertEqual(json.loads(answer), {"result": {"hosts": []}, "changed": False, "error": None})

    def test_garbage_is_told_so(self):
        for line in [b"\n", b"{}\n", b"garbage\n", b"\0\0\0\n", b'{"operation":"host list"}\n', b"[" * 5000 + b"\n",
                     b'{"operation":"host list","arguments":{}} {}\n', b'{"operation":"host list","arguments":{}}\n{}\n',
                     b'{"operation":"frob","arguments":{}}\n', b'{"operation":"host show","arguments":{"host":1}}\n',
                     os.urandom(1000).replace(b"\n", b"x") + b"\n", b"x" * 65535 + b"\n"]:
            told = json.loads(ask_raw(self.server, line))
            self.assertEqual((told["result"], told["changed"]), (None, False))
            self.assertEqual(told["error"]["code"], "usage", line[:60])
        self.server.ok("host", "list")

    def test_a_huge_line_is_not_read_to_its_end(self):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(f"{self.server.path}/admin.socket")
            with self.assertRaises(OSError):
                for _ in range(1000):
                    sock.sendall(b"x" * 65536)
        self.server.ok("host", "list")

    def test_silent_ones_are_let_go_and_keep_nobody_waiting(self):
        socks = []
        for _ in range(20):
            socks.append(socket.socket(socket.AF_UNIX))
            socks[-1].settimeout(20)
            socks[-1].connect(f"{self.server.path}/admin.socket")
        socks[0].sendall(b'{"operation"')
        begun = time.monotonic()
        self.server.ok("host", "list")
        self.assertLess(time.monotonic() - begun, 3)
        for sock in socks:
            self.assertIn(b'"error":{', sock.recv(4096))
            sock.close()
        self.assertLess(time.monotonic() - begun, 15)

    def test_more_than_there_are_places_for_are_told_to_try_again(self):
        socks = []
        for _ in range(32):
            socks.append(socket.socket(socket.AF_UNIX))
            socks[-1].connect(f"{self.server.path}/admin.socket")
        time.sleep(0.3)
        self.server.run("host", "list").expect_error_line_of("huskd", husk.REFUSED)
        for sock in socks:
            sock.close()
        time.sleep(0.3)
        self.server.ok("host", "list")

    def test_many_at_once_are_all_served(self):
        failed = []

        def work():
            for _ in range(10):
                done = self.server.run("token", "create", json=True)
                if done.status != 0:
                    failed.append(str(done))
        threads = [threading.Thread(target=work) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failed, [])
        self.server.ok("ledger", "verify")

    def test_only_its_user_and_group_may_use_it(self):
        status = os.stat(f"{self.server.path}/admin.socket")
        self.assertTrue(stat.S_ISSOCK(status.st_mode))
        self.assertEqual(stat.S_IMODE(status.st_mode), 0o660)
        nobody = pwd.getpwnam("nobody")
        os.chmod(self.server.directory, 0o711)
        os.chmod(self.server.path, 0o711)
        try:
            done = self.server.run("host", "list", user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[])
            done.expect_error_line_of("huskd", husk.REFUSED)
            self.assertIn("admin.socket", done.err)
        finally:
            os.chmod(self.server.path, 0o700)

    def test_a_ledger_that_has_no_such_entry_is_not_empty(self):
        told = self.server.document("ledger", "show")["result"]
        self.assertEqual(told["entries"][-1]["sequence"], told["last"])
        self.assertIn(f"the last entry of the ledger is {told['last']}",
                      self.server.ok("ledger", "show", "--from", "9999").out)

    def test_the_ledger_says_who(self):
        self.server.ok("token", "create", env={"SUDO_UID": "1"})
        self.server.ok("token", "create", env={"SUDO_UID": "nonsense"})
        actors = [entry["actor"] for entry in self.server.document("ledger", "show")["result"]["entries"]
                  if entry["kind"] == "token"][-2:]
        login = login_uid()
        if login is not None:
            self.assertEqual(actors, [f"{name_of(login)} (uid 0)"] * 2)
        else:
            self.assertEqual(actors, [f"{name_of(1)} (by sudo) (uid 0)", "root (uid 0)"])

    def test_the_login_user_goes_before_what_sudo_says(self):
        def log_in():
            with open("/proc/self/loginuid", "w") as file:
                file.write("1")
        if login_uid() is not None:
            self.skipTest("this process has a login user, which cannot be changed: the test before saw its name")
        try:
            self.server.ok("token", "create", env={"SUDO_UID": "2"}, preexec_fn=log_in)
        except subprocess.SubprocessError:
            self.skipTest("this kernel, or what this process may do, has no login users")
        actors = [entry["actor"] for entry in self.server.document("ledger", "show")["result"]["entries"]
                  if entry["kind"] == "token"]
        self.assertEqual(actors[-1], f"{name_of(1)} (uid 0)")


class PeopleTest(unittest.TestCase):
    """Users of this machine who may use the socket."""

    GROUP = 54321
    ALICE, BOB, ADMIN = (pwd.getpwnam(name).pw_uid for name in ("daemon", "bin", "sys"))
    OF_ALICE = 2147480001  # one of many numbers that a person may have in containers: no user of this machine

    def setUp(self):
        self.server = self.enterContext(authority.running())
        # As the packages make it: the directory open to pass through, the socket the group's.
        for path in self.server.directory, self.server.path:
            os.chmod(path, 0o711)
        self.addCleanup(os.chmod, self.server.path, 0o700)
        os.chown(f"{self.server.path}/admin.socket", 0, self.GROUP)
        self.server.ok("group", "set", "two", "--unlock", "approve", "--approvals", "2")
        self.host = self.server.host("web1", group="two")
        self.addCleanup(self.host.close)
        self.keyslot = os.urandom(16).hex()
        self.host.result({"type": "bind", "keyslot": self.keyslot, "vault": os.urandom(16).hex(), "vault_name": "data",
                          "blinded": ["@point", "@point"]})

    def ask(self):
        asked = self.host.result({"type": "open", "boot": "@boot", "planned": False, "facts": authority.FACTS,
                                  "open": [{"keyslot": self.keyslot, "blinded": "@point"}], "wait_s": 0})
        self.assertEqual(asked["state"], "pending")
        self.request = asked["request"]

    def approve_as(self, uid, groups=(GROUP,), sudo=None):
        """What becomes of the request when that user, in these groups, approves it."""
        words = ["setpriv", f"--reuid={uid}", f"--regid={uid}"]
        words += [f"--groups={','.join(map(str, groups))}"] if groups else ["--clear-groups"]
        environment = {**os.environ, "SUDO_UID": str(sudo)} if sudo else {**os.environ}
        done = subprocess.run([*words, authority.PROGRAM, "request", "approve", self.request, "--dir", self.server.path,
                               "--json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment, timeout=60)
        document = json.loads(done.stdout)
        return done.returncode, document["error"]["code"] if document["error"] else self.state()

    def test_an_approver_is_told_what_the_approval_is_worth(self):
        self.ask()
        done = self.server.run("request", "approve", self.request)
        self.assertIn("root is none of them", done.expect_error_line_of("huskd", husk.REFUSED).err)
        for uid, told in (self.ALICE, "1 of 2 people"), (self.BOB, "2 of 2 people"):
            done = subprocess.run(["setpriv", f"--reuid={uid}", f"--regid={uid}", f"--groups={self.GROUP}",
                                   authority.PROGRAM, "request", "approve", self.request, "--dir", self.server.path],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=60)
            self.assertEqual(done.returncode, 0)
            self.assertIn(told, done.stdout)

    def state(self):
        return self.host.result({"type": "open", "boot": "@boot", "request": self.request, "wait_s": 0})["state"]

    def test_two_people_are_two_users_who_may_use_the_socket(self):
        self.ask()
        self.assertEqual(self.approve_as(self.ALICE), (0, "pending"))
        self.assertEqual(self.approve_as(self.BOB), (0, "granted"))
        actors = [entry["actor"] for entry in self.server.document("ledger", "show")["result"]["entries"]
                  if entry["kind"] == "approval"]
        self.assertEqual(actors, [f"{name_of(uid)} (uid {uid})" for uid in (self.ALICE, self.BOB)])

    def test_one_person_twice_and_root_beside_them_are_one(self):
        self.ask()
        self.assertEqual(self.approve_as(self.ALICE), (0, "pending"))
        self.assertEqual(self.approve_as(self.ALICE), (0, "pending"))
        self.assertEqual(self.approve_as(0, groups=()), (husk.REFUSED, "denied"))
        for uid in self.ALICE, self.BOB, self.ADMIN:  # root says whom it stands for: nobody counts it
            self.assertEqual(self.approve_as(0, groups=(), sudo=uid), (husk.REFUSED, "denied"))
        self.assertEqual(self.state(), "pending")
        # A user who is not root says it stands for another: it is itself.
        self.assertEqual(self.approve_as(self.ALICE, sudo=self.BOB), (0, "pending"))
        self.assertEqual(self.approve_as(self.BOB, sudo=self.ALICE), (0, "granted"))

    def test_a_number_that_is_no_user_is_nobody(self):
        """newuidmap lets a person be any of the numbers in /etc/subuid, and they keep their groups."""
        self.ask()
        self.assertEqual(self.approve_as(self.ALICE), (0, "pending"))
        self.assertEqual(self.approve_as(self.OF_ALICE), (husk.REFUSED, "denied"))
        self.assertEqual(self.state(), "pending")
        self.assertEqual(self.approve_as(self.BOB), (0, "granted"))

    def test_who_is_not_of_the_group_is_not_heard(self):
        self.ask()
        self.assertEqual(self.approve_as(self.ALICE), (0, "pending"))
        self.assertEqual(self.approve_as(self.BOB, groups=()), (husk.REFUSED, "denied"))
        self.assertEqual(self.state(), "pending")


class VerbsTest(unittest.TestCase):
    def test_without_huskd_every_verb_says_so(self):
        directory = authority.make_directory()
        try:
            server = authority.Server(directory).init()
            for words in [["host", "list"], ["token", "create"], ["request", "approve", "x"], ["metrics"],
                          ["group", "set", "g"], ["host", "erase", "h", "--confirm", "h"]]:
                done = server.run(*words).expect_error_line_of("huskd", husk.NOT_NOW)
                self.assertIn("no huskd answers", done.err)
                self.assertIn("systemctl start huskd", done.err)
                told = server.run(*words, json=True).expect(husk.NOT_NOW).document
                self.assertEqual(told["error"]["code"], "unreachable")
            long = authority.run("host", "list", "--dir", "/" + "x" * 150).expect_error_line_of("huskd", husk.USAGE)
            self.assertIn("too long", long.err)
        finally:
            shutil.rmtree(directory)

    def test_hosts_groups_and_requests_by_their_verbs(self):
        with authority.running() as server:
            server.ok("group", "set", "web", "--unlock", "approve", "--approvals", "1", "--request-ttl", "10m",
                      "--sources", "127.0.0.0/8", "--sources", "10.0.0.0/8", "--window", "none")
            group = [found for found in server.document("group", "list")["result"]["groups"] if found["name"] == "web"]
            self.assertEqual((group[0]["unlock"], group[0]["request_ttl"], group[0]["sources"]),
                             ("approve", 600, ["127.0.0.0/8", "10.0.0.0/8"]))
            self.assertFalse(server.document("group", "set", "web", "--unlock", "approve")["changed"])
            server.ok("group", "set", "web", "--sources", "none")
            host = server.host("web1", group="web")
            host.result({"type": "heartbeat", "boot": "@boot", "lineage": "@id", "facts": authority.FACTS,
                         "descriptor_sequence": 1})
            keyslot = os.urandom(16).hex()
            host.result({"type": "bind", "keyslot": keyslot, "vault": os.urandom(16).hex(), "vault_name": "data",
                         "blinded": ["@point", "@point"]})
            told = server.document("host", "list")
            self.assertEqual(told["schema"], "huskd.host/1")
            self.assertEqual({name: told["result"]["hosts"][0][name] for name in ("name", "group", "state", "keyslots")},
                             {"name": "web1", "group": "web", "state": "active", "keyslots": 1})
            asked = host.result({"type": "open", "boot": "@boot", "planned": False, "facts": authority.FACTS,
                                 "open": [{"keyslot": keyslot, "blinded": "@point"}], "wait_s": 0})
            self.assertEqual(asked["state"], "pending")
            told = server.document("request", "list")
            self.assertEqual(told["schema"], "huskd.request/1")
            request = told["result"]["requests"][0]
            self.assertEqual((request["id"], request["host"], request["state"], request["code"]),
                             (asked["request"], "web1", "pending", asked["code"]))
            host.post({"type": "open", "boot": "@boot", "request": asked["request"], "wait_s": 30})
            time.sleep(0.3)
            self.assertFalse(host.has_answer())
            for _ in range(3):  # none of these is a wrong code, of which three deny
                server.run("request", "approve", request["id"], "--code", "123").expect_error_line_of("huskd", husk.USAGE)
            done = server.ok("request", "approve", request["id"][:8])  # as the host shows it
            self.assertIn(request["id"], done.out)
            for named in request["id"][:7], "x" * 32, request["id"] + "0":
                server.run("request", "approve", named).expect_error_line_of("huskd", husk.USAGE)
            self.assertEqual(host.take(5)["object"]["result"]["state"], "granted")  # at once, not after 30 s
            server.ok("host", "hold", "web1")
            self.assertFalse(server.document("host", "hold", "web1")["changed"])
            self.assertEqual(server.document("host", "show", "web1")["result"]["hosts"][0]["state"], "held")
            server.ok("host", "release", "web1")
            server.run("host", "show", "web2").expect_error_line_of("huskd", husk.FAILED)
            done = server.run("host", "erase", "web1").expect(husk.USAGE)
            self.assertIn(f"huskd host erase --dir {server.path} web1 --confirm web1", done.err)
            asked = host.result({"type": "open", "boot": "@boot", "planned": False,
                                 "facts": {**authority.FACTS, "cmdline_hash": "ab" * 32},
                                 "open": [{"keyslot": keyslot, "blinded": "@point"}], "wait_s": 0})
            (request,) = server.document("request", "list")["result"]["requests"]
            self.assertEqual((request["reported_facts"]["cmdline_hash"], request["accepted_facts"],
                              request["changed_facts"], request["ticket"], request["planned"]),
                             ("ab" * 32, authority.FACTS, ["cmdline_hash"], None, False))
            out = server.ok("request", "list").out
            self.assertIn("reported by the host (a tampered boot can lie): not planned", out)
            self.assertIn(f"cmdline_hash: {'ab' * 32}", out)
            self.assertIn(f"let in or enrolled: cmdline_hash, which was {authority.FACTS['cmdline_hash']}", out)
            server.ok("host", "erase", "web1", "--confirm", "web1")
            self.assertEqual(server.document("host", "show", "web1")["result"]["hosts"][0]["state"], "erased")
            # What no approval lets open any more is not called approved, nor does it wait for one.
            done = server.run("request", "approve", asked["request"]).expect_error_line_of("huskd", husk.REFUSED)
            self.assertIn("host web1 is erased", done.err)
            self.assertEqual(server.document("request", "list")["result"]["requests"], [])
            host.close()

    def test_what_is_not_there_is_named_with_where_to_look(self):
        with authority.running() as server:
            for words, remedy in [(("host", "list", "--group", "nope"), "huskd group list"),
                                  (("token", "create", "--group", "nope"), "huskd group list"),
                                  (("host", "show", "nope"), "huskd host list"),
                                  (("request", "approve", "0" * 32), "huskd request list"),
                                  (("keycopy", "destroyed", "1234"), "huskd keycopy list")]:
                done = server.run(*words).expect_error_line_of("huskd", husk.FAILED)
                self.assertIn(remedy, done.err)

    def test_metrics_are_in_the_form_of_prometheus(self):
        with authority.running() as server:
            self.assertIn("huskd_hosts", prometheus.parse(server.ok("metrics").out))

    def test_times_are_read_strictly(self):
        with authority.running() as server:
            for text in ["24", "1x", "h", "-1h", "1h30m", "1.5h", "99999999999999999999", "4000d", " 1h"]:
                done = server.run("token", "create", "--expires", text).expect_error_line_of("huskd", husk.USAGE)
                self.assertIn("--expires", done.err)
            for text in ["0s", "91d", "3653d"]:
                done = server.run("token", "create", "--expires", text).expect_error_line_of("huskd", husk.USAGE)
                self.assertIn("--expires is from 1s to 90d", done.err)
            begun = time.time()
            told = server.document("token", "create", "--expires", "2h")["result"]
            self.assertTrue(7190 < told["expires_at"] - begun < 7210)


class InitTest(unittest.TestCase):
    def setUp(self):
        self.directory = authority.make_directory()

    def tearDown(self):
        shutil.rmtree(self.directory)

    def init(self, path, root, **options):
        return authority.run("init", "--dir", path, "--root-out", root, "--address", "http://192.0.2.1:4875", **options)

    def test_the_root_is_written_once_and_only_for_its_owner(self):
        path, root = f"{self.directory}/a", f"{self.directory}/root.key"
        done = self.init(path, root).expect(0)
        self.assertIn(root, done.out)
        self.assertIn("--holder", done.err)
        self.assertEqual(stat.S_IMODE(os.stat(root).st_mode), 0o600)
        with open(root, "rb") as file:
            key = file.read()
        for name in os.listdir(path):
            with open(f"{path}/{name}", "rb") as file:
                self.assertNotIn(key[:32], file.read(), name)
        self.init(path, f"{self.directory}/second.key").expect(husk.REFUSED)
        self.assertFalse(os.path.exists(f"{self.directory}/second.key"))
        self.init(f"{self.directory}/b", root).expect(husk.REFUSED)
        with open(root, "rb") as file:
            self.assertEqual(file.read(), key)

    def test_addresses_are_checked_and_nothing_stays_behind(self):
        for address in ["ftp://x", "x", "http://" + "a" * 300, "https://husk.example", "http://", "http://a:0"]:
            done = authority.run("init", "--dir", f"{self.directory}/a", "--root-out", f"{self.directory}/root.key",
                                 "--address", address)
            done.expect_error_line_of("huskd", husk.USAGE)
            self.assertFalse(os.path.exists(f"{self.directory}/root.key"))
        self.init(f"{self.directory}/a", f"{self.directory}/root.key").expect(0)

    def test_what_root_makes_belongs_to_the_user_of_the_directory(self):
        daemon = pwd.getpwnam("daemon")
        os.chmod(self.directory, 0o711)
        os.mkdir(f"{self.directory}/a")
        os.chown(f"{self.directory}/a", daemon.pw_uid, daemon.pw_gid)
        done = authority.run("init", "--dir", f"{self.directory}/a", "--root-out", f"{self.directory}/root.key",
                             "--address", "x")
        done.expect(husk.USAGE)
        self.assertFalse(os.path.exists(f"{self.directory}/root.key"))
        self.init(f"{self.directory}/a", f"{self.directory}/root.key").expect(0)
        for name in os.listdir(f"{self.directory}/a"):
            self.assertEqual(os.stat(f"{self.directory}/a/{name}").st_uid, daemon.pw_uid, name)
        self.assertEqual(os.stat(f"{self.directory}/root.key").st_uid, 0)
        server = authority.Server(self.directory)
        open(server.log_path, "w").close()
        server.start(user=daemon.pw_uid, group=daemon.pw_gid, extra_groups=[])
        try:
            server.ok("host", "list")
        finally:
            self.assertEqual(server.end(), 0)


if __name__ == "__main__":
    unittest.main()
