"""From data frames to messages: fragments, compression, UTF-8 and the limit (RFC 6455 5.4 and 8.1, RFC 7692 6). No I/O.

A message whose frame is whole, uncompressed and at hand is delivered as it is. Every other one is put together from
its parts as they come, and text is checked as it comes, so that it fails as early as the bytes allow.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any, Protocol

from ..exceptions import InvalidData, PayloadTooBig, ProtocolError
from ..frames import Opcode

if TYPE_CHECKING:
    from collections.abc import Iterator

FIN = 0x80
RSV1 = 0x40

_text_decoder = codecs.getincrementaldecoder("utf-8")


class Extension(Protocol):
    """What a negotiated per-message extension does to messages (see permessage_deflate)."""

    threshold: int

    def compress(self, payload: bytes | memoryview) -> bytes | bytearray:
        """Return what stands for a whole message."""

    def compress_part(self, payload: bytes | memoryview, final: bool) -> bytes | bytearray:
        """Return what stands for a part of a message."""

    def inflate(self, data: bytes | memoryview, final: bool, limit: int) -> Iterator[bytes]:
        """Yield what a part of a message stands for; PayloadTooBig when it is more than `limit` bytes."""


class EndOfMessage:
    """Stands in `messages` behind the pieces of a message, when they are delivered as they come."""

    def __init__(self, empty: str | bytes) -> None:
        self.empty = empty

    def __len__(self) -> int:
        return 0


END_OF_TEXT = EndOfMessage("")
END_OF_BINARY = EndOfMessage(b"")


class Assembler:
    """Puts the messages of one connection together. Its methods raise ProtocolError for what breaks the rules.

    Args: as for `WebSocketProtocol`.
    """

    __slots__ = (
        "_body",
        "_compressed",
        "_decoder",
        "_opcode",
        "decode_text",
        "extension",
        "max_message_size",
        "messages",
        "streaming",
    )

    def __init__(self, max_message_size: int, extension: Any, decode_text: bool, streaming: bool) -> None:
        self.max_message_size = max_message_size
        self.extension: Extension | None = extension
        self.decode_text = decode_text
        self.streaming = streaming
        self.messages: Any = []
        self._opcode = 0  # of the message whose parts are coming, 0 between messages
        self._compressed = False
        self._body: bytearray | None = None  # what has come of it
        self._decoder: Any = None  # checks it, when it is text

    @property
    def idle(self) -> bool:
        """Whether the next data frame begins a message."""
        return not self._opcode

    def check_order(self, head: int, length: int) -> None:
        """Check a frame against the message it belongs to (RFC 6455 5.4; 7692 6.1 for RSV1)."""
        if head & 0x0F:
            if self._opcode:
                raise ProtocolError("a message begins inside of a fragmented one")
            compressed = head & RSV1 != 0
        elif not self._opcode:
            raise ProtocolError("a continuation frame continues nothing")
        elif head & RSV1:
            raise ProtocolError("a continuation frame has RSV1 set")
        else:
            compressed = self._compressed
        size = len(self._body or ()) + length
        if size > self.max_message_size and not (compressed or self.streaming):
            raise self.too_big(size)

    def is_whole(self, head: int) -> bool:
        """Whether a frame is a message by itself, as it stands."""
        return head & FIN != 0 and not self._opcode and not head & RSV1 and not self.streaming

    def begin(self, head: int) -> None:
        """Note the head of a frame whose payload comes in parts."""
        if head & 0x0F:
            self._compressed = bool(head & RSV1)
            self._decoder = _text_decoder() if head & 0x0F == Opcode.TEXT else None

    def add(self, head: int, part: memoryview, ends: bool) -> None:
        """Add a part of a frame to the message, and deliver it behind the last part of its last frame."""
        if head & 0x0F and not self._opcode:
            self._opcode = head & 0x0F
            self._body = bytearray()
        final = ends and bool(head & FIN)
        if self._compressed:
            self._inflate(part, final)
        else:
            self._add_piece(part)
        if final:
            if self._decoder is not None:
                self.check_text(b"", True)
            opcode, body = self._opcode, self._body
            assert body is not None
            self._opcode, self._body = 0, None
            self.deliver(opcode, body)

    def _inflate(self, part: memoryview, final: bool) -> None:
        assert self.extension is not None and self._body is not None
        try:
            for piece in self.extension.inflate(part, final, self.max_message_size - len(self._body)):
                self._add_piece(piece)
        except PayloadTooBig:
            raise self.too_big() from None

    def _add_piece(self, piece: memoryview | bytes) -> None:
        text = self.check_text(piece, False) if self._decoder is not None else None
        if not self.streaming:
            assert self._body is not None
            self._body += piece
        elif delivered := bytes(piece) if text is None or not self.decode_text else text:
            self.messages.append(delivered)

    def check_text(self, part: memoryview | bytes, final: bool) -> str | None:
        """Check and return a part of a text (RFC 6455 8.1), None for binary; a character may be split over parts."""
        if self._decoder is None:
            return None
        try:
            text: str = self._decoder.decode(part, final)
            pending: bytes = self._decoder.getstate()[0]
            if pending[:1] == b"\xed" and pending[1:] >= b"\xa0":  # a surrogate, which the decoder sees a byte late
                pending.decode()
        except UnicodeDecodeError:
            raise InvalidData("a text message is not UTF-8") from None
        return text

    def deliver(self, opcode: int, payload: bytes | bytearray | memoryview) -> None:
        """Append a message, or the end of one whose pieces were delivered."""
        self._decoder = None
        if self.streaming:
            as_text = opcode == Opcode.TEXT and self.decode_text
            self.messages.append(END_OF_TEXT if as_text else END_OF_BINARY)
        elif opcode == Opcode.BINARY:
            self.messages.append(bytes(payload))
        else:
            try:
                text = str(payload, "utf-8")
            except UnicodeDecodeError:
                raise InvalidData("a text message is not UTF-8") from None
            self.messages.append(text if self.decode_text else bytes(payload))

    def too_big(self, size: int | None = None) -> PayloadTooBig:
        """Return the error for a message over the limit."""
        limit = self.max_message_size
        return PayloadTooBig(f"a message is longer than the limit of {limit} bytes", limit=limit, size=size)

    def drop(self) -> None:
        """Let go of what has come of a message."""
        self._body = self._decoder = None
