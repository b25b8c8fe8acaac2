"""The frames of pulsar 0.4's pulsar.apps.ws, over geventws.frames. No I/O.

Faults of pulsar 0.4 are mended here: bytes after a frame are kept for the next one, `FrameParser.encode` makes a whole
message of its argument, and a close frame has a code.
"""

from __future__ import annotations

import os
from typing import Any, TypeAlias

from ...exceptions import ProtocolError
from ...frames import Opcode, encode_close, encode_header, mask, parse_close
from .._controls import MAX_MESSAGE_SIZE
from ..pulsar.frames import OPCODES, decode_body, take_frame

__all__ = ["Frame", "FrameParser", "WebSocketError", "WebSocketProtocolError", "get_version"]

DEFAULT_VERSION = 13
VERSIONS = ("8", "13")

Message: TypeAlias = "str | bytes | bytearray | memoryview | None"

WebSocketError = ProtocolError
WebSocketProtocolError = ProtocolError


def get_version(version: Any) -> int:
    """Return the version of the protocol, 13 for None; WebSocketProtocolError for another one than 13 and 8."""
    if str(version or DEFAULT_VERSION) not in VERSIONS:
        raise ProtocolError(f"Version {version} not supported.")
    return int(version or DEFAULT_VERSION)


def _as_bytes(message: Message) -> bytes:
    if isinstance(message, str):
        return message.encode()
    return bytes(memoryview(message)) if message is not None else b""


class Frame:
    """One frame, as values and as bytes.

    Args:
        message: the payload.
        opcode: 1 for `str` and 2 for bytes by default.
        version: of the protocol, 13 by default.
        masking_key: four bytes to mask the payload with; by default it is not masked.
        final: whether the message ends with this frame. False by default, as in pulsar: give True for a whole message.
        rsv1, rsv2, rsv3: the reserved bits.

    Attributes:
        msg: the frame's bytes.
        body: the payload as bytes; of a text frame that was received, as `str`.
        payload_length: its length in bytes.
        fin: 1 or 0, the same as `final`.

    Raises:
        WebSocketProtocolError: such a frame may not be sent.
    """

    __slots__ = ("body", "fin", "masking_key", "msg", "opcode", "payload_length", "rsv1", "rsv2", "rsv3", "version")

    def __init__(
        self,
        message: Message = None,
        opcode: int | None = None,
        version: Any = None,
        masking_key: bytes | str | None = None,
        final: bool = False,
        rsv1: int = 0,
        rsv2: int = 0,
        rsv3: int = 0,
    ) -> None:
        if opcode is None and message is not None:
            opcode = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
        if opcode is None:
            raise ProtocolError("opcode not available")
        if opcode not in OPCODES:
            raise ProtocolError(f"the opcode {opcode} is reserved")
        self.version: int = get_version(version)
        self.opcode: int = int(opcode)
        self.masking_key: bytes = _as_bytes(masking_key)
        if len(self.masking_key) not in (0, 4):
            raise ProtocolError("Masking key must be 4 bytes long")
        self.fin: int = int(bool(final))
        self.rsv1: int = int(rsv1)
        self.rsv2: int = int(rsv2)
        self.rsv3: int = int(rsv3)
        self.body: str | bytes = _as_bytes(message)
        self.payload_length: int = len(self.body)
        if self.opcode & 0x08 and self.payload_length > 125:
            raise ProtocolError("a control frame is longer than 125 bytes")
        self.msg: bytes = self.build_frame(self.body)

    @classmethod
    def ping(cls, body: Message = None, version: Any = None) -> Frame:
        """Return a ping."""
        return cls(body, Opcode.PING, version, final=True)

    @classmethod
    def pong(cls, body: Message = None, version: Any = None) -> Frame:
        """Return a pong."""
        return cls(body, Opcode.PONG, version, final=True)

    @classmethod
    def close(cls, body: Message = None, version: Any = None) -> Frame:
        """Return a close frame.

        Args:
            body: its payload as bytes, which begin with a code; a `str` is a reason, after the code 1000.
            version: as for the class.
        """
        if isinstance(body, str):
            body = encode_close(1000, body)
        parse_close(_as_bytes(body))
        return cls(body, Opcode.CLOSE, version, final=True)

    @classmethod
    def continuation(cls, body: Message = None, **options: Any) -> Frame:
        """Return a frame that continues a message; give `final=True` for the last one."""
        return cls(body, Opcode.CONTINUATION, **options)

    @property
    def final(self) -> bool:
        """Whether its message ends with it."""
        return bool(self.fin)

    @property
    def masked(self) -> bool:
        """Whether its payload is masked."""
        return bool(self.masking_key)

    @property
    def is_data(self) -> bool:
        """Whether it is a text or a binary frame."""
        return self.opcode in (Opcode.TEXT, Opcode.BINARY)

    @property
    def is_close(self) -> bool:
        """Whether it is a close frame."""
        return self.opcode == Opcode.CLOSE

    def on_received(self) -> Frame | None:
        """Return the frame that answers this one: a pong for a ping, None for any other."""
        return type(self).pong(self.body, self.version) if self.opcode == Opcode.PING else None

    def build_frame(self, message: Message) -> bytes:
        """Return the bytes of a frame with this payload that is otherwise like this one."""
        payload = _as_bytes(message)
        head = self.fin << 7 | self.rsv1 << 6 | self.rsv2 << 5 | self.rsv3 << 4 | self.opcode
        if not self.masking_key:
            return encode_header(head, len(payload)) + payload
        return encode_header(head, len(payload), self.masking_key) + self.mask(payload)

    def mask(self, data: bytes | bytearray | memoryview) -> bytearray:
        """Mask data, or unmask it, which is the same (RFC 6455 5.3)."""
        return bytearray(mask(data, self.masking_key) if self.masking_key else data)

    unmask = mask


class FrameParser:
    """Turns bytes into frames and messages into bytes.

    Args:
        version: of the protocol, 13 by default.
        kind: 0 for a server, which takes masked frames and sends unmasked ones; 1 for a client, the other way round;
            any other for unmasked frames in both directions.

    Attributes:
        max_length: bytes of the longest payload of a data frame that is taken.
    """

    max_length = MAX_MESSAGE_SIZE

    def __init__(self, version: Any = None, kind: int = 0) -> None:
        self.version: int = get_version(version)
        self.kind = kind
        self._buffer = bytearray()  # what is left of a partial frame

    def execute(self, data: bytes | bytearray | memoryview) -> Frame | None:
        """Return the next frame, or None: of what is left from before, and of `data`.

        Where more than one frame came at once, call it again with b"" for the next.

        Raises:
            WebSocketProtocolError: the bytes break RFC 6455. The parser is of no further use.
        """
        self._buffer += data
        found = take_frame(self._buffer, self.kind == 0, self.max_length)
        if found is None:
            return None
        head, key, payload = found
        frame = Frame(payload, head & 0x0F, self.version, key, bool(head & 0x80))
        frame.body = decode_body(head, payload)
        return frame

    def decode(self, data: bytes | bytearray | memoryview) -> tuple[Frame | None, bytearray]:
        """Return the next frame, or None, and the bytes after it, which are to be given to the next call."""
        frame = self.execute(data)
        if frame is None:
            return None, bytearray()
        rest, self._buffer = self._buffer, bytearray()
        return frame, rest

    def encode(self, data: Frame | Message) -> bytes:
        """Return the bytes of a frame, or of the message that `data` is."""
        if isinstance(data, Frame):
            return data.msg
        return Frame(data, version=self.version, masking_key=os.urandom(4) if self.kind == 1 else None, final=True).msg
