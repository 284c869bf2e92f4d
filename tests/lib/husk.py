"""Runs the husk under test: $HUSK, else build/husk of this tree.

    done = husk.run("status", "--at", d.path, json=True)
    done.status, done.out, done.err, done.document["result"]
    husk.ok("protect", ...)                          # must exit 0
    husk.run(..., fault="convert.exchange:crash:2")  # test builds only: kills itself at the second hit
    with husk.paused("convert.copy", "protect", ...) as process:   # stopped there
        ...
    process.done                                     # it went on and ended

Actions of faults are crash (SIGKILL itself), pause (SIGSTOP itself), enospc and eio.
"""

import contextlib
import json as json_module
import os
import signal
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("HUSK", os.path.join(ROOT, "build", "husk"))
TIMEOUT_S = 120
SHOWN = 2500

DONE, FAILED, USAGE, REFUSED, NOT_NOW, INCOMPLETE = range(6)


class Unexpected(AssertionError):
    """husk ended otherwise than the test demands; the message shows the command and what it wrote."""


class Done:
    """How a run ended. `status` is the exit status, or minus the signal that ended it."""

    def __init__(self, argv, status, out, err, seconds):
        self.argv, self.status, self.out, self.err, self.seconds = argv, status, out, err, seconds

    @property
    def crashed(self):
        return self.status == -signal.SIGKILL

    @property
    def document(self):
        """The one JSON document on stdout."""
        return json_module.loads(self.out)

    def expect(self, *statuses):
        if self.status not in statuses:
            raise Unexpected(f"exit {self.status}, not {' or '.join(map(str, statuses))}: {self}")
        return self

    def expect_error_line(self, *statuses):
        """It failed with a status of these, and one line "husk: MESSAGE" ends stderr, perhaps with what to do."""
        return self.expect_error_line_of("husk", *statuses)

    def expect_error_line_of(self, program, *statuses):
        self.expect(*statuses)
        lines = self.err.splitlines()
        at = [number for number, line in enumerate(lines) if line.startswith(f"{program}: ")]
        if len(at) != 1 or any(not line.startswith("  what to do: ") for line in lines[at[0] + 1:]):
            raise Unexpected(f"not one error line, with at most what to do behind it: {self}")
        return self

    def __str__(self):
        command = " ".join(map(os.fsdecode, self.argv))
        return f"{command}\n--- stdout\n{_end(self.out)}\n--- stderr\n{_end(self.err)}"


def _end(text):
    return text if len(text) <= SHOWN else f"... {text[-SHOWN:]}"


def _environment(fault, extra):
    environment = {key: value for key, value in os.environ.items() if key != "HUSK_FAULT"}
    environment.update(extra or {})
    if fault:
        environment["HUSK_FAULT"] = fault
    return environment


def _argv(arguments, json):
    return [PROGRAM, *arguments] + (["--json"] if json else [])


def run(*arguments, fault=None, json=False, stdin=b"", timeout=TIMEOUT_S, env=None, **options):
    argv = _argv(arguments, json)
    begun = time.monotonic()
    try:
        done = subprocess.run(argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                              env=_environment(fault, env), **options)
    except subprocess.TimeoutExpired as late:
        told = (late.stderr or b"").decode(errors="replace")
        raise Unexpected(f"still running after {timeout} s: {' '.join(map(os.fsdecode, argv))}\n{told}") from None
    return Done(argv, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"),
                time.monotonic() - begun)


def ok(*arguments, **options):
    return run(*arguments, **options).expect(DONE)


class Paused:
    def __init__(self, process, argv):
        self.process, self.argv = process, argv
        self.done = None

    @property
    def pid(self):
        return self.process.pid

    def go_on(self, timeout=TIMEOUT_S):
        self.process.send_signal(signal.SIGCONT)
        out, err = self.process.communicate(timeout=timeout)
        self.done = Done(self.argv, self.process.returncode, out.decode(errors="replace"),
                         err.decode(errors="replace"), 0)
        return self.done


@contextlib.contextmanager
def paused(point, *arguments, json=False, hit=1, env=None, timeout=TIMEOUT_S):
    """husk, stopped at the `hit`-th pass of the fault point; it goes on when the block ends, which sets `done`."""
    argv = _argv(arguments, json)
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=_environment(f"{point}:pause:{hit}", env))
    stopped = Paused(process, argv)
    try:
        _wait_stopped(stopped, point, timeout)
        yield stopped
        if stopped.done is None:
            stopped.go_on(timeout)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def _wait_stopped(stopped, point, timeout):
    limit = time.monotonic() + timeout
    while time.monotonic() < limit:
        found = os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is not None and found.si_code == os.CLD_STOPPED:
            return
        if found is not None:
            out, err = stopped.process.communicate()
            raise Unexpected(f"ended without reaching {point}: " + str(Done(
                stopped.argv, stopped.process.returncode, out.decode(errors="replace"),
                err.decode(errors="replace"), 0)))
        time.sleep(0.005)
    raise Unexpected(f"did not reach {point} in {timeout} s")


def list_faults():
    """Names of all fault points of the husk under test; empty when it is no test build or is not there."""
    if not os.access(PROGRAM, os.X_OK):
        return []
    done = run("--list-faults")
    return done.out.split() if done.status == DONE else []


def missing():
    """None when there is a husk to test, else why not (for skipUnless)."""
    return None if os.access(PROGRAM, os.X_OK) else f"{PROGRAM} is not built"


def keyfile(directory, name="keyfile"):
    """A fresh keyfile of 64 random bytes; returns its path."""
    path = os.path.join(directory, name)
    with open(path, "wb") as file:
        file.write(os.urandom(64))
    os.chmod(path, 0o600)
    return path
