"""WebSocket: the connection as a handler sees it, in blocking calls."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gevent.event import AsyncResult
from greenlet import getcurrent

from .connection import Connection, Timing
from .exceptions import ConcurrencyError, ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from .protocol import WebSocketProtocol

__all__ = ["WebSocket"]

TEXT = 0x81
BINARY = 0x82
LARGE = 16 * 1024

_TEXT_HEADERS = [bytes((TEXT, size)) for size in range(126)]
_BINARY_HEADERS = [bytes((BINARY, size)) for size in range(126)]


class WebSocket(Connection):
    """One WebSocket connection, with calls that block this greenlet only.

    `send`, `ping` and `close` may be called from any greenlet of the connection's thread, also at once; `wait`
    from one at a time. A `gevent.Timeout` or a kill thrown into any of them leaves the connection in step.

    Attributes:
        environ: the WSGI environment of the handshake; {} on a client.
        path: PATH_INFO of the handshake.
        protocol: the negotiated subprotocol, or None.
        origin: the Origin header of the handshake, or None.
        version: the version of the protocol, 13 or 8.
        latency: seconds that the last answered ping took to come back, 0.0 before.
    """

    __slots__ = ("__weakref__", "environ", "origin", "path", "protocol", "version")

    def __init__(
        self,
        socket: Any,
        protocol: WebSocketProtocol,
        timing: Timing,
        *,
        environ: dict[str, Any] | None = None,
        subprotocol: str | None = None,
        origin: str | None = None,
        version: int = 13,
    ) -> None:
        self.environ = environ if environ is not None else {}
        self.path: str = self.environ.get("PATH_INFO", "")
        self.protocol = subprotocol
        self.origin = origin
        self.version = version
        super().__init__(socket, protocol, timing, f"{self.environ.get('REMOTE_ADDR', '')} {self.path}")

    def __repr__(self) -> str:
        state = f"closed {self.close_code}" if self.closed else "open"
        return f"<WebSocket {self.peer.strip()} {state}>"

    # Receiving

    def wait(self, timeout: float | None = None) -> str | bytes | None:
        """Return the oldest message not yet taken. Blocks until there is one.

        Args:
            timeout: seconds to block at the most; None blocks for as long as the connection lives.

        Returns:
            `str` for a text message and `bytes` for a binary one, either may be empty; None once the connection is
            over and every message was taken, now and on every later call.

        Raises:
            TimeoutError: nothing came in time; nothing is lost, and `wait` may be called again.
            ConcurrencyError: another greenlet is in `wait`.
        """
        messages = self._messages
        if not messages:
            self._wait_for_message(timeout)
            if not messages:
                return None
        return messages.popleft()

    def __iter__(self) -> Iterator[str | bytes]:
        """Iterate over the messages, until the connection is over."""
        while (message := self.wait()) is not None:
            yield message

    def _wait_for_message(self, timeout: float | None) -> None:
        """Block until there is a message, or none will come."""
        if self._reader is not None:
            raise ConcurrencyError(f"{self._reader!r} is waiting for this connection's messages already")
        if self._protocol.failure is not None:
            self.end_failed()
        if self.over:
            return
        stream = self._stream
        if stream.paused:
            stream.resume()
        if stream.pending:
            stream.flush()
        if timeout is not None:
            self._wait_with_timeout(timeout)
            return
        self._reader = getcurrent()
        try:
            stream.poller.hub.switch()
        finally:
            self._reader = None

    def _wait_with_timeout(self, timeout: float) -> None:
        expired = False

        def expire() -> None:
            nonlocal expired
            if self._reader is greenlet:
                expired = True
                self._reader = None
                greenlet.switch()

        greenlet = self._reader = getcurrent()
        hub = self._stream.poller.hub
        timer = hub.loop.timer(max(timeout, 0))
        timer.start(expire)
        try:
            hub.switch()
        finally:
            self._reader = None
            timer.close()
        if expired and not self._messages and not self.over:
            raise TimeoutError(f"no message came within {timeout:g} s")

    # Sending

    def send(self, message: str | bytes | bytearray | memoryview) -> None:
        """Send a message: `str` as text, bytes-like as binary. Blocks while the peer does not take it.

        Messages leave whole, in the order of the calls, whichever greenlets they come from.

        Raises:
            ConnectionClosed: the connection is over, or has begun to close; it is an `OSError` with errno EPIPE.
            TypeError: `message` is of another type.
        """
        kind = type(message)
        if kind is bytes:
            payload, headers, head = message, _BINARY_HEADERS, BINARY
        elif kind is str:
            payload, headers, head = message.encode(), _TEXT_HEADERS, TEXT  # type: ignore[union-attr]
        else:
            payload, headers, head = _convert(message)
        size = len(payload)
        protocol = self._protocol
        if size > 125 or protocol.client:
            self._send_frame(head, payload)  # type: ignore[arg-type]
            return
        if protocol.close_sent or self.over:
            raise self.closed_error()
        frame = headers[size] + payload  # type: ignore[operator]
        stream = self._stream
        try:
            if self._messages:
                stream.cork(frame)
            else:
                stream.send(frame)
        except OSError:
            raise self._send_error() from None

    def _send_frame(self, head: int, payload: bytes | memoryview) -> None:
        """Send one data frame of any size."""
        if self._protocol.close_sent or self.over:
            raise self.closed_error()
        header, payload = self._protocol.encode(head, payload)
        try:
            if len(payload) > LARGE:
                self._stream.send_large(header, payload)
            elif self._messages:
                self._stream.cork(header + payload)
            else:
                self._stream.send(header + payload)
        except OSError:
            raise self._send_error() from None

    def _send_error(self) -> ConnectionClosed:
        """Return the error for a send that failed: the connection is lost."""
        self._lose("the connection was lost while sending")
        return self.closed_error()

    def ping(self, payload: bytes | None = None) -> AsyncResult:
        """Send a ping (RFC 6455 5.5.2). Does not block.

        Args:
            payload: at most 125 bytes; four random ones when None.

        Returns:
            An `AsyncResult` that gets the round trip in seconds with the pong: `ws.ping().get(timeout=5)`. It gets
            `ConnectionClosed` when the connection ends before.

        Raises:
            ConnectionClosed: the connection is over, or has begun to close.
            ValueError: the payload is too long.
        """
        if self._protocol.close_sent or self.over:
            raise self.closed_error()
        result = AsyncResult()
        self.send_ping(os.urandom(4) if payload is None else bytes(payload), result)
        return result

    # The end

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection (RFC 6455 7.1.2). Blocks until the peer has answered, for `close_timeout` at the most.

        Idempotent; any greenlet may call it, and a greenlet in `wait` gets the messages that came, then None.

        Args:
            code: 1000, 1001, 1002, 1003, 1007 to 1014, or 3000 to 4999.
            reason: at most 123 bytes in UTF-8.

        Raises:
            ValueError: code or reason may not be sent.
        """
        self.finish(code, reason, self._timing.close_timeout)

    def __enter__(self) -> WebSocket:
        """Return the connection, to be closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close with 1000, or with 1011 when the block raised."""
        self.close(1000 if kind is None else 1011)

    @property
    def closed(self) -> bool:
        """Whether the connection is over or has begun to close: `send` raises."""
        return self.over or self._protocol.close_sent

    @property
    def close_code(self) -> int | None:
        """The close code: the peer's, or ours where we failed the connection; 1006 when it was lost; None before."""
        return self._protocol.close_code if self.over else None

    @property
    def close_reason(self) -> str | None:
        """The reason that came with `close_code`; None while the connection lives."""
        return self._protocol.close_reason if self.over else None


def _convert(message: Any) -> tuple[bytes, list[bytes], int]:
    """Return what is to be sent of a message that is not exactly str or bytes; a buffer is copied, as it may change."""
    if isinstance(message, str):
        return message.encode(), _TEXT_HEADERS, TEXT
    if isinstance(message, (bytes, bytearray, memoryview)):
        return bytes(message), _BINARY_HEADERS, BINARY
    raise TypeError(f"a message is str or bytes-like, not {type(message).__name__}")
