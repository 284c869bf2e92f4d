"""Undoing what a test set up: mounts, loop devices, processes, scratch directories.

An Undo is a stack of steps. close() runs them last first, and runs every step even if an earlier one failed. Stacks
still open when the process ends are closed then, also when it is ended by SIGTERM, SIGHUP or Ctrl-C: those become an
exception that unittest does not swallow. A process killed by SIGKILL cannot undo anything.
"""

import atexit
import contextlib
import os
import signal
import sys

_open_stacks = []
_closing = 0
_pending = None


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
        with _signals_wait():
            failures = self._run_steps()
        if failures:
            raise UndoFailed("; ".join(failures))

    def _run_steps(self):
        failures = []
        while self._steps:
            function, args = self._steps.pop()
            try:
                function(*args)
            except Exception as failure:
                failures.append(f"{getattr(function, '__name__', function)}{args}: {failure}")
        if self in _open_stacks:
            _open_stacks.remove(self)
        return failures

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


@contextlib.contextmanager
def _signals_wait():
    """A signal that arrives while steps run counts when they are done."""
    global _closing, _pending
    _closing += 1
    try:
        yield
    finally:
        _closing -= 1
    if _pending and not _closing:
        number, _pending = _pending, None
        _terminate(number, None)


def _terminate(number, _frame):
    global _pending
    if _closing:
        _pending = number
        return
    raise Terminated(f"ended by {signal.Signals(number).name}")


def handle_signals():
    """Make these signals unwind the stack. Called on import; a forked worker has them too."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _terminate)


atexit.register(_close_all)
handle_signals()
