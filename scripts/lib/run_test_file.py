"""Runs the tests of one file and writes what came of them as JSON.

    run_test_file.py tests/cli/test_lock.py RESULT [PATTERN]

The text of the tests goes to stderr. RESULT holds {"passed", "failed": [names], "skipped": [[name, why]]}.
"""

import importlib.util
import json
import os
import sys
import time
import unittest


class Result(unittest.TextTestResult):
    """Counts tests, not subtests: one with failed subtests failed once."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.passed = 0
        self.begun = 0.0

    def startTest(self, test):
        super().startTest(test)
        self.begun = time.monotonic()

    def stopTest(self, test):
        super().stopTest(test)
        self.stream.writeln(f"  ({time.monotonic() - self.begun:.2f} s)")

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1

    def names_of_failed(self):
        names = {_name(test): None for test, _ in self.failures + self.errors}
        names.update({_name(test): None for test in self.unexpectedSuccesses})
        return list(names)

    def summary(self):
        return {"passed": self.passed + len(self.expectedFailures), "failed": self.names_of_failed(),
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
