"""Bytes on the wire: frames are built, read and fed here, and a reference for the scan, written apart from the package.

It is written from RFC 6455 5.2 alone, and imports nothing of geventws, so that it shares no mistake with it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

MASK_KEY = b"\x37\xfa\x21\x3d"  # the one of RFC 6455 5.7
HUGE = b"\x82\xff" + (1 << 30).to_bytes(8, "big") + MASK_KEY  # announces 1 GiB, which no default allows
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
RSV1, RSV2, RSV3 = 4, 2, 1


class Frame(NamedTuple):
    """A frame, as it came or is to go."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0

    @property
    def head(self) -> int:
        """The first byte on the wire."""
        return self.fin << 7 | self.rsv << 4 | self.opcode

    def encode(self, key: bytes | None = MASK_KEY, form: int | None = None) -> bytes:
        """Return the bytes, masked with `key` unless that is None; `form` is that of lengths()."""
        start = bytes([self.head]) + lengths(len(self.payload), key is not None, form)
        return start + (self.payload if key is None else key + apply_mask(self.payload, key))


def frame(
    opcode: int,
    payload: bytes | str = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = MASK_KEY,
    form: int | None = None,
) -> bytes:
    """Return a client's frame; `key=None` leaves it unmasked, as a server's is."""
    body = payload.encode() if isinstance(payload, str) else payload
    return Frame(opcode, body, fin, rsv).encode(key, form)


def text(message: str) -> bytes:
    """Return a text message in one frame."""
    return frame(TEXT, message)


def binary(message: bytes) -> bytes:
    """Return a binary message in one frame."""
    return frame(BINARY, message)


def close(code: int | None = 1000, reason: str = "") -> bytes:
    """Return a close frame."""
    return frame(CLOSE, close_payload(code, reason))


def close_payload(code: int | None, reason: str = "") -> bytes:
    """Return the payload of a close frame (RFC 6455 5.5.1)."""
    return b"" if code is None else struct.pack("!H", code) + reason.encode()


def lengths(length: int, masked: bool, form: int | None = None) -> bytes:
    """Return a header from its second byte to the end of the length, in 0, 2 or 8 extended bytes."""
    if form is None:
        form = 0 if length < 126 else 2 if length < 65536 else 8
    bit = 0x80 if masked else 0
    if form == 0:
        return bytes([bit | length])
    if form == 2:
        return bytes([bit | 126]) + struct.pack(">H", length)
    return bytes([bit | 127]) + struct.pack(">Q", length)


def apply_mask(data: bytes, key: bytes, offset: int = 0) -> bytes:
    """Return data, masked or unmasked (RFC 6455 5.3), on one big integer; `offset` is its place in the payload."""
    size, turn = len(data), offset % 4
    repeated = ((key[turn:] + key[:turn]) * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


def read_frames(data: bytes) -> list[Frame]:
    """Return the frames of bytes that hold nothing but whole, good ones, masked or not."""
    found = []
    while data:
        masked = bool(data[1] & 0x80)
        status, consumed, frames, _next, clear = scan(data, 1 << 62, 0x70, masked, 1)
        assert status in ("MORE", "FULL") and frames, f"no whole frame: {data[:20]!r}"
        start, length, _key, head = frames[0]
        found.append(Frame(head & 0x0F, clear[start : start + length], bool(head & 0x80), head >> 4 & 7))
        data = data[consumed:]
    return found


class Breach(Exception):
    """The name of the rule that is broken."""


class Short(Exception):
    """More bytes are needed."""


def read_header(data: bytes, limit: int, reserved: int, masked: bool) -> tuple[int, int, bytes, int]:
    """Return offset and length of the payload, the key and the first byte, or raise Breach or Short."""

    def need(count: int) -> None:
        if len(data) < count:
            raise Short

    def rule(kept: bool, name: str) -> None:
        if not kept:
            raise Breach(name)

    need(1)
    control = data[0] & 0x0F in (8, 9, 10)
    rule(not data[0] & 0x70 & (0x70 ^ (0 if data[0] & 8 else reserved)), "RESERVED_BITS")
    rule(data[0] & 0x0F in (0, 1, 2, 8, 9, 10), "RESERVED_OPCODE")
    rule(not control or data[0] >= 0x80, "CONTROL_FRAGMENTED")
    need(2)
    rule(not masked or data[1] >= 0x80, "MASK_MISSING")
    rule(masked or data[1] < 0x80, "MASK_UNEXPECTED")
    short = data[1] % 128
    rule(not control or short <= 125, "CONTROL_TOO_LONG")
    at = {126: 4, 127: 10}.get(short, 2)
    need(at)
    length = {126: int(data[2:4].hex() or "0", 16), 127: int(data[2:10].hex() or "0", 16)}.get(short, short)
    rule(length < 2**63, "LENGTH_TOO_LARGE")
    rule(short < 126 or length >= {126: 126, 127: 65536}[short], "LENGTH_NOT_MINIMAL")
    rule(control or length <= limit, "TOO_BIG")
    need(at + 4 * masked)
    return at + 4 * masked, length, data[at : at + 4 * masked], data[0]


Scan = tuple[str, int, list[Any], Any, bytes]


def scan(data: bytes, limit: int, reserved: int, masked: bool, max_frames: int) -> Scan:
    """Return how a scan ends, the bytes it consumes, its frames, the next one, and the data unmasked."""
    at, frames, clear = 0, [], b""
    while at < len(data):
        if len(frames) == max_frames:
            return "FULL", at, frames, None, clear + data[at:]
        try:
            start, length, key, head = read_header(data[at:], limit, reserved, masked)
        except Short:
            break
        except Breach as breach:
            return str(breach), at, frames, None, clear + data[at:]
        found = (at + start, length, key, head)
        end = at + start + length
        if end > len(data):
            return "PAYLOAD", at, frames, found, clear + data[at:]
        payload = data[at + start : end]
        clear += data[at : at + start] + (apply_mask(payload, key) if masked else payload)
        frames.append(found)
        at = end
    return "MORE", at, frames, None, clear + data[at:]


# Ways to feed a protocol. Each takes the bytes to the last, whatever becomes of them.

PATIENCE = 4000  # bytes; of more, only the first ones are fed in small parts


def step(size: int, at: int, total: int) -> int:
    """Return the size of the part at `at`."""
    return size if total < PATIENCE or at < 300 else max(size, 997)


def feed(protocol: Any, data: bytes, size: int = 1 << 30) -> None:
    """Feed in parts of `size` bytes."""
    at = 0
    while at < len(data):
        piece = bytearray(data[at : at + step(size, at, len(data))])
        protocol.receive_data(memoryview(piece))
        at += len(piece)


def receive(protocol: Any, data: bytes, size: int = 1 << 30) -> None:
    """Feed in parts of at most `size` bytes, into the protocol's own buffer where it offers one."""
    at = 0
    while at < len(data):
        target = protocol.receive_buffer()
        piece = bytearray(data[at : at + step(size, at, len(data))])
        if target is None:
            protocol.receive_data(memoryview(piece))
        else:
            piece = piece[: len(target)]
            target[: len(piece)] = piece
            protocol.buffer_received(len(piece))
        at += len(piece)


WAYS: dict[str, Callable[[Any, bytes], None]] = {
    "whole": feed,
    "byte by byte": lambda protocol, data: feed(protocol, data, 1),
    "by sevens": lambda protocol, data: feed(protocol, data, 7),
    "byte by byte, into its buffer": lambda protocol, data: receive(protocol, data, 1),
    "by sevens, into its buffer": lambda protocol, data: receive(protocol, data, 7),
}


def sent(protocol: Any) -> list[tuple[int, bytes]]:
    """Return the opcodes and payloads of what a protocol would send, which is whole messages."""
    found = read_frames(b"".join(protocol.output))
    assert all(one.fin and not one.rsv for one in found)
    return [(one.opcode, one.payload) for one in found]
