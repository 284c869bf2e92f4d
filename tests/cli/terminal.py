"""husk on a terminal: a pty as its standard input, output and error, and its controlling terminal."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

import husk

TIMEOUT_S = 60


class Screen:
    """A pty, on the side where somebody looks and types; name is what a program opens."""

    mark = 0

    def __init__(self):
        self.seen = ""
        self.master, self.slave = pty.openpty()
        self.name = os.ttyname(self.slave)

    def _read(self, limit):
        ready, _, _ = select.select([self.master], [], [], max(0, limit - time.monotonic()))
        if not ready:
            raise AssertionError(f"nothing more came: {self}")
        try:
            data = os.read(self.master, 65536)
        except OSError:
            data = b""
        self.seen += data.decode(errors="replace")
        return bool(data)

    def expect(self, words):
        """Wait until the words were written since the last send()."""
        limit = time.monotonic() + TIMEOUT_S
        while words not in self.seen[self.mark:]:
            if not self._read(limit):
                raise AssertionError(f"ended without saying {words!r}: {self}")
        return self

    def send(self, text):
        self.mark = len(self.seen)
        os.write(self.master, text.encode() if isinstance(text, str) else text)
        return self

    def line(self, text):
        return self.send(text + "\n")

    def echoes(self):
        """Whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self.master)[3] & termios.ECHO)

    def close(self):
        for fd in self.master, self.slave:
            if fd is not None:
                os.close(fd)
        self.master = self.slave = None

    def __str__(self):
        return f"--- terminal\n{self.seen}"


class Terminal(Screen):
    """One run. With out=False standard output is a pipe; stdin is another standard input than the terminal; enter is
    called in the process before husk is."""

    def __init__(self, *arguments, columns=100, term="xterm", out=True, stdin=None, env=None, fault=None, enter=None):
        super().__init__()
        slave = self.slave
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        environment = dict(os.environ, TERM=term, **(env or {}))
        environment.pop("HUSK_FAULT", None)
        if fault:
            environment["HUSK_FAULT"] = fault
        self.argv = [husk.PROGRAM, *arguments]

        def prepare():
            fcntl.ioctl(2, termios.TIOCSCTTY, 0)
            if enter:
                enter()

        self.process = subprocess.Popen(self.argv, stdin=slave if stdin is None else stdin, stdout=slave if out else subprocess.PIPE,
                                        stderr=slave, start_new_session=True, env=environment, preexec_fn=prepare)
        os.close(slave)
        self.slave = None

    def end(self):
        """Wait for its end; returns the exit status."""
        limit = time.monotonic() + TIMEOUT_S
        while self._read(limit):
            pass
        self.out = self.process.stdout.read().decode(errors="replace") if self.process.stdout else None
        return self.process.wait(TIMEOUT_S)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        super().close()

    def __str__(self):
        return f"{' '.join(map(os.fsdecode, self.argv))}\n{super().__str__()}"

    @property
    def text(self):
        """What was seen, without the codes that move the cursor, one line per line that stayed."""
        lines = self.seen.replace("\r\n", "\n").split("\n")
        return "\n".join(re.split(r"\r\x1b\[K", line)[-1] for line in lines)


def screen():
    return contextlib.closing(Screen())


@contextlib.contextmanager
def on_terminal(*arguments, **options):
    terminal = Terminal(*arguments, **options)
    try:
        yield terminal
    finally:
        terminal.close()
