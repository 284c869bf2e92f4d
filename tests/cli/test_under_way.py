"""A directory that is to join a vault whose conversion of another one was cut short: the plan says what comes of both."""

import os
import unittest

import document
import husk
from job import Job, needs_faults


@needs_faults
class UnderWayTest(Job):
    def setUp(self):
        super().setUp()
        self.other = self.make_tree("srv/other")

    def actions(self, verb, *words, expect=husk.DONE):
        found = self.json(verb, self.other, "--vault", "v", *words, expect=expect)
        return {item["path"]: item["action"] for item in found["result"]["directories"]}, found

    def test_it_is_in_the_plan_that_the_interrupted_one_is_finished_first(self):
        for point in ("convert.copied", "convert.recorded", "convert.proven-old"):
            with self.subTest(point):
                self.setUp()
                self.assertTrue(self.protect(expect=None, fault=f"{point}:crash").crashed)
                expected = {self.tree: "continue", self.other: "copy"}
                self.assertEqual(self.actions("check")[0], expected)
                told = self.call("check", self.other, "--vault", "v", expect=husk.DONE).out
                self.assertIn(f"  {self.tree}: finish its interrupted conversion first\n", told)
                self.assertEqual(self.actions("protect", "--skip-free-space")[0], expected)
                self.assertEqual(self.status()["directories"], [self.tree, self.other])
                self.assertIsNone(self.status()["conversion"])

    def test_what_is_in_its_way_is_told_by_the_plan(self):
        self.assertTrue(self.protect(expect=None, fault="convert.copied:crash").crashed)
        with open(os.path.join(self.tree, "file2")):
            for verb in "check", "protect":
                _, found = self.actions(verb, expect=husk.REFUSED)
                self.assertIn(self.tree, found["error"]["message"])

    def test_it_is_finished_also_with_one_that_is_protected_already(self):
        self.protect(self.other)
        self.assertTrue(self.protect(expect=None, fault="convert.proven-old:crash").crashed)
        self.assertEqual(self.actions("check")[0], {self.tree: "continue", self.other: "nothing"})
        self.actions("protect", "--skip-free-space")
        self.assertIsNone(self.status()["conversion"])

    def test_one_that_was_moved_away_since_is_no_obstacle(self):
        self.assertTrue(self.protect(expect=None, fault="convert.proven-old:crash").crashed)
        os.rename(self.tree, self.path("srv/elsewhere"))
        self.actions("check")
        self.actions("protect", "--skip-free-space")
        self.assertIsNone(self.status()["conversion"])

    def test_one_inside_of_it_is_refused(self):
        self.assertTrue(self.protect(expect=None, fault="convert.copied:crash").crashed)
        for path in (os.path.join(self.tree, "below"), os.path.dirname(self.tree)):
            for verb in "check", "protect":
                found = self.json(verb, path, "--vault", "v", expect=husk.REFUSED)
                self.assertIn("converting-already", document.kinds(found))

    def test_nothing_joins_while_it_is_unprotected(self):
        self.protect()
        self.assertTrue(self.call("unprotect", "v", fault="convert.copied:crash").crashed)
        for verb in "check", "protect":
            _, found = self.actions(verb, expect=husk.REFUSED)
            self.assertIn("converting-already", document.kinds(found))
            self.assertIn("--abort --vault v", found["error"]["remedy"])
        self.call("protect", "--abort", "--vault", "v", expect=husk.DONE)
        self.actions("check")


if __name__ == "__main__":
    unittest.main()
