"""The C core in Python: the specification of frame.c, and the fallback where it is not built.

Same names, same results. `scan` and `mask` here do by slices and big integers what frame.c does byte by byte;
tests/core/test_parity.py holds the two against each other. `deflate` leaves all to zlib, as deflate.c
does with what is not for it.
"""

from __future__ import annotations

import errno
import sys
from typing import Any, Protocol, TypeAlias

from .inodes import Inodes

# enum ws_status
MORE = 0
PAYLOAD = 1
FULL = 2
RESERVED_BITS = 3
RESERVED_OPCODE = 4
CONTROL_FRAGMENTED = 5
CONTROL_TOO_LONG = 6
MASK_MISSING = 7
MASK_UNEXPECTED = 8
LENGTH_NOT_MINIMAL = 9
LENGTH_TOO_LARGE = 10
TOO_BIG = 11

FAST_SIZE, FAST_DEFLATED, FAST_UNMASKED = (1 << 30) - 1, 1 << 30, 1 << 31  # WS_FAST_...

MAX_FRAMES = 256
"""How many frames one scan returns at the most."""

RawFrame: TypeAlias = "tuple[int, int, int, int]"
"""struct ws_frame, a frame as offsets into the buffer: start, length, mask_key, head (the first byte)."""

ScanResult: TypeAlias = "tuple[int, int, list[RawFrame], RawFrame | None]"
"""The out-fields of struct ws_scan: status, consumed, the complete frames, and, for PAYLOAD, the next one."""

Buffer: TypeAlias = "bytes | bytearray | memoryview"


# Up to this size one big integer beats translating four slices through a table, for any processor seen.
_INTEGER_LIMIT = 1024
_TABLES: dict[int, bytes] = {}


def _table(byte: int) -> bytes:
    """Return the 256-byte table for bytes.translate that XORs with `byte`."""
    table = _TABLES.get(byte)
    if table is None:
        table = _TABLES[byte] = bytes(i ^ byte for i in range(256))
    return table


def _mask_integer(data: Buffer, key: bytes) -> bytes:
    size = len(data)
    repeated = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")).to_bytes(size, "little")


def mask(data: Buffer, mask_key: bytes, offset: int = 0) -> bytes:
    """Return `data` XORed with the key, where data[0] is byte number `offset` of the payload (5.3)."""
    if len(mask_key) != 4:
        raise ValueError("a mask key is four bytes")
    turn = offset & 3
    key = mask_key[turn:] + mask_key[:turn]
    if len(data) <= _INTEGER_LIMIT:
        return _mask_integer(data, key)
    result = bytearray(data)
    for i in range(4):
        result[i::4] = result[i::4].translate(_table(key[i]))
    return bytes(result)


def mask_in_place(buffer: bytearray | memoryview, start: int, end: int, mask_key: int, offset: int = 0) -> None:
    """XOR buffer[start:end] with the key, given as the number that its four bytes are in memory."""
    buffer[start:end] = mask(buffer[start:end], mask_key.to_bytes(4, sys.byteorder), offset)


LARGEST_BUFFER = 64 * 1024
"""The longest payload that gets a buffer of its own size before it has come."""


def deflate(data: Buffer, window: int) -> bytes:
    """Return b"": compressing is left to zlib."""
    return b""


def new_buffer(length: int) -> tuple[bytes | bytearray, memoryview]:
    """Return a buffer for a payload, and the view through which it is written."""
    buffer = bytearray(length)
    return buffer, memoryview(buffer)


def scan(
    buffer: memoryview | bytearray, max_payload: int, reserved: int, masked: bool, max_frames: int = MAX_FRAMES
) -> ScanResult:
    """Scan the buffer for complete frames, and unmask their payloads in place."""
    size = len(buffer)
    consumed = 0
    frames: list[RawFrame] = []
    while consumed < size:
        if len(frames) == max_frames:
            return FULL, consumed, frames, None
        status, frame = _read_header(buffer, consumed, max_payload, reserved, masked)
        if frame is None:
            return status, consumed, frames, None
        start, length, mask_key, _head = frame
        if start + length > size:
            return PAYLOAD, consumed, frames, frame
        if masked and length:
            mask_in_place(buffer, start, start + length, mask_key)
        frames.append(frame)
        consumed = start + length
    return MORE, consumed, frames, None


def _read_header(
    buffer: memoryview | bytearray, at: int, max_payload: int, reserved: int, masked: bool
) -> tuple[int, RawFrame | None]:
    """Read the header at buffer[at:]; the frame is there only when the header is complete and good."""
    status = _check_start(buffer, at, reserved, masked)
    if status != PAYLOAD:
        return status, None
    size = len(buffer)
    length = buffer[at + 1] & 0x7F
    extended = 0 if length < 126 else 2 if length == 126 else 8
    if size < at + 2 + extended:
        return MORE, None
    if extended:
        length = int.from_bytes(buffer[at + 2 : at + 2 + extended], "big")
    status = _check_length(length, extended, buffer[at], max_payload)
    if status != PAYLOAD:
        return status, None
    start = at + 2 + extended + (4 if masked else 0)
    if size < start:
        return MORE, None
    key = int.from_bytes(buffer[start - 4 : start], sys.byteorder) if masked else 0
    return PAYLOAD, (start, length, key, buffer[at])


def _check_start(buffer: memoryview | bytearray, at: int, reserved: int, masked: bool) -> int:
    """Check the first two bytes, as many as there are."""
    head = buffer[at]
    opcode = head & 0x0F
    if head & 0x70 & ~(reserved if opcode < 8 else 0):
        return RESERVED_BITS
    if opcode & 7 > 2:
        return RESERVED_OPCODE
    if opcode >= 8 and not head & 0x80:
        return CONTROL_FRAGMENTED
    if len(buffer) < at + 2:
        return MORE
    second = buffer[at + 1]
    if second >> 7 != masked:
        return MASK_MISSING if masked else MASK_UNEXPECTED
    if opcode >= 8 and second & 0x7F > 125:
        return CONTROL_TOO_LONG
    return PAYLOAD


def _check_length(length: int, extended: int, head: int, max_payload: int) -> int:
    """Check the length against its encoding and the limit."""
    if extended == 8 and length >> 63:
        return LENGTH_TOO_LARGE
    if (extended == 2 and length < 126) or (extended == 8 and length < 65536):
        return LENGTH_NOT_MINIMAL
    if length > max_payload and not head & 0x08:
        return TOO_BIG
    return PAYLOAD

# Receiving for all sockets of a loop

CHUNK_SIZE = 128 * 1024
"""Bytes that one connection receives in a batch at the most."""

SMALL_CHUNK = 16 * 1024
"""The same where its messages are compressed, as a kilobyte may inflate to a megabyte, or where `max_message_size` is
below FULL_CHUNK_LIMIT."""

FULL_CHUNK_LIMIT = 512 * 1024
"""The least `max_message_size`, in bytes, with which a connection receives CHUNK_SIZE at once."""

MAX_EVENTS = 128
"""How many sockets a set is asked for at once."""

EPOLLOUT = 4
"""The event of a socket that takes bytes again, as <sys/epoll.h> has it."""


class Owner(Protocol):
    """What a receiver needs of its poller, which describes these."""

    loop: Any
    system: Any
    clock: Any
    turns: Any
    channels: list[Any]
    interest: Any

    def call(self, channel: Any, function: Any, *arguments: Any) -> None: ...

    def fail(self, channel: Any) -> None: ...


class Receiver:
    """Receives for the channels of a poller, one after the other, into their inboxes.

    What a channel raises meanwhile ends that channel (`Poller.fail`), and no other one's messages are lost with it.
    """

    def __init__(self, poller: Owner) -> None:
        self.poller = poller
        self.spare = memoryview(bytearray(CHUNK_SIZE))  # for what a channel receives by itself
        self.inodes = Inodes(poller.system.fstat)
        self._polled = 0.0  # when `receive` was called last, by the poller's clock
        self._events: list[tuple[int, int]] = []  # what the set has reported and nobody has handled, the last first

    @property
    def saw_stray(self) -> bool:
        """Whether the last batch may have had an event of a socket that is no channel's. Only the C core can say no."""
        return True

    def get_polled(self) -> float:
        """Return when `receive` was called last, by the poller's clock: then the loop had its turn."""
        return self._polled

    def grow(self, size: int) -> None:
        """Make room for descriptors below `size`."""

    def attach(self, epoll: Any) -> None:
        """Use this set from now on; what another one has reported is forgotten."""
        self._events.clear()

    def forget(self, fd: int) -> None:
        """Forget what the set has reported of a descriptor that is watched otherwise from now on, or no longer."""
        self._events = [event for event in self._events if event[0] != fd]

    def drop(self, fd: int) -> None:
        """Know nothing about a descriptor any longer."""
        self.inodes.drop(fd)

    def let_go(self) -> None:
        """Give the buffers back: nothing will be received any more."""
        self.spare = memoryview(b"")

    def set_fast_path(self, fd: int, word: int) -> None:
        """Say which whole messages may go past the protocol (`WS_FAST_...` in receive.h). Here none does."""

    def note_fork(self) -> None:
        """Note which socket each descriptor is, now that a child holds them, too."""
        self.inodes.note(self.poller.channels)

    def receive(self) -> list[Any]:
        """Receive for ready channels as long as the turn lasts, and return those to run."""
        poller = self.poller
        found: list[Any] = []
        self._polled = poller.clock.monotonic()
        self._events = self._events or poller.interest.set.poll(0, MAX_EVENTS)[::-1]
        while self._events and not (found and poller.turns.is_over()):
            fd, event = self._events.pop()
            channel = poller.channels[fd]
            if channel is None:
                poller.interest.doubtful = True
                continue
            found.append(channel)
            try:
                self._take_event(channel, fd, event)
            except BaseException:
                poller.fail(channel)
        return found

    def _take_event(self, channel: Any, fd: int, event: int) -> None:
        if self.inodes.is_stranger(fd):
            channel.receive_eof(errno.EBADF)
            return
        if event & EPOLLOUT:
            channel.writable()
        if event & ~EPOLLOUT and self.poller.channels[fd] is channel:
            channel.readable()

    def busy_poll(self) -> list[Any]:
        """Wait a moment for the next batch, receive it, and return the channels to run. Only the C core does that."""
        return []

    def split(self, channel: Any, count: int, word: int) -> None:
        """Give a channel the bytes that it received into `spare`; `word` is as for `set_fast_path`."""
        channel.receive_data(self.spare[:count])
