"""What an administrator takes back or sets right: tokens, and where hosts belong."""

import os
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
                server.ok("group", "set", group, "--unlock", "approve")
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


if __name__ == "__main__":
    unittest.main()
