"""The three lines into a running guest: its console, the agent that runs commands, and QEMU's monitor.

Each is one end of a socket pair whose other end QEMU was born with, so there are no socket files to leave behind, and
the end of QEMU is the end of the stream.
"""

import json
import re
import select
import socket
import threading
import time
from typing import NamedTuple


class GuestError(Exception):
    """The guest did not do its part: it died, panicked, or was silent for too long."""


class Result(NamedTuple):
    status: int
    stdout: bytes
    stderr: bytes


class Console:
    """The serial console. A thread reads it all the time, so that the guest never waits for a slow test."""

    def __init__(self, sock):
        self._sock = sock
        self._text = bytearray()
        self._searched = 0
        self._closed = False
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            try:
                data = self._sock.recv(65536)
            except OSError:
                data = b""
            with self._changed:
                self._text += data
                self._closed = not data
                self._changed.notify_all()
            if not data:
                return

    def text(self):
        with self._changed:
            return bytes(self._text).decode(errors="replace")

    def tail(self, lines=25):
        return "\n".join(self.text().splitlines()[-lines:])

    def send(self, text):
        self._sock.sendall(text.encode())

    def wait(self, pattern, timeout):
        """Wait for a regular expression after the last one waited for; the match of bytes."""
        pattern = re.compile(pattern.encode() if isinstance(pattern, str) else pattern)
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                # A copy: a match pins what it was found in.
                match = pattern.search(bytes(self._text[self._searched:]))
                if match:
                    self._searched += match.end()
                    return match
                left = deadline - time.monotonic()
                if self._closed or left <= 0:
                    break
                self._changed.wait(left)
        raise GuestError(f"the console never showed {pattern.pattern!r}; it ends:\n{self.tail()}")

    def panicked(self):
        with self._changed:
            return b"Kernel panic - not syncing" in self._text


class Agent:
    """Commands by the protocol in guest-files/agent."""

    # Beyond a command's own limit: a slow emulated machine still has to read, start, spool and answer.
    GRACE_S = 60

    def __init__(self, sock, check_alive):
        self._sock = sock
        self._check_alive = check_alive
        self._buffer = bytearray()
        self._last_id = 0
        self._usable = False

    def _more(self, deadline, waiting_for):
        while not select.select([self._sock], [], [], 1)[0]:
            self._check_alive()
            if time.monotonic() > deadline:
                raise GuestError(f"the guest was silent for too long while it was to {waiting_for}")
        data = self._sock.recv(1 << 20)
        if not data:
            raise GuestError(f"the guest ended while it was to {waiting_for}")
        self._buffer += data

    def _line(self, deadline, waiting_for):
        while b"\n" not in self._buffer:
            self._more(deadline, waiting_for)
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode(errors="replace").split()

    def _bytes(self, count, deadline, waiting_for):
        while len(self._buffer) < count:
            self._more(deadline, waiting_for)
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def wait_ready(self, timeout):
        line = self._line(time.monotonic() + timeout, "boot")
        if line != ["ready"]:
            raise GuestError(f"the agent began with {line}")
        self._usable = True

    def send(self, script, timeout, stdin):
        """Send a command and leave its answer for later; the command's id."""
        self._last_id += 1
        header = f"{self._last_id} {timeout} {len(script)} {len(stdin)}\n".encode()
        self._sock.settimeout(timeout + self.GRACE_S)
        try:
            self._sock.sendall(header + script + stdin)
        except OSError as error:
            self._usable = False
            raise GuestError(f"the guest takes no command: {error}") from error
        return self._last_id

    def run(self, script, timeout, stdin):
        if not self._usable:
            raise GuestError("the agent is not there: not booted, or an earlier command never ended")
        # Until the whole answer is here the stream is in the middle of it, and good for nothing else.
        self._usable = False
        command_id = self.send(script, timeout, stdin)
        deadline = time.monotonic() + timeout + self.GRACE_S
        doing = f"run {script[:200].decode(errors='replace')!r}"
        line = self._line(deadline, doing)
        if line[:2] != ["done", str(command_id)]:
            raise GuestError(f"the agent answered {line} when it was to {doing}")
        status, out_bytes, err_bytes = map(int, line[2:])
        result = Result(status, self._bytes(out_bytes, deadline, doing), self._bytes(err_bytes, deadline, doing))
        self._usable = True
        return result


class Monitor:
    """QEMU's machine protocol."""

    TIMEOUT_S = 120

    def __init__(self, sock):
        self._sock = sock
        self._stream = sock.makefile("rb")
        self._events = []
        self.call("qmp_capabilities")

    def _receive(self):
        try:
            line = self._stream.readline()
        except OSError as error:
            raise GuestError(f"QEMU's monitor does not answer: {error}") from error
        if not line:
            raise GuestError("QEMU ended")
        return json.loads(line)

    def call(self, command, arguments=None):
        self._sock.settimeout(self.TIMEOUT_S)
        request = {"execute": command, "arguments": arguments or {}}
        try:
            self._sock.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise GuestError(f"QEMU ended: {error}") from error
        while True:
            answer = self._receive()
            if "event" in answer:
                self._events.append(answer)
            elif "QMP" in answer:
                continue
            elif "error" in answer:
                raise GuestError(f"QEMU refuses {command}: {answer['error']['desc']}")
            else:
                return answer["return"]

    def wait_event(self, name, timeout=TIMEOUT_S, **data):
        """Wait for an event that carries this data; events before it are dropped."""
        deadline = time.monotonic() + timeout
        while True:
            self._sock.settimeout(max(0.1, deadline - time.monotonic()))
            event = self._events.pop(0) if self._events else self._receive()
            if event.get("event") == name and data.items() <= event.get("data", {}).items():
                return event


def pair():
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
