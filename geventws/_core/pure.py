"""The C core in Python: the specification of frame.c and mask.c, and the fallback if the core is not built.

The names and results are the same. `scan` and `mask` do with slices and big integers what the C code does byte by byte;
tests/core/test_native.py compares the two. `deflate` leaves everything to zlib, as deflate.c does with messages that
are too small or too large for it.
"""

from __future__ import annotations

import sys
from typing import TypeAlias

from .fanout.pure import Fanout
from .receive.pure import FAST_DEFLATED, FAST_SIZE, FAST_UNMASKED, FULL_CHUNK_LIMIT, SMALL_CHUNK, Receiver

__all__ = [
    "FAST_DEFLATED",
    "FAST_SIZE",
    "FAST_UNMASKED",
    "FULL_CHUNK_LIMIT",
    "LARGEST_BUFFER",
    "SMALL_CHUNK",
    "Fanout",
    "Receiver",
    "deflate",
    "mask",
    "mask_in_place",
    "new_buffer",
    "scan",
]

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

MAX_FRAMES = 256
"""The most frames that one scan returns."""

RawFrame: TypeAlias = "tuple[int, int, int, int]"
"""struct ws_frame, a frame as offsets into the buffer: start, length, mask_key, head (the first byte)."""

ScanResult: TypeAlias = "tuple[int, int, list[RawFrame], RawFrame | None]"
"""The out-fields of struct ws_scan: status, consumed, the complete frames, and, for PAYLOAD, the next one."""

Buffer: TypeAlias = "bytes | bytearray | memoryview"


# Up to this size one big integer is faster than four slices translated by a table, on every processor measured.
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
"""The longest payload that gets a buffer of its full size at once."""


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
