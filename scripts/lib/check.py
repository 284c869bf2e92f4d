"""The tiers of scripts/check and what each runs. See scripts/check for its options."""

import argparse
import concurrent.futures
import os
import shutil
import signal
import sys
import tempfile
import time

import builds
import lint
from steps import MARK, Outcome, Runner, Step, count_python, count_tap, left_behind, take_down

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOGS = os.path.join(ROOT, "build", "check")
# Whole commands under the sanitizers, beside the unit tests: the main job and what reads bytes from the disk.
SANITIZED_CLI = ("test_protect.py", "test_unlock.py", "test_keyslot.py", "test_erase.py")
FUZZ_S, FUZZ_LONG_S = 6, 600


def python_files(*parts):
    directory = os.path.join(ROOT, *parts)
    if not os.path.isdir(directory):
        return []
    return sorted(os.path.join(directory, name) for name in os.listdir(directory)
                  if name.startswith("test_") and name.endswith(".py"))


def python_step(path, prefix="", environment=None, timeout_s=2400):
    """A file of tests. One that says "# runs alone" has the machine to itself, one that says "# runs long" begins first."""
    name = prefix + os.path.basename(path)
    result = os.path.join(LOGS, name.replace(" ", "_") + ".json")
    with open(path) as file:
        text = file.read()
    argv = [sys.executable, "-B", os.path.join(ROOT, "scripts", "lib", "run_test_file.py"), path, result]
    return Step(name, argv, timeout_s, environment, count_python(result), "# runs alone" in text, "# runs long" in text)


def unit(options, good):
    # Those of the authority wait for its clocks, so they begin first.
    return [Step(f"{build.name}: {name}", argv, 600, {**build.environment, "CMOCKA_MESSAGE_OUTPUT": "TAP"}, count_tap,
                 long="authority" in name)
            for build in good for name, argv in builds.unit_tests(build)]


def cli(options, good):
    files = python_files("tests", "cli")
    tests = [python_step(path) for path in python_files("tests", "lib") + files] if builds.TEST in good else []
    for path in files if builds.SANITIZED in good else []:
        if options.all or os.path.basename(path) in SANITIZED_CLI:
            tests.append(python_step(path, "sanitized ", builds.SANITIZED.environment, 3600))
    return tests


def crash(options, good):
    return [python_step(path, timeout_s=7200 if options.all else 2400)
            for path in python_files("tests", "crash") if good]


def http(options, good):
    return [python_step(path) for path in python_files("tests", "http") if good]


def vm(options, good):
    if good != [builds.TEST, builds.GUEST]:
        return []
    return [python_step(path, timeout_s=7200 if options.all else 2400) for path in python_files("tests", "vm")]


def fuzz(options, good):
    seconds = FUZZ_LONG_S if options.all else FUZZ_S
    return [Step(name, argv, seconds + 300, builds.FUZZ.environment)
            for name, argv in builds.fuzz_targets(seconds) if good]


# name: (builds it uses, its steps given those that went well); in the order they run.
TIERS = {
    "lint": ([], lambda options, good: lint.steps(ROOT, python_step, python_files, options.all)),
    "unit": ([builds.TEST, builds.SANITIZED], unit),
    "cli": ([builds.TEST, builds.SANITIZED], cli),
    "crash": ([builds.TEST], crash),
    "http": ([builds.TEST], http),
    "fuzz": ([builds.FUZZ], fuzz),
    "vm": ([builds.TEST, builds.GUEST], vm),
}

# Their tests wait for clocks, disks and each other more than they work.
JOBS = {"http": 5, "unit": 8, "cli": 3}
# What the next tier uses is built beside those of this one, which leave room.
BUILT_BESIDE = {"http": builds.FUZZ}


def make(runner, built, build):
    """The future of its outcome, begun when it is first asked for."""
    if build not in built:
        pool = concurrent.futures.ThreadPoolExecutor(1)
        built[build] = pool.submit(runner.run_one, "build", Step(build.name, build.argv(), 1800))
        pool.shutdown(wait=False)
    return built[build]


def run_tier(runner, tier, options, built):
    begun = time.monotonic()
    uses, make_steps = TIERS[tier]
    good = [build for build in uses if not make(runner, built, build).result().failed]
    if tier in BUILT_BESIDE and not options.only:
        make(runner, built, BUILT_BESIDE[tier])
    steps = make_steps(options, good)
    outcomes = runner.run_all(tier, steps, JOBS.get(tier))
    if not steps:
        outcomes.append(Outcome(failed=[f"{tier}: no tests were run in this tier"]))
    return outcomes, time.monotonic() - begun


def make_scratch():
    """Memory where there is plenty, as tests/lib/disk.py chooses; a directory of this run in it."""
    parent = os.environ.get("HUSK_TEST_SCRATCH")
    if not parent:
        room = os.statvfs("/dev/shm") if os.path.isdir("/dev/shm") else None
        parent = "/dev/shm" if room and room.f_bavail * room.f_frsize >= 4 << 30 else tempfile.gettempdir()
    scratch = tempfile.mkdtemp(prefix="husk-check-", dir=parent)
    os.chmod(scratch, 0o711)  # some tests run programs as other users
    return scratch


def environment(scratch, options):
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HUSK")}
    return {**kept, "LC_ALL": "C.UTF-8", "HOME": kept.get("HOME", "/root"), "HUSK": builds.TEST.husk(),
            "HUSK_TEST_SCRATCH": scratch, "HUSK_TEST_LONG": "1" if options.all else "", MARK: str(os.getpid()),
            "PYTHONPATH": os.path.join(ROOT, "tests", "lib"), "PYTHONDONTWRITEBYTECODE": "1"}


def tell_end(outcomes, tier_seconds):
    skipped = [item for outcome in outcomes for item in outcome.skipped]
    failed = [name for outcome in outcomes for name in outcome.failed]
    for name, why in skipped:
        print(f"skipped: {name}: {why}")
    for name in failed:
        print(f"failed: {name}")
    print("time: " + ", ".join(f"{tier} {seconds:.0f} s" for tier, seconds in tier_seconds.items())
          + f", together {sum(tier_seconds.values()):.0f} s")
    print(f"check: {sum(outcome.passed for outcome in outcomes)} passed, {len(failed)} failed", flush=True)
    return 1 if failed else 0


def parse():
    parser = argparse.ArgumentParser(prog="scripts/check")
    parser.add_argument("--only", action="append", choices=list(TIERS), metavar="TIER")
    parser.add_argument("--all", action="store_true")
    return parser.parse_args()


def main():
    options = parse()
    if options.all:
        TIERS["unit"][0].append(builds.CLANG)
    os.umask(0o022)
    shutil.rmtree(LOGS, ignore_errors=True)
    os.makedirs(LOGS)
    scratch = make_scratch()
    runner = Runner(ROOT, LOGS, min(os.cpu_count() or 1, 2), environment(scratch, options))

    # A shell that starts us in the background ignores it, and our children would inherit that.
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: runner.stop())

    outcomes, tier_seconds, built = [], {}, {}
    try:
        if not options.only:
            make(runner, built, builds.GUEST)  # mostly waits for packages, so it goes on beside the first tiers
        for tier in TIERS:
            if (not options.only or tier in options.only) and not runner.stopping_since:
                told, tier_seconds[tier] = run_tier(runner, tier, options, built)
                outcomes += told
        if runner.stopping_since:
            outcomes.append(Outcome(failed=["stopped before its end"]))
    finally:
        outcomes += [outcome.result() for outcome in built.values()]
        found = left_behind(scratch, os.getpid())
        outcomes.append(Outcome(0 if found else 1, [f"left behind: {what}" for what, _ in found]))
        take_down(found)
        shutil.rmtree(scratch, ignore_errors=True)
    return tell_end(outcomes, tier_seconds)


if __name__ == "__main__":
    sys.exit(main())
