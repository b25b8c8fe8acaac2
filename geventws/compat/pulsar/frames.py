"""The frames of pulsar.utils.websocket, which pulsar.apps.ws exports, over geventws.frames. No I/O.

Unlike pulsar's parser, this one neither accepts nor produces what RFC 6455 forbids: reserved bits without an extension,
reserved opcodes and lengths that are not minimal are violations, text must be UTF-8, and `multi_encode` makes messages
that a peer accepts.
"""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from ..._core import mask, pure, scan
from ...exceptions import InvalidData, ProtocolError
from ...frames import Opcode, encode_close, encode_header, parse_close, violation
from .._controls import MAX_MESSAGE_SIZE

__all__ = [
    "CLOSE_CODES",
    "DEFAULT_VERSION",
    "SUPPORTED_VERSIONS",
    "Frame",
    "FrameParser",
    "ProtocolError",
    "frame_parser",
    "get_version",
    "parse_close",
]

DEFAULT_VERSION = 13
SUPPORTED_VERSIONS = (DEFAULT_VERSION,)

CLOSE_CODES = {
    1000: "OK",
    1001: "going away",
    1002: "protocol error",
    1003: "unsupported type",
    1007: "invalid data",
    1008: "policy violation",
    1009: "message too big",
    1010: "extension required",
    1011: "unexpected error",
}
"""The reason of a close frame, by its code."""

RSV_BITS = 0x70
OPCODES = frozenset(Opcode)

Message: TypeAlias = "str | bytes | bytearray | memoryview | None"
Scan: TypeAlias = Callable[[bytearray, int, int, bool, int], pure.ScanResult]

_text_decoder = codecs.getincrementaldecoder("utf-8")


def get_version(version: object) -> int:
    """Return the version of the protocol for a parser, 13 for None; ProtocolError for any other one."""
    if str(version or DEFAULT_VERSION) != str(DEFAULT_VERSION):
        raise ProtocolError(f"Version {version} not supported.")
    return DEFAULT_VERSION


def take_frame(
    buffer: bytearray, masked: bool, limit: int, reserved: int = 0, scan: Scan = scan
) -> tuple[int, bytes, bytes] | None:
    """Take the first frame off a buffer; return its first byte, its mask key and its payload, or None.

    Raises:
        ProtocolError: the bytes are not a frame.
    """
    status, consumed, frames, _next = scan(buffer, limit, reserved, masked, 1)
    if not frames:
        if status > pure.FULL:
            raise violation(status, buffer, limit)
        return None
    start, length, key, head = frames[0]
    payload = bytes(buffer[start : start + length])
    del buffer[:consumed]
    return head, key.to_bytes(4, sys.byteorder) if masked else b"", payload


def decode_body(head: int, payload: bytes) -> str | bytes:
    """Return the body of a frame: `str` for text, where a fragment may end within a character."""
    if head & 0x0F != Opcode.TEXT:
        return payload
    try:
        _text_decoder().decode(payload, bool(head & 0x80))
    except UnicodeDecodeError:
        raise InvalidData("a text frame is not UTF-8") from None
    return payload.decode("utf-8", "surrogateescape")


def encode_body(message: Message) -> bytes:
    """Return the bytes of a message."""
    if isinstance(message, str):
        return message.encode()
    return bytes(memoryview(message)) if message is not None else b""


class Frame:
    """A frame that was received.

    Attributes:
        opcode: its opcode.
        final: whether its message ends with it.
        body: its payload, `str` for text and bytes for the rest. If a text's first fragment ends within a character,
        the
            bytes of that character are escaped (Python's "surrogateescape").
        masking_key: the key that it was masked with, or b"".
        payload_length: bytes of its payload.
    """

    __slots__ = ("body", "final", "masking_key", "opcode", "payload_length")

    def __init__(
        self, opcode: int, final: bool, body: str | bytes, masking_key: bytes, payload_length: int
    ) -> None:
        self.opcode: int = opcode
        self.final: bool = final
        self.body: str | bytes = body
        self.masking_key: bytes = masking_key
        self.payload_length: int = payload_length

    @property
    def is_message(self) -> bool:
        """Whether it is a text frame."""
        return self.opcode == Opcode.TEXT

    @property
    def is_bytes(self) -> bool:
        """Whether it is a binary frame."""
        return self.opcode == Opcode.BINARY

    @property
    def is_close(self) -> bool:
        """Whether it is a close frame."""
        return self.opcode == Opcode.CLOSE

    @property
    def is_ping(self) -> bool:
        """Whether it is a ping."""
        return self.opcode == Opcode.PING

    @property
    def is_pong(self) -> bool:
        """Whether it is a pong."""
        return self.opcode == Opcode.PONG


class FrameParser:
    """Turns bytes into frames, and messages into bytes, for either side.

    Args:
        version: of the protocol, 13.
        kind: 0 for a server, which sends unmasked frames and receives masked ones; 1 for a client, the other way
            round; 2 if neither side masks; 3 if both do.
        extensions: kept in `extensions`. If there are any, frames may have reserved bits set.
        protocols: kept in `protocols`.
        pyparser: whether to scan with the Python core even if there is the C core.

    Attributes:
        decode_mask_length, encode_mask_length: bytes of the mask key of frames received and sent, 0 or 4.
        max_payload: the bytes that `multi_encode` puts into a frame by default.
        max_length: the longest payload of a data frame, in bytes, that `decode` accepts.
    """

    max_length = MAX_MESSAGE_SIZE

    def __init__(
        self,
        version: object = None,
        kind: int = 0,
        extensions: Sequence[object] | None = None,
        protocols: Sequence[str] | None = None,
        pyparser: bool = False,
    ) -> None:
        if kind not in (0, 1, 2, 3):
            raise ValueError(f"the kind of a parser is 0, 1, 2 or 3, not {kind!r}")
        self.version: int = get_version(version)
        self.kind = kind
        self.extensions = extensions
        self.protocols = protocols
        self.decode_mask_length = 4 if kind in (0, 3) else 0
        self.encode_mask_length = 4 if kind in (1, 3) else 0
        self.max_payload = 1 << 63
        self._scan: Scan = pure.scan if pyparser else scan  # the core's, or its twin's with `pyparser`
        self._buffer = bytearray()  # what is left of a partial frame

    def decode(self, data: bytes | bytearray | memoryview | None = None) -> Frame | None:
        """Add `data` to the bytes that are left, and return the next frame, or None.

        Raises:
            ProtocolError: the bytes break RFC 6455. The parser cannot be used any more.
        """
        if data:
            self._buffer += data
        reserved = RSV_BITS if self.extensions else 0
        found = take_frame(self._buffer, bool(self.decode_mask_length), self.max_length, reserved, self._scan)
        if found is None:
            return None
        head, key, payload = found
        return Frame(head & 0x0F, bool(head & 0x80), decode_body(head, payload), key, len(payload))

    def encode(
        self,
        message: Message,
        final: bool = True,
        masking_key: bytes | str | None = None,
        opcode: int | None = None,
        rsv1: int = 0,
        rsv2: int = 0,
        rsv3: int = 0,
    ) -> bytes:
        """Return one frame.

        Args:
            message: the payload; None for none.
            final: whether the message ends with it.
            masking_key: four bytes, if this kind masks; random ones by default.
            opcode: 1 for `str` and 2 for bytes by default.
            rsv1, rsv2, rsv3: the reserved bits.

        Raises:
            ProtocolError: there is no such frame.
        """
        kind, payload = self._check(message, opcode)
        return self._encode(bool(final) << 7 | rsv1 << 6 | rsv2 << 5 | rsv3 << 4 | kind, payload, masking_key)

    def multi_encode(
        self,
        message: Message,
        masking_key: bytes | str | None = None,
        opcode: int | None = None,
        rsv1: int = 0,
        rsv2: int = 0,
        rsv3: int = 0,
        max_payload: int = 0,
    ) -> Iterator[bytes]:
        """Yield one message as frames: the first has the opcode and reserved bits, and only the last one is final.

        Args:
            message, masking_key, opcode, rsv1, rsv2, rsv3: as for `encode`.
            max_payload: bytes of payload in a frame, at least 2; by default the parser's `max_payload`.
        """
        kind, payload = self._check(message, opcode)
        head = rsv1 << 6 | rsv2 << 5 | rsv3 << 4 | kind
        size = max(2, max_payload or self.max_payload)
        while len(payload) > size:
            yield self._encode(head, payload[:size], masking_key)
            head, payload = Opcode.CONTINUATION, payload[size:]
        yield self._encode(0x80 | head, payload, masking_key)

    def ping(self, body: Message = None) -> bytes:
        """Return a ping."""
        return self.encode(body, opcode=Opcode.PING)

    def pong(self, body: Message = None) -> bytes:
        """Return a pong."""
        return self.encode(body, opcode=Opcode.PONG)

    def close(self, code: int | None = None) -> bytes:
        """Return a close frame with a code, 1000 by default, and its reason from CLOSE_CODES.

        Raises:
            ValueError: the code may not be sent.
        """
        code = code or 1000
        return self.encode(encode_close(code, CLOSE_CODES.get(code, "")), opcode=Opcode.CLOSE)

    def continuation(self, body: Message = None, final: bool = True) -> bytes:
        """Return a frame that continues a message."""
        return self.encode(body, opcode=Opcode.CONTINUATION, final=final)

    def _check(self, message: Message, opcode: int | None) -> tuple[int, memoryview]:
        if opcode is None:
            opcode = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
        payload = encode_body(message)
        if opcode not in OPCODES:
            raise ProtocolError(f"the opcode {opcode} is reserved")
        if opcode & 0x08 and len(payload) > 125:
            raise ProtocolError("a control frame is longer than 125 bytes")
        return opcode, memoryview(payload)

    def _encode(self, head: int, payload: memoryview, masking_key: bytes | str | None) -> bytes:
        if not self.encode_mask_length:
            return encode_header(head, len(payload)) + payload
        key = encode_body(masking_key or os.urandom(4))
        if len(key) != 4:
            raise ProtocolError("a masking key is four bytes")
        return encode_header(head, len(payload), key) + mask(payload, key)


def frame_parser(
    version: object = None,
    kind: int = 0,
    extensions: Sequence[object] | None = None,
    protocols: Sequence[str] | None = None,
    pyparser: bool = False,
) -> FrameParser:
    """Return a new `FrameParser` with these arguments; ProtocolError for another version than 13."""
    return FrameParser(version, kind, extensions, protocols, pyparser)
