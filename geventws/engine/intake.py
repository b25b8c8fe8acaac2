"""Turns a socket's bytes into a connection's messages, as fast as its handler takes them. Nothing here blocks.

The C core receives and decodes the common cases for all connections in one call (receive.h). This module receives large
messages into buffers of their own, and receives over TLS; it has the protocol decode what the core does not; and it
pauses receiving while a handler is behind.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Protocol

from .._core import FAST_DEFLATED, FAST_SIZE, FAST_UNMASKED, FULL_CHUNK_LIMIT, SMALL_CHUNK
from ..protocol.memory import measure, read_ahead

if TYPE_CHECKING:
    from ..protocol.interface import ConnectionProtocol
    from .stream import Stream

READ_AHEAD = 64
"""Receiving pauses when this many messages wait for a busy handler. Their bytes are bounded, too: see memory.py."""

NOTHING = memoryview(bytearray())

NOWHERE: Any = deque(maxlen=0)
"""The inbox of a connection whose messages nobody will take: it drops them."""


class Taker(Protocol):
    """The connection that receives: see `Connection`, which has these described."""

    stream: Stream
    protocol: ConnectionProtocol
    inbox: list[Any]
    fast_path: int
    ended: bool
    wait_needs_work: bool

    def run(self) -> bool:
        """Switch to the greenlet that waits for a message."""

    def receive_data(self, data: memoryview) -> None:
        """Take received bytes."""

    def receive_eof(self, number: int) -> None:
        """Note that the stream has ended, with this errno, or 0."""

    def after_receiving(self) -> None:
        """Send the replies, and end the connection if it has to end."""

    def discard(self) -> None:
        """Take no message any more."""


def decode(taker: Taker, data: memoryview = NOTHING) -> bool:
    """Decode what was received and what was kept; return whether nothing is left.

    The rest is decoded in the next turn, or when the handler has taken the messages that wait.
    """
    protocol = taker.protocol
    while protocol.receive_data(data):
        tired, data = protocol.tired, NOTHING
        taker.after_receiving()
        if protocol.failure or protocol.close_received:
            return True
        if not tired:
            hold_back(taker)
            return False
        if taker.stream.poller.turns.is_over():
            go_on_later(taker)
            return False
    taker.after_receiving()
    return True


def receive(taker: Taker) -> bool:
    """Receive once. Return whether TLS holds more bytes that it has received already."""
    protocol, stream = taker.protocol, taker.stream
    fast_path = taker.fast_path
    if stream.paused:
        return False
    target = None if fast_path else protocol.receive_buffer()
    size = _get_size(protocol, stream) if target is None else len(target)
    try:
        count = stream.receive_into(stream.poller.receiver.scratch[:size] if target is None else target)
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
        taker.receive_data(stream.poller.receiver.scratch[:count])
    else:
        del target  # or `decode` could not shrink the buffer
        _take_direct(taker, count)
    return count == size and not stream.closed and stream.more()


def _take_direct(taker: Taker, count: int) -> None:
    """Take bytes that were received into a buffer of their own."""
    waits = taker.protocol.buffer_received(count)
    taker.after_receiving()
    if waits:
        hold_back(taker)


def _get_size(protocol: ConnectionProtocol, stream: Stream) -> int:
    """Return how much is received at once."""
    small = protocol.extension is not None or protocol.max_message_size < FULL_CHUNK_LIMIT
    return SMALL_CHUNK if small else len(stream.poller.receiver.scratch)


# The fast path, past the protocol


def find_fast_path(protocol: ConnectionProtocol) -> int:
    """Return the word that says which whole messages may go past the protocol (`WS_FAST_...` in receive.h)."""
    size = protocol.fast_path
    if not size:
        return 0
    extension = protocol.extension
    return _join(size, protocol.client, extension is not None and extension.fast_path)


@lru_cache(maxsize=64)
def _join(size: int, client: bool, deflated: bool) -> int:
    """Return the word: one object for all connections that have the same, as an `int` of its own takes 32 bytes."""
    return min(size, FAST_SIZE) | (FAST_UNMASKED if client else 0) | (FAST_DEFLATED if deflated else 0)


def update_fast_path(taker: Taker) -> None:
    """Tell the poller whether whole messages may go past the protocol, if that has changed."""
    stream = taker.stream
    if stream.closed:
        return
    word = 0 if stream.paused else find_fast_path(taker.protocol)
    if word != taker.fast_path:
        taker.fast_path = word
        # bytes received over TLS, or that only the protocol can inflate, are split in `receive`
        extension = taker.protocol.extension
        if not stream.opaque and (extension is None or extension.fast_path):
            stream.poller.set_fast_path(taker, word)


# Pausing


def check_read_ahead(taker: Taker) -> None:
    """Pause receiving when the handler is too far behind."""
    if taker.stream.paused or taker.ended:
        return
    inbox, pending = taker.inbox, taker.protocol.pending
    limit = read_ahead(taker.protocol.max_message_size)
    if len(inbox) + len(pending) >= READ_AHEAD or measure(inbox) + measure(pending) > limit:
        hold_back(taker)


def hold_back(taker: Taker) -> None:
    """Pause receiving until the handler has taken what waits; after our close frame, drop what is received."""
    if taker.protocol.close_sent:
        taker.discard()
        return
    taker.wait_needs_work = True
    _pause(taker)


def go_on_later(taker: Taker) -> None:
    """Pause receiving until the next turn."""
    _pause(taker)
    poller = taker.stream.poller
    poller.turns.later(partial(poller.call, taker, _go_on, taker))


def _pause(taker: Taker) -> None:
    if not taker.stream.paused:
        taker.stream.pause()
        update_fast_path(taker)


def _go_on(taker: Taker) -> None:
    if taker.stream.paused and not taker.wait_needs_work:  # otherwise the handler's next `wait` does this
        catch_up(taker)
        taker.stream.poller.clock.run_callback(taker.run)


def catch_up(taker: Taker) -> None:
    """Decode what was kept, and then receive again."""
    if decode(taker):
        taker.stream.resume()
        update_fast_path(taker)
        if taker.stream.more():
            receive_all(taker)


def receive_all(taker: Taker) -> None:
    """Receive once; over TLS, until nothing is left that TLS has received already."""
    while receive(taker):
        pass
