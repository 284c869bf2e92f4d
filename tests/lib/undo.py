"""Undoing what a test set up: mounts, loop devices, processes, scratch directories.

An Undo is a stack of steps. close() runs them last first, and runs every step even if an earlier one failed. Stacks
still open when the process ends are closed then, also when it is ended by SIGTERM, SIGHUP or Ctrl-C: those become an
exception that unittest does not swallow. A process killed by SIGKILL cannot undo anything.
"""

import atexit
import os
import signal
import sys

_open_stacks = []


class Terminated(KeyboardInterrupt):
    """A signal asked this process to end. (A KeyboardInterrupt, so that unittest stops too.)"""


class UndoFailed(Exception):
    """Some steps failed; all were tried."""


class Undo:
    def __init__(self):
        self._steps = []
        self._pid = os.getpid()
        _open_stacks.append(self)

    def push(self, function, *args):
        self._steps.append((function, args))

    def close(self):
        failures = []
        while self._steps:
            function, args = self._steps.pop()
            try:
                function(*args)
            except Exception as failure:
                failures.append(f"{getattr(function, '__name__', function)}{args}: {failure}")
        if self in _open_stacks:
            _open_stacks.remove(self)
        if failures:
            raise UndoFailed("; ".join(failures))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _close_all():
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    for stack in reversed(list(_open_stacks)):
        # A forked child inherits the list but owns nothing in it.
        if stack._pid != os.getpid():
            continue
        try:
            stack.close()
        except UndoFailed as failure:
            print(f"left behind: {failure}", file=sys.stderr)


def _terminate(number, _frame):
    raise Terminated(f"ended by {signal.Signals(number).name}")


def handle_signals():
    """Make SIGTERM and SIGHUP unwind the stack. Called on import; a forked worker calls it again."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminate)


atexit.register(_close_all)
handle_signals()
