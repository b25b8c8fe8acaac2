"""How much memory messages take, and how much of it may wait for a busy handler. No I/O.

What is held for one connection is at most 2 x `max_message_size` + SLACK, or 5 x + SLACK while one text with a wide
character waits to be taken: Python keeps four bytes for each character of such a text. The parts of it:

    read_ahead(limit)       messages that wait, past which no further frame is decoded
    limit, and an eighth    the message that is being received, in a buffer that grows by eighths
    SLACK                   what one read received and is kept undecoded (128 KiB), what is corked, replies, pings

A message that was received whole stays encoded until it fits (`fits`). If nothing else waits, it always fits.

Each kind of protocol is an `Inbound`: it holds what was received, and the functions below keep that within its bounds.
"""

from __future__ import annotations

import codecs
import functools
import mmap
from sys import getsizeof
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection

Source: TypeAlias = "bytearray | mmap.mmap"

MADV_DONTNEED: int | None = getattr(mmap, "MADV_DONTNEED", None)  # Linux and BSD have it

SLACK = 256 * 1024
"""The most bytes that are held for a connection besides its messages."""

PLACE = 24
"""Bytes for a message's place in a list (in two, while it moves to another), and what the allocator adds."""

LEAST_AHEAD = 16 * 1024
"""This many bytes of messages may always wait, even if `max_message_size` is lower."""

SLICE = 16 * 1024
"""Bytes of a large text that are decoded at once."""

PAGES = 256 * 1024
"""A text of this many bytes, or more, is decoded from pages of its own."""

PIECE = 32 * 1024
"""The longest piece of a large frame, in bytes, if messages are delivered in pieces."""

MAX_CONTROLS = 64
"""How many pings and pongs are decoded before the replies to them are sent."""

MAX_WORK = 256
"""Work, in frames, after which others may have their turn: half a millisecond."""

PIECE_WORK = MAX_WORK // 16
"""The work, in frames, to inflate a piece, and to check it if it is text."""

CONTROL_WORK = MAX_WORK // MAX_CONTROLS
"""The work, in frames, for a control frame."""

MAX_CONTROL = 256
"""Bytes that a control frame and its payload take, at most."""


class Delivery(NamedTuple):
    """How messages are delivered: text as `str` or as `bytes`, and each one whole or in pieces."""

    decode_text: bool
    streaming: bool


@functools.cache
def get_delivery(decode_text: bool, streaming: bool) -> Delivery:
    """Return the `Delivery` that all connections with these options share."""
    return Delivery(decode_text, streaming)


class Inbound(Protocol):
    """What a connection has received, and how much it may hold.

    Attributes:
        inbox: the messages received, the oldest first: a list, or what takes its place.
        pending: messages that the reading greenlet has taken from the inbox and not returned yet: a list; () if the
            waiting messages are not bounded.
        waiting: the bytes of memory that both hold, while bytes are decoded; 0 if they are not bounded.
        work: the work done since bytes were received, in frames.
        max_message_size: the largest message taken, in bytes.
        delivery: how messages are delivered.
    """

    inbox: list[Any]
    pending: list[Any] | tuple[()]
    waiting: int
    work: int
    max_message_size: int
    delivery: Delivery


def is_bounded(inbound: Inbound) -> bool:
    """Whether decoding stops when too much waits."""
    return isinstance(inbound.pending, list)


def begin_work(inbound: Inbound) -> None:
    """Measure how much waits, before bytes are decoded."""
    inbound.work = 0
    if is_bounded(inbound) and (inbound.inbox or inbound.pending):
        inbound.waiting = measure(inbound.inbox) + measure(inbound.pending)


def is_tired(inbound: Inbound) -> bool:
    """Whether so much was decoded at once that others should have their turn; never without a bound."""
    return inbound.work >= MAX_WORK and is_bounded(inbound)


def is_full(inbound: Inbound) -> bool:
    """Whether nothing more may be decoded for now; never without a bound."""
    if not isinstance(inbound.pending, list):
        return False
    if inbound.work >= MAX_WORK or not inbound.waiting:
        return inbound.work >= MAX_WORK
    share = 2 if inbound.delivery.streaming else 1  # what `wait` collects is held besides
    return inbound.waiting * share > read_ahead(inbound.max_message_size)


def has_room(inbound: Inbound, size: int, narrow: bool) -> bool:
    """Whether there is room for a message besides what waits. A narrow one takes one byte for each byte received."""
    return inbound.delivery.streaming or fits(size, narrow, inbound.waiting, inbound.max_message_size)


def deliver(inbound: Inbound, message: Any) -> None:
    """Put a message, or a piece of one, into the inbox."""
    if isinstance(inbound.pending, list):
        inbound.waiting += getsizeof(message) + PLACE
    inbound.inbox.append(message)


_text_decoder = codecs.getincrementaldecoder("utf-8")


def measure(messages: Collection[str | bytes]) -> int:
    """Return the bytes of memory that messages hold in a list."""
    return sum(map(getsizeof, messages)) + PLACE * len(messages)


def read_ahead(max_message_size: int) -> int:
    """Return the bytes of messages that may wait before receiving pauses."""
    return max(max_message_size - (max_message_size >> 3), LEAST_AHEAD)


def fits(size: int, ascii_only: bool, waiting: int, max_message_size: int) -> bool:
    """Tell whether a message of so many bytes can be decoded besides what waits: while it is, memory holds it twice.

    A character takes at most four bytes of memory, and was received as at least one.
    """
    return not waiting or waiting + (2 if ascii_only else 5) * size <= max(2 * max_message_size, LEAST_AHEAD)


def copy(payload: bytes | bytearray | memoryview) -> Source:
    """Return a copy for `decode` to use up: a large payload is copied to pages that go back to the system at once."""
    if len(payload) < PAGES or MADV_DONTNEED is None:
        return bytearray(payload)
    pages = mmap.mmap(-1, len(payload), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages[:] = payload
    return pages


def _take(payload: Source, size: int) -> bytes | bytearray:
    """Take the next bytes out of a payload, and return them."""
    if isinstance(payload, bytearray):
        part = payload[:size]
        del payload[:size]
        return part
    taken = payload.read(size)
    done = payload.tell() & -mmap.PAGESIZE
    if done and MADV_DONTNEED is not None:
        payload.madvise(MADV_DONTNEED, 0, done)
    return taken


def decode(payload: Source, errors: str = "strict") -> str:
    """Decode UTF-8, and use up `payload`, which shrinks while the text grows.

    Decoded in one go, a text with a wide character would be in memory three times: as bytes, as a text with one byte
    for each character up to the first that needs more, and as the text that is returned.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    decode_next = _text_decoder(errors).decode
    left = len(payload)
    text, size, large = "", SLICE, left >> 3
    while left:
        part = _take(payload, size)
        left -= len(part)
        text += decode_next(part, not left)
        if getsizeof(text) > 3 * len(text):  # it has wide characters: the rest is decoded at once, to save moving it
            size = max(SLICE, large)
    return text


def _warm_up() -> None:
    """Decode a few times: CPython adds to a text in its place only in code that it has seen to do so."""
    for _ in range(64):
        decode(bytearray(b"ab"))


_warm_up()
