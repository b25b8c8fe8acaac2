"""Servers that do to a client what a script says: right, wrong or late. For the tests of the client.

They run on gevent in the test's own thread, and nothing here has a deadline of its own: the tests have.
"""

from __future__ import annotations

import base64
import hashlib
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket
from gevent import subprocess as gsubprocess
from gevent.server import StreamServer

from geventws import WebSocket, WebSocketWSGI, connect

ROOT = pathlib.Path(__file__).resolve().parents[3]


def serve_client(ws: WebSocket) -> None:
    """Do what the path says."""
    if ws.path == "/close":
        return ws.close(4000, "enough")
    for message in ws:
        ws.send(message)


echo = WebSocketWSGI(serve_client, subprotocols=["chat", "news"], origins=None, max_message_size=1 << 24)


class Peer:
    """One connection to a `Scripted` server: its request, and the bytes behind it."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self._data = bytearray()
        self.request = ""
        self.headers: dict[str, str] = {}
        self.names: list[str] = []  # of the headers, repeated ones too

    def read_request(self) -> None:
        while b"\r\n\r\n" not in self._data:
            self._receive()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        self.request, *lines = head.decode("latin-1").split("\r\n")
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        self.names = [line.split(":")[0].lower() for line in lines]

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self._data += data

    def read(self, size: int) -> bytes:
        while len(self._data) < size:
            self._receive()
        result = bytes(self._data[:size])
        del self._data[:size]
        return result

    def read_frame(self) -> tuple[int, bytes, bytes]:
        """Return opcode, payload and mask key of a small frame; a client's must be masked (RFC 6455 5.1)."""
        first, second = self.read(2)
        assert second & 0x80 and second & 0x7F < 126
        key = self.read(4)
        masked = self.read(second & 0x7F)
        return first & 0x0F, bytes(byte ^ key[at % 4] for at, byte in enumerate(masked)), key

    def rest(self) -> bytes:
        """Return what comes up to the end."""
        try:
            while True:
                self._receive()
        except (EOFError, ConnectionError):
            return bytes(self._data)

    def accept(self, behind: bytes = b"", more: str = "") -> None:
        """Answer with a 101, and with bytes right behind it."""
        self.socket.sendall(self.answer(more) + behind)

    def answer(self, more: str = "") -> bytes:
        key = self.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 4.2.2
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        return (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
        ).encode("latin-1")


class Scripted:
    """A server that does to each connection what a function says, and keeps what it was asked."""

    def __init__(self, script: Callable[[Any], object], kind: type[Peer] = Peer, **tls: Any) -> None:
        self._script = script
        self._kind = kind
        self.peers: list[Peer] = []
        self.errors: list[BaseException] = []
        self._server = StreamServer(("127.0.0.1", 0), self._serve, **tls)
        self._server.start()
        self.port: int = self._server.server_port
        self.address = f"127.0.0.1:{self.port}"
        self.uri = f"ws://{self.address}/"

    def _serve(self, socket: Any, _address: Any) -> None:
        peer = self._kind(socket)
        self.peers.append(peer)
        try:
            peer.read_request()
            self._script(peer)
        except (EOFError, ConnectionError):
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            socket.close()

    def close(self) -> None:
        self._server.stop(1)
        assert self.errors == []


def start_servers() -> Iterator[Callable[..., Scripted]]:
    """Yield what starts a server with a script, for a fixture; it depends on `serve`, which has the deadline."""
    servers: list[Scripted] = []

    def start(script: Callable[[Any], object], kind: type[Peer] = Peer, **tls: Any) -> Scripted:
        servers.append(Scripted(script, kind, **tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def unset_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the environment's proxies away."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def answering(*parts: bytes) -> Callable[[Peer], None]:
    """Return a script that sends bytes, each in a segment of its own, and hangs up."""

    def script(peer: Peer) -> None:
        peer.socket.setsockopt(gsocket.IPPROTO_TCP, gsocket.TCP_NODELAY, 1)
        for part in parts:
            peer.socket.sendall(part)
            gevent.sleep(0)

    return script


def tunnel(peer: Peer) -> None:
    """Be a proxy that lets everybody through."""
    host, _, port = peer.request.split()[1].rpartition(":")
    with gsocket.create_connection((host.strip("[]"), int(port))) as target:
        peer.socket.sendall(b"HTTP/1.0 200 Connection established\r\nVia: test\r\n\r\n")
        back = gevent.spawn(pump, target, peer.socket)
        pump(peer.socket, target)
        back.join()


def pump(source: Any, target: Any) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(gsocket.SHUT_WR)
    except OSError:
        pass  # one of them has gone


def check_through(uri: str, **options: Any) -> None:
    """Check that an echo answers, whatever is on the way to it."""
    with connect(uri, **options) as ws:
        ws.send("through")
        assert ws.wait() == "through"


def tcp(place: tuple[str, int]) -> Any:
    """Return an address as a look-up finds it."""
    return (gsocket.AF_INET, gsocket.SOCK_STREAM, 6, "", place)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def run_program(program: str) -> bytes:
    """Run a program in a process of its own, while the loop goes on, and return its output."""
    arguments = [sys.executable, "-c", "if True:\n" + program]
    options = {"stdout": gsubprocess.PIPE, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
    with gsubprocess.Popen(arguments, **options) as process:
        return process.communicate()[0]
