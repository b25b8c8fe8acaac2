"""A WebSocket client in raw bytes: it sends what it is told to, right or wrong, and reads what is on the wire.

It runs on gevent's sockets, in the server's thread. Nothing here has a deadline of its own: the tests have. For clients
in threads there is a TLS context.
"""

from __future__ import annotations

import ssl
import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

from gevent import socket as gsocket
from kit.frames import BINARY, CLOSE, TEXT, Frame, close, close_payload, frame
from kit.handshakes import ACCEPT, KEY

RESET = struct.pack("ii", 1, 0)


def make_thread_context(authority: str) -> ssl.SSLContext:
    """Return a TLS context for a client that reads in one thread and writes in another, as websockets does.

    CPython's `ssl` lets both in at once before 3.13. With TLS 1.3, whose tickets come after the handshake, a request is
    lost now and then, whatever the server; so this stays with TLS 1.2.
    """
    context = ssl.create_default_context(cafile=authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


class Answer(NamedTuple):
    """The head of an HTTP response, without the Date that pywsgi adds."""

    status: str
    headers: list[tuple[str, str]]

    def get(self, name: str) -> str | None:
        """Return the value of a header that is there once, or None."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) < 2, f"{name} is there {len(values)} times"
        return values[0] if values else None


def handshake(
    path: str = "/",
    *,
    method: str = "GET",
    version: str = "HTTP/1.1",
    more: Iterable[tuple[str, str]] = (),
    **changed: str | None,
) -> bytes:
    """Return an opening handshake. `sec_websocket_version="12"` changes a header, None leaves it out."""
    headers: dict[str, str | None] = {
        "host": "127.0.0.1",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-key": KEY,
        "sec-websocket-version": "13",
    }
    headers.update({name.replace("_", "-"): value for name, value in changed.items()})
    pairs = [(name, value) for name, value in headers.items() if value is not None]
    lines = [f"{method} {path} {version}", *(f"{name}: {value}" for name, value in [*pairs, *more]), "", ""]
    return "\r\n".join(lines).encode("latin-1")


class RawClient:
    """One connection to a server.

    Args:
        port: where the server listens on 127.0.0.1.
        tls: a gevent SSLContext, or None for plain TCP.
        receive_buffer: what the kernel may hold for us, to be a slow reader.
    """

    def __init__(self, port: int, tls: Any = None, receive_buffer: int = 0) -> None:
        self.socket = gsocket.socket()
        if receive_buffer:
            self.socket.setsockopt(gsocket.SOL_SOCKET, gsocket.SO_RCVBUF, receive_buffer)
        try:
            self.socket.connect(("127.0.0.1", port))
        except BaseException:  # as where its greenlet is killed
            self.socket.close()
            raise
        self.socket.setsockopt(gsocket.IPPROTO_TCP, gsocket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="127.0.0.1")
        self._data = bytearray()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def read(self, size: int) -> bytes:
        """Return exactly that many bytes; a connection that ends before is an error."""
        while len(self._data) < size:
            self._receive()
        result = bytes(self._data[:size])
        del self._data[:size]
        return result

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(f"the connection ended, after {bytes(self._data[:200])!r}")
        self._data += data

    def read_some(self) -> bytes:
        """Return what one recv gives, behind what is at hand."""
        data = bytes(self._data) + self.socket.recv(1 << 20)
        self._data.clear()
        return data

    def rest(self) -> bytes:
        """Return all bytes up to the end, which must not be a reset."""
        while data := self.socket.recv(65536):
            self._data += data
        result = bytes(self._data)
        self._data.clear()
        return result

    def read_head(self) -> Answer:
        """Return the head of an HTTP response."""
        while b"\r\n\r\n" not in self._data:
            self._receive()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        pairs = [tuple(line.split(": ", 1)) for line in lines]
        return Answer(status, [(name, value) for name, value in pairs if name != "Date"])

    def open(self, frames: bytes = b"", path: str = "/", **changed: Any) -> Answer:
        """Shake hands, with frames right behind it in the same segment, and check the answer."""
        request = handshake(path, **changed)
        self.send(request + frames)
        answer = self.read_head()
        assert answer.status == "HTTP/1.1 101 Switching Protocols", answer
        assert answer.get("sec-websocket-accept") == ACCEPT
        assert answer.get("upgrade") == "websocket"
        assert answer.get("content-length") is None
        return answer

    def read_frame(self) -> Frame:
        """Return the next frame, which must be unmasked and of minimal length (RFC 6455 5.1 and 5.2)."""
        first, size = self.read(2)
        assert size < 0x80, "the server masks"
        if size == 126:
            (size,) = struct.unpack("!H", self.read(2))
            assert size >= 126
        elif size == 127:
            (size,) = struct.unpack("!Q", self.read(8))
            assert size >= 65536
        return Frame(first & 0x0F, self.read(size), bool(first & 0x80), first >> 4 & 7)

    def read_message(self) -> str | bytes:
        """Return the next data message, which must be one frame."""
        received = self.read_frame()
        assert received.opcode in (TEXT, BINARY) and received.fin and not received.rsv, received
        return received.payload.decode() if received.opcode == TEXT else received.payload

    def expect(self, data: bytes) -> None:
        """The next bytes are exactly these."""
        assert self.read(len(data)) == data

    def expect_close(self, code: int | None = 1000, reason: str | None = "", *, answer: bool = True) -> str:
        """All that is left is one close frame, which we answer, and the end of the stream; return the reason.

        A reason of None is any; without `answer` the close frame is the server's answer, or gets none.
        """
        received = self.read_frame()
        assert received.opcode == CLOSE, received
        found, why = received.payload[:2], received.payload[2:].decode()
        assert found == close_payload(code), received
        assert reason is None or why == reason
        if answer:
            self.send(frame(CLOSE, received.payload))
        assert self.rest() == b""
        return why

    def leave(self, code: int | None = 1000, reason: str = "") -> None:
        """Say goodbye as RFC 6455 7.1.2 wants it, see that the server does, too, and hang up."""
        self.send(close(code, reason))
        self.expect_close(code, reason, answer=False)
        self.close()

    def reset(self) -> None:
        """Hang up with a RST."""
        self.socket.setsockopt(gsocket.SOL_SOCKET, gsocket.SO_LINGER, RESET)
        self.close()

    def shut_down(self) -> None:
        """End our side of the stream alone."""
        self.socket.shutdown(gsocket.SHUT_WR)

    def close(self) -> None:
        """Hang up. Idempotent."""
        self.socket.close()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
