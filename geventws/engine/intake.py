"""From a socket's bytes to a connection's messages, as far as its handler keeps up. Nothing here blocks.

The C core receives and decodes for most connections in one go (receive.h). What is here receives large messages into
a buffer of their own, and over TLS; and decodes what needs thought.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .._core import FAST_DEFLATED, FAST_SIZE, FAST_UNMASKED, FULL_CHUNK_LIMIT, SMALL_CHUNK

if TYPE_CHECKING:
    from ..protocol.interface import ConnectionProtocol
    from .loop.turns import Turns
    from .stream import Stream

NOTHING = memoryview(bytearray())


class Taker(Protocol):
    """The connection that receives."""

    def receive_data(self, data: memoryview) -> None:
        """Take bytes as they came."""

    def receive_eof(self, number: int) -> None:
        """Take the end of the stream, and the errno it came with, or 0."""

    def after_receiving(self) -> None:
        """See to the replies, and to the end."""

    def hold_back(self) -> None:
        """Receive and decode no more until the handler has taken what waits."""

    def go_on_later(self) -> None:
        """Receive and decode no more until the next turn."""


def decode(taker: Taker, protocol: ConnectionProtocol, turns: Turns, data: memoryview = NOTHING) -> bool:
    """Decode what was received and what was kept; return whether that was all.

    What is left goes on in the next turn, or when the handler has taken what waits.
    """
    while protocol.receive_data(data):
        tired, data = protocol.tired, NOTHING
        taker.after_receiving()
        if protocol.failure or protocol.close_received:
            return True
        if not tired:
            taker.hold_back()
            return False
        if turns.is_over():
            taker.go_on_later()
            return False
    taker.after_receiving()
    return True


def receive(taker: Taker, protocol: ConnectionProtocol, stream: Stream, fast_path: int) -> bool:
    """Receive once; `fast_path` is what `find_fast_path` returned. Return whether TLS holds more back."""
    if stream.paused:
        return False
    target = None if fast_path else protocol.receive_buffer()
    size = _get_size(protocol, stream) if target is None else len(target)
    try:
        count = stream.receive_into(stream.poller.scratch[:size] if target is None else target)
    except OSError as error:
        taker.receive_eof(error.errno or 0)
        return False
    if not count:
        if count is not None:
            taker.receive_eof(0)
        return False
    if fast_path:
        stream.poller.receiver.split(taker, count, fast_path)
    elif target is None:
        taker.receive_data(stream.poller.scratch[:count])
    else:
        del target  # a text is decoded in the place of what it comes from
        _take_direct(taker, protocol, count)
    return count == size and not stream.closed and stream.more()


def _take_direct(taker: Taker, protocol: ConnectionProtocol, count: int) -> None:
    """Take bytes that were received into a buffer of their own."""
    waits = protocol.buffer_received(count)
    taker.after_receiving()
    if waits:
        taker.hold_back()


def _get_size(protocol: ConnectionProtocol, stream: Stream) -> int:
    """Return how much is received at once."""
    small = protocol.extension is not None or protocol.max_message_size < FULL_CHUNK_LIMIT
    return SMALL_CHUNK if small else len(stream.poller.scratch)


def find_fast_path(protocol: ConnectionProtocol) -> int:
    """Return the word that says which whole messages may go past the protocol (`WS_FAST_...` in receive.h)."""
    size = protocol.fast_path
    if not size:
        return 0
    unmasked = FAST_UNMASKED if protocol.client else 0
    extension = protocol.extension
    deflated = FAST_DEFLATED if extension and extension.fast_path else 0
    return min(size, FAST_SIZE) | unmasked | deflated
