"""StreamingWebSocket: messages received piece by piece, without holding them whole."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from .protocol.memory import copy, decode
from .protocol.messages import EndOfMessage, too_big
from .websocket import WebSocket, get_connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .engine.connection import Connection

__all__ = ["StreamingWebSocket"]


class StreamingWebSocket(WebSocket):
    """A WebSocket whose messages can be taken in pieces, as they arrive, and so can be of any size.

    A handler gets one with the option `streaming=True`. `wait` still returns whole messages, and still refuses those
    over `max_message_size`.
    """

    __slots__ = ("_collected", "_ended", "_started")

    def __init__(self, connection: Connection, environ: dict[str, Any] | None = None) -> None:
        super().__init__(connection, environ)
        self._started = False  # whether a piece of the first message was taken
        self._ended = 0  # how many messages were taken to their end
        self._collected: BytesIO | None = None  # the pieces that an interrupted `wait` has collected

    def wait_pieces(self, timeout: float | None = None) -> Iterator[str | bytes] | None:
        """Return an iterator over the pieces of the next message. Blocks until the first piece has arrived.

        The pieces are `str` for a text message and `bytes` for a binary one. A piece has the length in which it
        arrives, but at most 128 KiB (a message of draft 75 or 76 is one piece); an empty message has one empty piece.
        The iterator blocks for each piece, and raises `ConnectionClosed` if the connection ends within the message. The
        next call skips the pieces that were not taken; after that, the old iterator raises `RuntimeError`.

        Args:
            timeout: seconds that this call blocks at most, but not the iterator; None, the default, for no limit.

        Returns:
            The iterator; None once the connection is over.

        Raises:
            TimeoutError: no message began in time. None is lost.
            ConcurrencyError: another greenlet is receiving.
        """
        self._collected = None
        while self._started:
            if self._next(timeout) is None:
                return None
        piece = self._next(timeout)
        return None if piece is None else _iterate(self, piece)

    def wait(self, timeout: float | None = None) -> str | bytes | None:
        """Return the next message whole: see `WebSocket.wait`. One over `max_message_size` closes with 1009."""
        while not isinstance(piece := self._next(timeout), EndOfMessage):
            if piece is None:
                return None
            collected = self._collected = self._collected or BytesIO()  # no list: a piece of one character is 80 bytes
            collected.write(piece.encode() if isinstance(piece, str) else piece)
            if collected.tell() > get_connection(self).protocol.max_message_size:
                self._collected = None
                _refuse(get_connection(self))
                return None
        return _join(self, piece.empty)

    def __iter__(self) -> Iterator[str | bytes]:
        """Iterate over the messages, whole, until the connection is over. Blocks, and raises, as `wait` does."""
        return iter(self.wait, None)

    def _next(self, timeout: float | None) -> Any:
        """Return the next piece or end of a message, or None once the connection is over."""
        piece: Any = super().wait(timeout)
        ends = isinstance(piece, EndOfMessage)
        self._started = piece is not None and not ends
        self._ended += ends
        return piece


def _iterate(ws: StreamingWebSocket, piece: Any) -> Iterator[str | bytes]:
    """Yield the pieces of the message that begins with this one."""
    ended = ws._ended
    if isinstance(piece, EndOfMessage):
        yield piece.empty
    while not isinstance(piece, EndOfMessage):
        yield piece
        if ws._ended != ended:
            raise RuntimeError("the rest of this message was skipped when the next one was requested")
        piece = ws._next(None)
        if piece is None:
            raise get_connection(ws).closed_error()


def _join(ws: StreamingWebSocket, empty: str | bytes) -> str | bytes:
    """Return the collected message, and forget it."""
    collected, ws._collected = ws._collected, None
    if collected is None:
        return empty
    if isinstance(empty, bytes):
        return collected.getvalue()
    if collected.getvalue().isascii():
        return str(collected.getbuffer(), "ascii")
    payload = copy(collected.getbuffer())
    del collected
    return decode(payload)


def _refuse(connection: Connection) -> None:
    """Fail a connection for a message that is too large to be held whole."""
    protocol = connection.protocol
    for messages in (protocol.inbox, protocol.pending):
        if messages:
            messages.clear()
    protocol.fail(too_big(protocol.max_message_size))
    connection.closing.reply()
