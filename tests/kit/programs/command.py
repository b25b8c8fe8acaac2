"""`python -m geventws` as a process: between pipes, at a pseudo-terminal, and serving an application of ours."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from typing import Any

from geventws import connect

ROOT = pathlib.Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-m", "geventws"]
DEADLINE = 20.0
UP, LEFT, HOME, END_OF_INPUT, INTERRUPT = b"\x1b[A", b"\x1b[D", b"\x01", b"\x04", b"\x03"
APPLICATION = """\
import signal
from geventws import WebSocketWSGI

ANSWER = "first"
DOORS = []

def serve(ws):
    if ws.path == "/leave":
        return ws.close(4001, "as you wish")
    if ws.path == "/headers":
        return ws.send("%(HTTP_X_TEST)s %(HTTP_ORIGIN)s " % ws.environ + str(ws.protocol))
    if ws.path == "/ping" and ws.wait():
        ws.ping(b"are you\\x07 there?")
    if ws.path == "/bytes":
        ws.send(b"\\x00\\xffa")
        ws.send("\\x1b[31mred\\nnext")
    if ws.path == "/wide":
        ws.send("\u6f22" * 50 + "\\te\u0301|")
    if ws.path == "/door":
        DOORS.append(ws)
    if ws.path == "/ring":
        DOORS[-1].send("knock knock")
    if ws.path == "/compute":
        print("computing", flush=True)
        while signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            pass
        print("heard", flush=True)
        while True:
            pass
    for message in ws:
        ws.send(ANSWER if message == "which" else message)

def application(environ, start_response):
    if environ["PATH_INFO"] == "/no":
        start_response("403 Forbidden", [("X-Why", "closed \\x85 today")])
        return [b"come back\\x07 later"]
    return WebSocketWSGI(serve, subprotocols=["chat"], origins=None)(environ, start_response)
"""


def environment(**variables: str) -> dict[str, str]:
    unset = {name for name in os.environ if name.lower().endswith("_proxy")}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm", "INPUTRC": os.devnull, "COLUMNS": "80", **variables}


class Output:
    """What a process says on a descriptor, read as it comes."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._data = b""

    def until(self, pattern: bytes) -> re.Match[bytes]:
        """Return the first match, and forget what is before its end."""
        deadline = time.monotonic() + DEADLINE
        while (match := re.search(pattern, self._data)) is None:
            ready = select.select([self._fd], [], [], max(deadline - time.monotonic(), 0))[0]
            assert ready, f"no {pattern!r} in {self._data!r}"
            data = self._read()
            assert data, f"the end, and no {pattern!r} in {self._data!r}"
            self._data += data
        self._data = self._data[match.end() :]
        return match

    def rest(self) -> bytes:
        """Return what else there is, once nothing has come for a moment."""
        while select.select([self._fd], [], [], 0.2)[0] and (data := self._read()):
            self._data += data
        return self._data

    def _read(self) -> bytes:
        try:
            return os.read(self._fd, 65536)
        except OSError:  # how a pseudo-terminal ends
            return b""


@contextlib.contextmanager
def running(arguments: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m geventws`, and see that it has ended."""
    process = subprocess.Popen([*COMMAND, *arguments], **{"env": environment(), **options})
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


class Served:
    """`geventws serve` at work on an application in a folder of its own."""

    def __init__(self, process: subprocess.Popen[bytes], folder: pathlib.Path, scheme: str) -> None:
        self.process = process
        self.folder = folder
        assert process.stdout is not None
        self.output = Output(process.stdout.fileno())
        self._scheme = scheme
        self.port = 0
        self.wait()

    def wait(self) -> None:
        """Block until it serves, for the first time or again."""
        port = int(self.output.until(rb"serving \S+ on https?://127\.0\.0\.1:(\d+)\n")[1])
        assert self.port in (0, port)
        self.port = port

    def uri(self, path: str = "/") -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}{path}"


@contextlib.contextmanager
def serving(
    folder: pathlib.Path, *options: str, scheme: str = "ws", stdin: int = subprocess.DEVNULL
) -> Iterator[Served]:
    (folder / "site_app.py").write_text(APPLICATION)
    arguments = ["serve", "site_app", "--bind", "127.0.0.1:0", *options]
    streams = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with running(arguments, cwd=folder, **streams) as process:
        yield Served(process, folder, scheme)


def run(*arguments: str, lines: str | bytes = "") -> tuple[int, str, str]:
    """Run `geventws connect` between pipes; return its exit status, its output, and what it says besides."""
    data = lines.encode() if isinstance(lines, str) else lines
    done = subprocess.run(
        [*COMMAND, "connect", *arguments], input=data, capture_output=True, timeout=DEADLINE, env=environment()
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def ask(uri: str, question: str, **options: Any) -> str | bytes | None:
    with connect(uri, proxy=None, **options) as ws:
        ws.send(question)
        return ws.wait(timeout=DEADLINE)


class Terminal(Output):
    """A pseudo-terminal with `geventws connect` on it."""

    def __init__(self, uri: str, **variables: str) -> None:
        self.master, slave = pty.openpty()
        super().__init__(self.master)
        self.settings = termios.tcgetattr(slave)
        self._context = running(
            ["connect", uri],
            env=environment(**variables),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        self.process = self._context.__enter__()
        self.slave = slave

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def expect_exit(self, status: int) -> None:
        """It ends, and the terminal is as it was."""
        assert self.process.wait(DEADLINE) == status
        assert termios.tcgetattr(self.slave) == self.settings

    def close(self) -> None:
        self._context.__exit__(None, None, None)
        os.close(self.master)
        os.close(self.slave)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C reaches the process
