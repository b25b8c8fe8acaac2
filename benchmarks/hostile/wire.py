"""Bytes of an attacker: frames, handshakes, bombs; written apart from the package that is attacked.

Masked frames have the key 0, so that what is masked reads as what is not: an attacker need not pay for masks.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import struct
import zlib

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
DEFLATED = 4
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
OFFER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
EMOJI = "\N{GRINNING FACE}"
WINDOW = 9
"""Bits of a server's window, which it names in its answer; a client has 15."""


def frame(opcode: int, payload: bytes = b"", *, masked: bool = True, fin: bool = True, rsv: int = 0) -> bytes:
    """Return one frame."""
    size, mask = len(payload), 0x80 if masked else 0
    head = bytes((fin << 7 | rsv << 4 | opcode,))
    if size < 126:
        head += bytes((mask | size,))
    elif size < 1 << 16:
        head += struct.pack("!BH", mask | 126, size)
    else:
        head += struct.pack("!BQ", mask | 127, size)
    return head + (b"\0\0\0\0" if masked else b"") + payload


@functools.lru_cache(maxsize=64)
def deflated(opcode: int, message: bytes, *, masked: bool = True) -> bytes:
    """Return a message in one frame, compressed as permessage-deflate has it (RFC 7692 7.2.1)."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15 if masked else -WINDOW)
    data = compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return frame(opcode, data[:-4], masked=masked, rsv=DEFLATED)


def zeros(megabytes: int) -> bytes:
    """Return the payload of a compressed message of zeros: one megabyte of it, over and over."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -WINDOW)
    first, again = (compressor.compress(bytes(1 << 20)) + compressor.flush(zlib.Z_SYNC_FLUSH) for _ in range(2))
    return (first + again * (megabytes - 1))[:-4]


def text_with_emoji(size: int) -> bytes:
    """Return a text of so many bytes: Python keeps four for each of its characters."""
    return b"a" * (size - 4) + EMOJI.encode()


def request(
    path: str, *, method: str = "GET", deflate: bool = False, protocol: str = "", body: bytes = b"", length: int = -1
) -> bytes:
    """Return an opening handshake, with a body where it is given one, or announces one."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13"]
    lines += [f"Sec-WebSocket-Extensions: {OFFER}"] if deflate else []
    lines += [f"Sec-WebSocket-Protocol: {protocol}"] if protocol else []
    lines += [f"Content-Length: {max(length, len(body))}"] if body or length >= 0 else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer(head: bytes, *, deflate: bool = False) -> bytes:
    """Return a server's answer to an opening handshake, which offers to deflate."""
    pairs = [line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:]]
    key = next(value for name, value in pairs if name.lower() == "sec-websocket-key")
    accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Accept: {accept}"]
    lines += [f"Sec-WebSocket-Extensions: {OFFER}; server_max_window_bits={WINDOW}"] if deflate else []
    return "\r\n".join([*lines, "", ""]).encode()


def read_frame(data: bytes | bytearray) -> tuple[int, bytes, int] | None:
    """Return opcode, payload and size of the frame at the start of data, or None where it is not whole."""
    if len(data) < 2:
        return None
    size, at = data[1] & 0x7F, 2
    if size > 125:
        at = 4 if size == 126 else 10
        if len(data) < at:
            return None
        size = int.from_bytes(data[2:at], "big")
    key = b""
    if data[1] & 0x80:
        key, at = bytes(data[at : at + 4]), at + 4
    if len(data) < at + size:
        return None
    payload = bytes(data[at : at + size])
    if any(key):
        payload = bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))
    return data[0] & 0x0F, payload, at + size
