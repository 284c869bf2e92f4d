"""Runs the test files of one directory, one after the other; what tests/cli/run and tests/crash/run are made of."""

import argparse
import os
import subprocess
import sys


def main(directory):
    parser = argparse.ArgumentParser(description=f"Runs the tests in {os.path.basename(directory)}. As root.")
    parser.add_argument("--all", action="store_true", help="the long forms")
    parser.add_argument("names", nargs="*", help="test files, as test_faults.py; all of them when none is named")
    options = parser.parse_args()
    names = options.names or sorted(name for name in os.listdir(directory)
                                    if name.startswith("test_") and name.endswith(".py"))
    environment = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.abspath(__file__)),
                       HUSK_TEST_LONG="1" if options.all else "")
    failed = []
    for name in names:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, "-B", os.path.join(directory, name), "-v"], env=environment).returncode:
            failed.append(name)
    print("== failed: " + ", ".join(failed) if failed else f"== all {len(names)} passed")
    return 1 if failed else 0
