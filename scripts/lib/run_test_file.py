"""Runs the tests of one file and writes what came of them as JSON.

    run_test_file.py tests/cli/test_lock.py RESULT [PATTERN]

The text of the tests goes to stderr. RESULT holds {"passed", "failed": ["name: why"], "skipped": [[name, why]]}.
"""

import importlib.util
import json
import os
import sys
import time
import unittest

SHOWN = 300  # characters of why a test failed; its log has the rest


class Result(unittest.TextTestResult):
    """Counts tests, not subtests: one with failed subtests failed once."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.passed = 0
        self.begun = 0.0
        self.failed = {}

    def startTest(self, test):
        super().startTest(test)
        self.begun = time.monotonic()

    def stopTest(self, test):
        super().stopTest(test)
        self.stream.writeln(f"  ({time.monotonic() - self.begun:.2f} s)")

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._note(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self._note(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note(subtest, err)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.failed.setdefault(_name(test), "passed, and should not have")

    def _note(self, test, err):
        first = f"{err[0].__name__}: {err[1]}".split("\n", 1)[0]
        self.failed.setdefault(_name(test), first[:SHOWN])

    def summary(self):
        return {"passed": self.passed + len(self.expectedFailures),
                "failed": [f"{name}: {why}" for name, why in self.failed.items()],
                "skipped": [[_name(test), why] for test, why in self.skipped]}


def _name(test):
    return getattr(test, "test_case", test).id()


def load(path):
    name = os.path.splitext(os.path.basename(path))[0]
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def main(path, result_path, pattern=None):
    loader = unittest.TestLoader()
    if pattern:
        loader.testNamePatterns = [f"*{pattern}*"]
    suite = loader.loadTestsFromModule(load(path))
    result = unittest.TextTestRunner(resultclass=Result, verbosity=2).run(suite)
    with open(result_path, "w") as file:
        json.dump(result.summary(), file)
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
