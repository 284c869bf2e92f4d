"""A step is one thing scripts/check does: a command whose output goes to a log, and how its tests are counted.

Steps of a tier run a few at a time. What they leave behind (mounts, loop devices, processes) is found by the
scratch directory and the mark in the environment they all get, named, counted as a failure, and taken down.
"""

import concurrent.futures
import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time

MARK = "HUSK_CHECK_RUN"
HEARTBEAT_S = 60
GRACE_S = 30


class Outcome:
    """What came of a step: how many tests passed, which failed, which were skipped and why."""

    def __init__(self, passed=0, failed=(), skipped=()):
        self.passed, self.failed, self.skipped = passed, list(failed), [tuple(item) for item in skipped]
        self.seconds = 0.0
        self.notes = []

    def __str__(self):
        parts = [f"{self.passed} passed"]
        parts += [f"{len(self.failed)} FAILED"] if self.failed else []
        parts += [f"{len(self.skipped)} skipped"] if self.skipped else []
        return ", ".join(parts)


class Step:
    """`count` turns (exit status, log text) into an Outcome; without one the exit status is one test."""

    def __init__(self, name, argv, timeout_s=900, environment=None, count=None, alone=False, long=False, notes=None):
        self.name, self.argv, self.timeout_s = name, argv, timeout_s
        self.environment = environment or {}
        self.count = count
        self.alone = alone  # nothing else may run beside it
        self.long = long  # begun first, so that nothing is waited for in the end
        self.notes = notes  # picks lines worth showing out of the log of a step that passed
        self.log = None


def one_test(step, status):
    return Outcome(1) if status == 0 else Outcome(failed=[step.name])


def count_python(result_path):
    """Counts from what run_test_file.py wrote."""
    def count(step, status, _log):
        try:
            with open(result_path) as file:
                told = json.load(file)
        except (OSError, ValueError):
            return Outcome(failed=[f"{step.name} (ended with {status} before its tests did)"])
        outcome = Outcome(told["passed"], told["failed"], told["skipped"])
        if not outcome.passed and not outcome.failed and not outcome.skipped:
            outcome.failed.append(f"{step.name} (no tests in it)")
        return outcome
    return count


def count_tap(step, status, log):
    """Counts "ok" and "not ok" lines, as cmocka writes them."""
    outcome = Outcome()
    for line in log.splitlines():
        found = re.match(r"(ok|not ok) \d+ - (\S+)(.*)", line)
        if not found:
            continue
        name = f"{step.name}: {found[2]}"
        if "# SKIP" in found[3]:
            outcome.skipped.append((name, "skipped"))
        elif found[1] == "ok":
            outcome.passed += 1
        else:
            outcome.failed.append(name)
    if status != 0 and not outcome.failed:
        outcome.failed.append(f"{step.name} (ended with {status})")
    if status == 0 and not outcome.passed and not outcome.skipped and not outcome.failed:
        outcome.passed = 1
    return outcome


class Runner:
    """Runs steps, `jobs` at a time or as many as a tier wants, each in a process group of its own, so that an end reaches its children."""

    def __init__(self, root, log_directory, jobs, environment):
        self.root, self.log_directory, self.jobs = root, log_directory, jobs
        self.environment = environment
        self.processes = {}
        self.lock = threading.Lock()
        self.stopping_since = None

    def say(self, text):
        with self.lock:
            print(text, flush=True)

    def run_all(self, tier, steps, jobs=None):
        outcomes = []
        together = sorted((step for step in steps if not step.alone), key=lambda step: not step.long)
        with concurrent.futures.ThreadPoolExecutor(jobs or self.jobs) as pool:
            outcomes += pool.map(lambda step: self.run_one(tier, step), together)
        outcomes += [self.run_one(tier, step) for step in steps if step.alone]
        return outcomes

    def run_one(self, tier, step):
        if self.stopping_since:
            return Outcome()
        begun = time.monotonic()
        step.log = os.path.join(self.log_directory, re.sub(r"[^\w.+-]+", "_", f"{tier}-{step.name}") + ".log")
        try:
            status = self._run_logged(tier, step)
        except (OSError, ValueError) as error:
            with open(step.log, "a") as file:
                file.write(f"cannot run {step.argv[0]}: {error}\n")
            status = "an error"
        with open(step.log, errors="replace") as file:
            log = file.read()
        outcome = step.count(step, status, log) if step.count else one_test(step, status)
        outcome.seconds = time.monotonic() - begun
        outcome.notes = step.notes(log) if step.notes else []
        self._tell(tier, step, outcome, log)
        return outcome

    def _run_logged(self, tier, step):
        environment = {**self.environment, **step.environment}
        with open(step.log, "wb") as log:
            process = subprocess.Popen(step.argv, cwd=self.root, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=subprocess.STDOUT, start_new_session=True)
            self.processes[process.pid] = process
            try:
                return self._wait(tier, step, process, log)
            finally:
                del self.processes[process.pid]

    def _wait(self, tier, step, process, log):
        begun = told = time.monotonic()
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(1)
            now = time.monotonic()
            if now - begun > step.timeout_s:
                log.write(f"\nnot done after {step.timeout_s} s: ended\n".encode())
                end_group(process)
                return "a timeout"
            if self.stopping_since and now - self.stopping_since > GRACE_S:
                end_group(process)
            if now - told > HEARTBEAT_S and not self.stopping_since:
                told = now
                self.say(f"{tier:<6}{step.name} is still running ({now - begun:.0f} s)")

    def _tell(self, tier, step, outcome, log):
        lines = [f"{tier:<6}{step.name:<44} {str(outcome):<30} {outcome.seconds:7.1f} s"]
        lines += [f"      {note}" for note in outcome.notes]
        if outcome.failed and not self.stopping_since:
            lines += [f"      failed: {name}" for name in outcome.failed]
            lines += ["    | " + line for line in log.splitlines()[-60:]]
            lines += [f"      all of it: {os.path.relpath(step.log, self.root)}"]
        self.say("\n".join(lines))

    def stop(self):
        """Start nothing more, and end what runs; for a signal handler, so without a lock."""
        self.stopping_since = self.stopping_since or time.monotonic()
        for process in list(self.processes.values()):
            signal_group(process, signal.SIGTERM)


def signal_group(process, number):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def end_group(process):
    """SIGTERM, so that tests undo what they made; SIGKILL for what is then still there."""
    signal_group(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    signal_group(process, signal.SIGKILL)
    process.wait()


def left_behind(scratch, mark):
    """What steps left: [(what, how to take it down)], outermost last."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                marked = f"{MARK}={mark}".encode() in file.read().split(b"\0")
            with open(f"/proc/{pid}/comm") as file:
                name = file.read().strip()
        except OSError:
            continue
        if marked and int(pid) != os.getpid():
            found.append((f"process {pid} ({name})", ["kill", "-9", pid]))
    with open("/proc/self/mountinfo") as file:
        mounts = [line.split()[4] for line in file]
    for point in reversed([point for point in mounts if point.startswith(scratch + "/")]):
        found.append((f"mount {point}", ["umount", "-l", point]))
    loops = subprocess.run(["losetup", "--list", "--noheadings", "--raw", "--output", "NAME,BACK-FILE"],
                           stdout=subprocess.PIPE, text=True).stdout
    for line in loops.splitlines():
        device, _, file = line.partition(" ")
        if file.startswith(scratch + "/"):
            found.append((f"loop device {device} on {file}", ["losetup", "--detach", device]))
    return found


def take_down(found):
    for what, argv in found:
        subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
