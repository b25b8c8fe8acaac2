"""A Redis of the test's own, on an ephemeral port, with nothing on disk: Debian's, or what GEVENTWS_REDIS names."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket as native
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
from gevent.server import StreamServer
from kit.servers.ports import free_port

START = 10.0
"""Seconds for it to answer, on a busy machine."""

PAUSE = 0.005


class RedisServer:
    """A server.

    Args:
        options: further settings, as on its command line.

    Attributes:
        port: where it listens, also once it has been stopped and started again.
        url: the same, for a PubSub.
    """

    def __init__(self, *options: str) -> None:
        program = shutil.which(os.environ.get("GEVENTWS_REDIS", "redis-server"))
        assert program, "redis-server is missing: tools/debian.sh tests"
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                         "--databases", "4", *options]  # fmt: skip
        self._process: Any = None

    @classmethod
    def at(cls, port: int) -> RedisServer:
        """Return one that runs already, to talk to."""
        server = cls()
        server.port = port
        return server

    def use_configuration(self, path: Path, *options: str) -> None:
        """Run it with a file of settings, as a Sentinel has to be."""
        self._command = [self._command[0], str(path), *options, "--port", str(self.port), "--bind", "127.0.0.1"]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START
        while True:
            try:
                assert self.ask("PING") == b"PONG"
                return
            except OSError:
                assert self._process.poll() is None and time.monotonic() < deadline, "redis-server does not start"
                time.sleep(PAUSE)

    def stop(self) -> None:
        """End it at once, with all that it holds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Have it do nothing until `thaw`."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *words: str | bytes) -> Any:
        """Return the answer to a command, over a connection of its own; the thread waits for it."""
        with self._connect() as file:
            return _ask(file, *words)

    @contextlib.contextmanager
    def subscribed(self, channel: bytes) -> Iterator[Callable[[], bytes]]:
        """Yield what returns the next message of a channel."""
        with self._connect() as file:
            _ask(file, "SUBSCRIBE", channel)
            yield lambda: _read(file)[2]

    @contextlib.contextmanager
    def _connect(self) -> Iterator[Any]:
        with native.create_connection(("127.0.0.1", self.port), START) as socket, socket.makefile("rwb") as file:
            yield file

    def count_clients(self, kind: str) -> int:
        """Return how many connections of a kind (`pubsub`, `normal`) there are, without this one."""
        lines = self.ask("CLIENT", "LIST", "TYPE", kind).decode().splitlines()
        return len([line for line in lines if "cmd=client" not in line])

    def kill_clients(self, kind: str) -> int:
        """Cut the connections of a kind; return how many there were."""
        return int(self.ask("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"))


def _ask(file: Any, *words: str | bytes) -> Any:
    data = [word.encode() if isinstance(word, str) else word for word in words]
    file.write(b"*%d\r\n" % len(data) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in data))
    file.flush()
    return _read(file)


def _read(file: Any) -> Any:
    line = file.readline()
    if not line:
        raise ConnectionResetError("it hung up")
    kind, rest = line[:1], line[1:-2]
    if kind == b"-":
        raise RuntimeError(rest.decode())
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return file.read(int(rest) + 2)[:-2] if rest != b"-1" else None
    if kind == b"*":
        return [_read(file) for _ in range(int(rest))]
    return rest


@contextlib.contextmanager
def refusing(error: bytes) -> Iterator[str]:
    """Yield the URL of what looks like a Redis: it refuses the first connection, and then all but the greetings."""
    sockets: list[Any] = []

    def answer(socket: Any, _address: Any) -> None:
        sockets.append(socket)
        is_first = len(sockets) == 1
        while data := socket.recv(65536):
            for command in data.split(b"\r\n*"):
                is_greeting = b"PING" in command or b"CLIENT" in command or b"LOAD" in command
                socket.sendall(b"+PONG\r\n" if is_greeting and not is_first else b"-" + error + b"\r\n")

    server = StreamServer(("127.0.0.1", 0), answer)
    server.start()
    yield f"redis://127.0.0.1:{server.server_port}"
    while any(socket.fileno() >= 0 for socket in sockets):
        gevent.sleep(PAUSE)
    server.stop()
