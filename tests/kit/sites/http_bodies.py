"""What the tests of bodies on WebSocketServer share: requests, applications, and a peer with a clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from geventws.server import http_body
from geventws.server.http_body import RequestBody

LATE = b"HTTP/1.1 408 Request Timeout\r\n"
FRAMED = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
SECOND = b"GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
LIMITS = SimpleNamespace(body_timeout=30.0, min_body_rate=500.0)


def answer(start_response: Any, body: bytes = b"done") -> list[bytes]:
    """Answer 200."""
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def reads(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer with the body."""
    return answer(start_response, b"<" + environ["wsgi.input"].read() + b">")


def reads_lines(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer with the body, read by lines."""
    return answer(start_response, b"<" + b"".join(environ["wsgi.input"]) + b">")


def swallows(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer 500 with a page of its own, as frameworks do for any exception."""
    try:
        return reads(environ, start_response)
    except Exception:
        start_response("500 Oh", [("Content-Length", "4"), ("X-Page", "yes")])
        return [b"page"]


def ignores(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answer without a look at the body."""
    return answer(start_response)


def reads_a_part(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Read no more than is there."""
    environ["wsgi.input"].read(0)
    return answer(start_response)


class Peer:
    """A stream whose peer sends a script: pairs of seconds to wait and bytes that come then. It owns the clock."""

    def __init__(self, script: list[tuple[float, bytes]]) -> None:
        self.now, self.script, self.sent, self._held = 0.0, script, b"", b""

    @property
    def held(self) -> int:
        return len(self._held)

    def receive_more(self, timeout: float, size: int) -> int:
        """Receive the next of the script, or let the time pass."""
        wait, data = self.script.pop(0) if self.script else (0, b"")
        self.now += min(wait, timeout)
        if wait > timeout:
            raise TimeoutError
        if len(data) > size:
            self.script.insert(0, (0, data[size:]))
        self._held += data[:size]
        return len(data[:size])

    def take(self, size: int, line: bool) -> bytes:
        """As the stream's."""
        end = self._held.find(b"\n", 0, size) + 1 if line else 0
        taken = self._held[: end or size]
        self._held = self._held[len(taken) :]
        return taken

    def take_line(self) -> bytes:
        """As the stream's."""
        return self.take(self._held.find(b"\n") + 1, False)

    def send_all(self, data: bytes) -> None:
        """Keep what is sent."""
        self.sent += data


@pytest.fixture
def receive(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Peer, RequestBody]]]:
    """Return a function that makes a body of a script."""

    def make(script: list[tuple[float, bytes]], length: int | None, **options: Any) -> tuple[Peer, RequestBody]:
        peer = Peer(script)
        monkeypatch.setattr(http_body.time, "monotonic", lambda: peer.now)
        return peer, RequestBody(peer, length, LIMITS, **options)  # type: ignore[arg-type]

    yield make
