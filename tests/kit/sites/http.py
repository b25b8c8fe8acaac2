"""What the tests of WebSocketServer share: a server in this thread, clients that speak HTTP by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import socket

from geventws.http import request as http_head
from geventws.server.server import WebSocketServer

DEADLINE = 10.0
UPGRADE = (
    b"GET /ws?a=b HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
OWN = ("REMOTE_PORT", "SERVER_PORT", "wsgi.errors", "wsgi.input", "geventws.upgrade")


def show(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer with all that a request came to."""
    data = environ["wsgi.input"].read() if environ["wsgi.input_terminated"] else b""
    seen = sorted((key, value) for key, value in environ.items() if key not in OWN)
    body = repr((seen, data)).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


class Log(list):
    """A log, a string a line."""

    def write(self, data: str) -> None:
        """Take a line."""
        self.append(data.rstrip("\n"))


class Running:
    """A server in this thread, and its logs."""

    def __init__(self, application: Any, server_class: Any = WebSocketServer, **options: Any) -> None:
        self.access, self.errors = Log(), Log()
        self.server = server_class(("127.0.0.1", 0), application, log=self.access, error_log=self.errors, **options)
        self.server.start()
        self.clients: list[Any] = []

    def connect(self) -> Any:
        """Return a connected socket."""
        client = socket.create_connection(("127.0.0.1", self.server.server_port), timeout=DEADLINE)
        self.clients.append(client)
        return client

    def ask(self, request: bytes) -> bytes:
        """Send bytes, end our side, and return all that comes."""
        client = self.connect()
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return read_all(client)


def read_all(client: Any) -> bytes:
    """Receive until the end."""
    parts = []
    try:
        while data := client.recv(65536):
            parts.append(data)
    except ConnectionResetError:
        parts.append(b"<reset>")
    return b"".join(parts)


def read_response(client: Any) -> bytes:
    """Receive one response that has a Content-Length, byte by byte lest the next one is touched."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        assert byte, f"ended behind {head!r}"
        head += byte
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = b""
    while len(body) < length:
        body += client.recv(length - len(body))
    return head + body


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """Let no test hang."""
    with gevent.Timeout(3 * DEADLINE):
        yield


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    """Return a function that starts a server; all are stopped, and may leave no greenlet."""
    started: list[Running] = []

    def start(application: Any, server_class: Any = WebSocketServer, **options: Any) -> Running:
        started.append(Running(application, server_class, **options))
        return started[-1]

    yield start
    for running in started:
        for client in running.clients:
            client.close()
        running.server.stop(1)
        assert not getattr(running.server, "_connections", None)


@pytest.fixture(params=["own parser", "pywsgi's parser"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have heads read by either way."""
    if request.param == "pywsgi's parser":
        monkeypatch.setattr(http_head, "parse", lambda head, environ: None)


def requested(line: str) -> list[str]:
    """Return the request line and the status in a line of the log; the length too where it is an answer's."""
    request, _, numbers = line.partition('"')[2].rpartition('"')
    status, length, _seconds = numbers.split()
    return [request.strip(), status, length if status < "400" else ""]
