"""The body of a request on `WebSocketServer`: where it ends, and how long it may take to come (RFC 9112 sections 6, 7).

One object takes the body's bytes from the connection and knows how many are left. So whoever reads, and whatever
interrupts it, the next request begins after the body's last byte, or the connection ends. If a body breaks the rules,
or does not come, reading raises `BodyError`, with the status that answers the request.

A body has a budget of waiting time: `body_timeout` seconds at first, and never more. For each `min_body_rate` bytes
that the application reads, it gets one second back. So a peer that is slow for a while is tolerated, and one that is
always slower than that rate runs out of time. The time that the application takes does not count.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any, NoReturn, Protocol

import gevent

from ..http.request import MAX_LINES, MAX_REQUEST_LINE
from .http_stream import CHUNK, HTTPStream

LARGE = 16 * 1024
"""The most bytes to receive at once."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n")  # RFC 9112 7.1, with its extensions
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\r\n\0]*\r\n")

SIZE, DATA_END, TRAILER = "chunk size", "end of a chunk", "trailer field"
"""What comes next of a chunked body, after the bytes that are left of a chunk."""


class Limits(Protocol):
    """The options of a server that concern bodies."""

    body_timeout: float
    min_body_rate: float


class BodyError(OSError):
    """A body does not arrive, or is malformed; `status` is the HTTP status to answer with."""

    status = "400 Bad Request"


class LateBody(BodyError, TimeoutError):
    """A body does not arrive in time."""

    status = "408 Request Timeout"


class LostBody(BodyError):
    """The sender of a body has left before its end."""


class EmptyBody:
    """The body of a request that has none.

    If the request offers an upgrade, other WebSocket libraries find the connection through it, as with pywsgi: it has
    `raw` and `rfile`, and after the 101 reading it reads what the peer sends.

    Args:
        stream: receives from the connection; None if the request offers no upgrade.
    """

    __slots__ = ("_stream", "switched")

    whole = True  # the next byte is the next request's
    error = None
    awaited = False  # whether the client waits for a 100 before it sends the body
    replaced = False

    def __init__(self, stream: HTTPStream | None) -> None:
        self._stream = stream
        self.switched: bool = False  # the answer was a 101

    def __getattr__(self, name: str) -> Any:
        stream = None if name.startswith("__") else self._stream
        if stream is None:
            raise AttributeError(name)
        return getattr(stream.reader(), name)

    @property
    def rfile(self) -> Any:
        """The reader of the connection."""
        if self._stream is None:
            raise AttributeError("rfile")
        return self._stream.reader()

    def read(self, size: int | None = -1) -> bytes:
        """Return b""; after the 101, what the peer sends, as `io.BufferedReader.read`."""
        return self.rfile.read(size) if self.switched else b""

    def readline(self, size: int = -1) -> bytes:
        """Return b""; after the 101, a line from the peer."""
        return self.rfile.readline(size) if self.switched else b""

    def readlines(self, hint: int = -1) -> list[bytes]:
        """Return []; after the 101, all lines from the peer."""
        return self.rfile.readlines(hint) if self.switched else []

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the lines."""
        return iter(self.readline, b"")

    def switch(self) -> None:
        """Let readers read the connection from now on: the answer is a 101."""
        self.switched = self._stream is not None

    def _discard(self) -> None:
        """Drop what the application has not read. pywsgi calls this."""


NO_BODY = EmptyBody(None)


class RequestBody:
    """The body of a request: a WSGI input (PEP 3333) that ends where the body does.

    Reading blocks until everything asked for is there, or the body's end.

    Args:
        stream: receives from the connection.
        length: the Content-Length; None for a chunked body.
        limits: the server's.
        awaited: whether the client waits for a 100 before it sends the body.

    Attributes:
        unasked: whether the answer has begun, so that it is too late to ask for the body.
        error: the `BodyError` that was raised; each read raises it again.
        replaced: whether the application's answer was replaced by that of the error.
    """

    __slots__ = (
        "_credit", "_left", "_limits", "_next", "_seconds", "_stream", "_trailers", "awaited", "error", "replaced",
        "_waiting", "unasked",
    )  # fmt: skip

    def __init__(self, stream: HTTPStream, length: int | None, limits: Limits, awaited: bool = False) -> None:
        self._stream = stream
        self._left = length or 0  # bytes of the body, or of the chunk
        self._next = SIZE if length is None else None  # what comes after the bytes that are left of a chunk
        self._trailers = 0  # trailer fields so far
        self._waiting = False  # whether a greenlet waits for more, perhaps one that the application has left behind
        self._limits = limits
        self._seconds = limits.body_timeout  # the budget that is left
        self._credit = 1 / limits.min_body_rate  # seconds given back for each byte
        self.awaited: bool = awaited
        self.error: BodyError | None = None
        self.replaced: bool = False
        self.unasked: bool = False

    @property
    def whole(self) -> bool:
        """Whether all of it was read, so that the next byte is the next request's."""
        return self._left == 0 and self._next is None and self.error is None and not self._waiting

    def switch(self) -> None:
        """End here: the answer is a 101, and the following bytes are not a body's."""
        self._left, self._next, self.awaited = 0, None, False

    # What applications call

    def read(self, size: int | None = -1) -> bytes:
        """Return that many bytes, or all that is left; less only at the end. Blocks.

        Raises:
            BodyError: the body does not come in time, is cut off, or has malformed chunks.
        """
        return self._read(size, line=False)

    def readline(self, size: int | None = -1) -> bytes:
        """Return a line, or that many bytes of it. Blocks; raises as `read` does."""
        return self._read(size, line=True)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Return the lines, and no more than needed for so many bytes. Blocks; raises as `read` does."""
        lines, size = [], 0
        for line in self:
            lines.append(line)
            size += len(line)
            if hint is not None and 0 < hint <= size:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the lines."""
        return iter(self.readline, b"")

    def _read(self, size: int | None, line: bool) -> bytes:
        parts = []
        left = -1 if size is None or size < 0 else size
        while left and (part := self._take(left, line)):
            parts.append(part)
            left -= len(part) if left > 0 else 0
            if line and part.endswith(b"\n"):
                break
        return b"".join(parts)

    def _discard(self) -> None:
        """Drop what the application has not read. Blocks, at most for `body_timeout`. Raises nothing.

        It does nothing if the client still waits for a 100: whether it will send the body is unknown (RFC 9110 10.1.1).
        """
        deadline = time.monotonic() + self._limits.body_timeout
        self._seconds, self._credit = self._limits.body_timeout, 0.0  # these bytes are not wanted: none gives time back
        try:
            while not self.awaited and self._take(-1, line=False):
                self._seconds = deadline - time.monotonic()
                if self._seconds <= 0:
                    break
        except OSError:
            pass

    # How it comes in

    def _take(self, size: int, line: bool) -> bytes:
        """Take some bytes of the body, or of one line if `line` is set; none at its end."""
        if self.error is not None:
            raise self.error
        if self._left == 0 and self._next is not None:
            self._read_framing()
        size = self._left if size < 0 else min(size, self._left)
        if size == 0:
            return b""
        while not (part := self._stream.take(size, line)):
            self._receive(max(CHUNK, min(self._left, LARGE)))
        self._left -= len(part)
        self.awaited = False  # the client has sent it without waiting
        self._seconds = min(self._limits.body_timeout, self._seconds + len(part) * self._credit)
        return part

    def _read_framing(self) -> None:
        """Read up to a chunk's first byte, or to the end of the body.

        An interruption loses nothing: a line is taken only when it is complete.
        """
        while self._next is not None and self._left == 0:
            line = self._take_line()
            if self._next == DATA_END:
                if line != b"\r\n":
                    self._fail(BodyError("a chunk goes on after its end"))
                self._next = SIZE
            elif self._next == SIZE:
                if (match := _CHUNK_SIZE.fullmatch(line)) is None:
                    self._fail(BodyError(f"not the size of a chunk: {line[:40]!r}"))
                self._left = int(match[1], 16)
                self._next = DATA_END if self._left else TRAILER
            else:
                self._read_trailer(line)

    def _read_trailer(self, line: bytes) -> None:
        self._trailers += 1
        if line == b"\r\n":
            self._next = None
        elif _TRAILER.fullmatch(line) is None or self._trailers > MAX_LINES:
            self._fail(BodyError(f"not a trailer field, or too many: {line[:40]!r}"))

    def _take_line(self) -> bytes:
        while not (line := self._stream.take_line()) and self._stream.held < MAX_REQUEST_LINE:
            self._receive(CHUNK)
        if not 0 < len(line) < MAX_REQUEST_LINE:
            self._fail(BodyError("too long a line in a chunked body"))
        return line

    def _receive(self, size: int) -> None:
        """Receive more. Blocks, and charges the time."""
        if self._waiting:
            raise OSError("another greenlet waits for this body")
        if self.awaited and not self.unasked:
            self._stream.send_all(CONTINUE)
        self.awaited = False
        start = time.monotonic()
        self._waiting = True
        try:
            received = self._stream.receive_more(self._seconds, size)
        except TimeoutError:
            self._fail(LateBody("the body did not come in time"))
        finally:
            self._waiting = False
        self._seconds -= time.monotonic() - start
        if received == 0:
            self._fail(LostBody("the connection ended within the body"))
        if received == size:
            gevent.sleep(0)  # more may be there at once, without end: others have their turn

    def _fail(self, error: BodyError) -> NoReturn:
        self.error = error
        raise error from None
