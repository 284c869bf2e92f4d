"""What an administrator takes back or sets right: tokens, and where hosts belong."""

import os
import pwd
import shutil
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cli"))

import authority
import husk


class TokenTest(unittest.TestCase):
    def test_tokens_are_listed_without_what_is_secret_and_revoked(self):
        with authority.running() as server:
            self.assertIn("no token", server.ok("token", "list").out)
            used = server.document("token", "create")["result"]
            host = authority.Host(server, "web1")
            host.enroll(used["token"])
            host.close()
            token = server.document("token", "create", "--expires", "2h")["result"]
            told = server.document("token", "list")
            self.assertEqual((told["schema"], told["changed"]), ("huskd.token/1", False))
            self.assertEqual({one["id"]: one["used_by"] for one in told["result"]["tokens"]},
                             {used["id"]: "web1", token["id"]: None})
            out = server.ok("token", "list").out
            for one in used, token:
                self.assertIn(one["id"], out)
                self.assertNotIn(one["token"].split(".")[1], out)
            done = server.run("token", "revoke", used["id"]).expect_error_line_of("huskd", husk.REFUSED)
            self.assertIn("host web1 has used this token", done.err)
            self.assertIn("enrols nobody any more", server.ok("token", "revoke", token["id"][:8]).out)
            self.assertEqual([one["id"] for one in server.document("token", "list")["result"]["tokens"]], [used["id"]])
            done = server.run("token", "revoke", token["id"]).expect_error_line_of("huskd", husk.FAILED)
            self.assertIn("huskd token list", done.err)
            entry = server.document("ledger", "show")["result"]["entries"][-1]
            self.assertEqual((entry["kind"], entry["token"], entry["group"]), ("token-revoked", token["id"], "default"))


class PlacesTest(unittest.TestCase):
    def test_a_host_is_moved_and_renamed_and_its_group_removed(self):
        with authority.running() as server:
            for group in ("wrong", "right"):
                self.assertIn(f"group {group} is made", server.ok("group", "set", group, "--unlock", "approve").out)
                self.assertIn(f"group {group} is as told", server.ok("group", "set", group, "--unlock", "approve").out)
            server.host("wbe1", group="wrong").close()
            done = server.run("group", "remove", "wrong").expect_error_line_of("huskd", husk.REFUSED)
            self.assertIn("1 hosts", done.err)
            self.assertIn("huskd host move", done.err)
            self.assertIn("host wbe1 is in the group right", server.ok("host", "move", "wbe1", "--group", "right").out)
            self.assertFalse(server.document("host", "move", "wbe1", "--group", "right")["changed"])
            done = server.run("host", "move", "wbe1", "--group", "nope").expect_error_line_of("huskd", husk.FAILED)
            self.assertIn("huskd group list", done.err)
            server.run("host", "move", "wbe1").expect_error_line_of("huskd", husk.USAGE)
            told = server.document("host", "rename", "wbe1", "web1")
            self.assertEqual((told["changed"], told["result"]["name"]), (True, "web1"))
            self.assertFalse(server.document("host", "rename", "web1", "web1")["changed"])
            server.run("host", "rename", "web1", "a b").expect_error_line_of("huskd", husk.USAGE)
            self.assertIn("no group wrong any more", server.ok("group", "remove", "wrong").out)
            (host,) = server.document("host", "list")["result"]["hosts"]
            self.assertEqual((host["name"], host["group"]), ("web1", "right"))
            kinds = [entry["kind"] for entry in server.document("ledger", "show")["result"]["entries"]]
            self.assertEqual(kinds[-3:], ["host-moved", "host-renamed", "group-removed"])


class CancelTest(unittest.TestCase):
    def order(self, server):
        return server.document("host", "show", "web1")["result"]["hosts"][0]["orders"][0]

    def test_an_order_that_waits_for_an_agent_is_taken_back(self):
        with authority.running() as server:
            host = server.host("web1")
            beat = {"type": "heartbeat", "boot": "@boot", "lineage": "@id", "facts": authority.FACTS,
                    "descriptor_sequence": 1}
            server.ok("host", "power-off", "web1")
            order = self.order(server)["id"]
            done = server.ok("host", "cancel", "web1", order[:8])
            self.assertIn(f"order {order[:8]} is given no more", done.out)
            self.assertNotIn("carries it out", done.err)
            self.assertEqual(self.order(server)["state"], "cancelled")
            self.assertFalse(server.document("host", "cancel", "web1", order)["changed"])
            self.assertIn("huskd_orders_open 0\n", server.ok("metrics").out)
            self.assertEqual(host.result(beat)["orders"], [])
            server.ok("host", "lock", "web1")
            self.assertEqual(len(host.result(beat)["orders"]), 1)
            done = server.ok("host", "cancel", "web1", self.order(server)["id"])
            self.assertIn("it carries it out where it has taken it", done.err)
            done = server.run("host", "cancel", "web1", "0" * 32).expect_error_line_of("huskd", husk.FAILED)
            self.assertIn("huskd host show", done.err)
            server.ok("host", "erase", "web1", "--confirm", "web1")
            done = server.run("host", "cancel", "web1", self.order(server)["id"])
            self.assertIn("an erase is not cancelled", done.expect_error_line_of("huskd", husk.REFUSED).err)
            host.close()


class DirectoryTest(unittest.TestCase):
    def setUp(self):
        self.directory = authority.make_directory()
        self.addCleanup(shutil.rmtree, self.directory)
        os.chmod(self.directory, 0o711)
        self.path = os.path.join(self.directory, "a")

    def serve(self, path, expect, **options):
        return authority.run("serve", "--dir", path, "--listen", "127.0.0.1:0", **options).expect_error_line_of(
            "huskd", expect)

    def init(self, *words):
        return authority.run("init", "--dir", self.path, "--root-out", self.directory + "/root", "--address",
                             "http://127.0.0.1:4875", *words)

    def test_a_directory_without_an_authority_says_which_command_makes_one(self):
        os.mkdir(self.path)
        done = self.serve(self.path, husk.FAILED)
        self.assertIn(f"there is no authority in {self.path}", done.err)
        for made in done, self.serve(self.path + "/nope", husk.FAILED):
            self.assertIn("huskd init", made.err)

    def test_one_it_may_not_open_says_whose_it_is_and_what_to_chown(self):
        self.init().expect(0)
        nobody = pwd.getpwnam("nobody")
        as_nobody = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        told = f"it belongs to root, and this huskd runs as nobody: run it as root, or chown -R nobody: {self.path}"
        for mode, file in [(0o700, ""), (0o755, "/lock"), (0o755, "/authority.db")]:
            os.chmod(self.path, mode)
            done = self.serve(self.path, husk.FAILED, **as_nobody)
            self.assertIn(f"cannot open {self.path}{file}: Permission denied", done.err)
            self.assertIn(told, done.err)
            os.chmod(self.path + "/lock", 0o666 if file == "/lock" else 0o600)

    def test_one_that_others_can_write_into_is_refused(self):
        self.init().expect(0)
        for mode in 0o777, 0o1777, 0o770, 0o702:
            os.chmod(self.path, mode)
            done = self.serve(self.path, husk.REFUSED)
            self.assertIn(f"(mode {mode:04o})", done.err)
            self.assertIn(f"chmod go-w {self.path}", done.err)
        os.chmod(self.path, 0o755)
        server = authority.Server(self.directory)
        self.addCleanup(server.end)
        server.start()
        server.ok("host", "list")

    def test_none_is_made_where_others_can_write(self):
        os.mkdir(self.path)
        os.chmod(self.path, 0o777)
        self.init().expect_error_line_of("huskd", husk.REFUSED)
        self.assertEqual((os.listdir(self.path), os.listdir(self.directory)), ([], ["a"]))

    def test_a_holder_on_the_same_filesystem_is_warned_of(self):
        done = self.init("--holder", self.directory + "/holder").expect(0)
        self.assertIn("--holder lies on the filesystem of --dir", done.err)
        server = authority.Server(self.directory, ["--holder", self.directory + "/holder"])
        self.addCleanup(server.end)
        server.start()
        self.assertIn("--holder lies on the filesystem of --dir", server.log())


if __name__ == "__main__":
    unittest.main()
