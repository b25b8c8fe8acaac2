"""From data frames to messages: fragments, compression, UTF-8 and the limit (RFC 6455 5.4 and 8.1, RFC 7692 6). No I/O.

A message whose frame is whole, uncompressed and at hand is delivered as it is. Every other one is put together from
its parts as they come, and text is checked as it comes, so that it fails as early as the bytes allow.

Where a connection bounds what waits (`pending`), a message that has come whole stays as it is until there is room to
deliver it: see memory.py.
"""

from __future__ import annotations

import codecs
from io import BytesIO
from mmap import mmap
from sys import getsizeof
from typing import TYPE_CHECKING, Any, Protocol

from ..exceptions import InvalidData, PayloadTooBig, ProtocolError
from ..frames import Opcode
from .memory import MAX_WORK, PIECE, PIECE_WORK, PLACE, Source, copy, decode, fits, measure, read_ahead

if TYPE_CHECKING:
    from collections.abc import Iterator

FIN = 0x80
RSV1 = 0x40

_text_decoder = codecs.getincrementaldecoder("utf-8")


class Extension(Protocol):
    """What a negotiated per-message extension does to messages (see permessage_deflate)."""

    threshold: int

    def measure(self) -> int:
        """Return the bytes that it holds of messages."""

    def wants(self, size: int, compress: bool | None) -> bool:
        """Tell whether to compress a message of so many bytes; `compress` is what its sender wants, or None."""

    def compress(self, payload: bytes | memoryview) -> bytes | bytearray:
        """Return what stands for a whole message."""

    def compress_slowly(self, payload: bytes | memoryview) -> Iterator[bytes]:
        """Yield the same in parts, which take less time each."""

    def compress_part(self, payload: bytes | memoryview, final: bool) -> bytes | bytearray:
        """Return what stands for a part of a message."""

    def inflate(self, data: bytes | memoryview, final: bool, limit: int) -> Iterator[bytes]:
        """Yield what a part of a message stands for; PayloadTooBig when it is more than `limit` bytes."""


class EndOfMessage:
    """Stands in `inbox` behind the pieces of a message, when they are delivered as they come."""

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
        "ascii_only",
        "_body",
        "_decoder",
        "_final",
        "_head",
        "_pieces",
        "whole",
        "decode_text",
        "extension",
        "max_message_size",
        "inbox",
        "streaming",
        "pending",
        "waiting",
        "work",
    )

    def __init__(self, max_message_size: int, extension: Any, decode_text: bool, streaming: bool) -> None:
        self.max_message_size = max_message_size
        self.extension: Extension | None = extension
        self.decode_text = decode_text
        self.streaming = streaming
        self.inbox: Any = []
        self.pending: Any = ()
        self.waiting = 0  # bytes that both take, while something is received; 0 without a bound
        self._head = 0  # opcode and RSV1 of the message whose parts are coming, 0 between messages
        self._body: BytesIO | None = None  # what has come of it
        self._decoder: Any = None  # checks it, when it is text
        self.ascii_only = True  # whether what it has seen is ASCII
        self.whole = False  # a part has come, and waits until there is time to inflate it, or room for its message
        self._pieces: Iterator[bytes] | None = None  # what it inflates to, as far as it was not yet
        self._final = False  # whether the message ends with it
        self.work = 0  # what was done since bytes were received, in frames

    @property
    def idle(self) -> bool:
        """Whether the next data frame begins a message."""
        return not self._head

    @property
    def bounded(self) -> bool:
        """Whether decoding stops where too much waits."""
        return isinstance(self.pending, list)

    @property
    def full(self) -> bool:
        """Whether no further frame may be decoded for now."""
        share = 2 if self.streaming else 1  # what `wait` collects is held besides
        return self.whole or self.tired or self.waiting * share > read_ahead(self.max_message_size)

    @property
    def tired(self) -> bool:
        """Whether enough was decoded at once, where there is a bound: others wait for their turn."""
        return self.work >= MAX_WORK and self.bounded

    def measure(self) -> int:
        """Return the bytes that the message takes which is coming."""
        body = PIECE if self._pieces is not None else 0
        body += 0 if self._body is None else getsizeof(self._body)
        return body if self.extension is None else body + self.extension.measure()

    def weigh(self) -> None:
        """Look how much waits."""
        self.work = 0
        if self.bounded:
            self.waiting = measure(self.inbox) + measure(self.pending)

    def fits(self, head: int, size: int, ascii_only: bool) -> bool:
        """Whether a message may be delivered besides what waits."""
        narrow = ascii_only or head & 0x0F != Opcode.TEXT or not self.decode_text
        return self.streaming or fits(size, narrow, self.waiting, self.max_message_size)

    def check_order(self, head: int, length: int) -> None:
        """Check a frame against the message it belongs to (RFC 6455 5.4; 7692 6.1 for RSV1)."""
        self.work += 1
        if head & 0x0F:
            if self._head:
                raise ProtocolError("a message begins inside of a fragmented one")
            compressed = head & RSV1 != 0
        elif not self._head:
            raise ProtocolError("a continuation frame continues nothing")
        elif head & RSV1:
            raise ProtocolError("a continuation frame has RSV1 set")
        else:
            compressed = self._head & RSV1 != 0
        size = length + (self._body.tell() if self._body else 0)
        if size > self.max_message_size and not (compressed or self.streaming):
            raise self.too_big(size)

    def is_whole(self, head: int) -> bool:
        """Whether a frame is a message by itself, as it stands."""
        return head & FIN != 0 and not self._head and not head & RSV1 and not self.streaming

    def begin(self, head: int) -> None:
        """Note the head of a frame whose payload comes in parts."""
        if head & 0x0F:
            self.ascii_only = True
            self._decoder = _text_decoder() if head & 0x0F == Opcode.TEXT else None

    def add(self, head: int, part: memoryview, ends: bool) -> None:
        """Add a part of a frame to the message, and deliver it behind the last part of its last frame."""
        if head & 0x0F and not self._head:
            self._head = head & (RSV1 | 0x0F)
            self._body = BytesIO()
        self._final = ends and bool(head & FIN)
        if self._head & RSV1:
            assert self.extension is not None and self._body is not None
            part = memoryview(bytes(part)) if self.bounded else part  # what waits may not lie in somebody's buffer
            self._pieces = self.extension.inflate(part, self._final, self.max_message_size - self._body.tell())
        else:
            self._add_piece(part)
        self.whole = True
        self.finish()

    def finish(self) -> None:
        """Go on with a part that has come, and deliver the message that it ends, if there is time and room for it."""
        assert self._body is not None
        if self._pieces is not None and not self._inflate(self._pieces):
            return
        if not self._final:
            self.whole = False
            return
        if self._decoder is not None:
            self.check_text(b"", True)
        if self.fits(self._head, self._body.tell(), self.ascii_only):
            opcode, payload = self._head & 0x0F, self.release(self._body.getvalue())
            self._head, self._body, self.whole = 0, None, False
            self.deliver(opcode, payload)

    def _inflate(self, pieces: Iterator[bytes]) -> bool:
        """Inflate a part, as far as there is time; return whether that is done."""
        try:
            for piece in pieces:
                self._add_piece(piece)
                self.work += PIECE_WORK
                if self.tired:
                    return False
        except PayloadTooBig:
            raise self.too_big() from None
        self._pieces = None
        return True

    def _add_piece(self, piece: memoryview | bytes) -> None:
        if not self.streaming:
            assert self._body is not None
            self.check(piece, False)
            self._body.write(piece)
            return
        text = self.check_text(piece, False)
        if delivered := bytes(piece) if text is None or not self.decode_text else text:
            self.append(delivered)

    def check(self, part: memoryview | bytes, final: bool) -> None:
        """Check a part of a text, of which no more than a piece is decoded at once."""
        if self._decoder is not None:
            for at in range(0, len(part), PIECE):
                self.check_text(part[at : at + PIECE], final and at + PIECE >= len(part))

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
        self.ascii_only = self.ascii_only and text.isascii()
        return text

    def deliver(self, opcode: int, payload: bytes | memoryview | Source) -> None:
        """Append a message, or the end of one whose pieces were delivered. A memoryview was not checked yet."""
        self._decoder = None
        if self.streaming:
            as_text = opcode == Opcode.TEXT and self.decode_text
            self.append(END_OF_TEXT if as_text else END_OF_BINARY)
        elif opcode == Opcode.BINARY:
            self.append(bytes(payload))
        else:
            self.append(self._decode(payload))

    def release(self, payload: bytes | bytearray) -> bytes | Source:
        """Return a checked payload as it is to be delivered, when nobody else has a hold of it: see `decode`."""
        spent = self._decoder is not None and self.decode_text and not self.ascii_only
        return copy(payload) if spent else payload

    def _decode(self, payload: bytes | memoryview | Source) -> str | bytes:
        if not self.decode_text and type(payload) is not memoryview:
            return bytes(payload)
        try:
            if isinstance(payload, (bytearray, mmap)) and not self.ascii_only:
                return decode(payload)
            text = str(payload, "utf-8")
        except UnicodeDecodeError:
            raise InvalidData("a text message is not UTF-8") from None
        return text if self.decode_text else bytes(payload)

    def append(self, message: Any) -> None:
        """Deliver something."""
        if self.bounded:
            self.waiting += getsizeof(message) + PLACE
        self.inbox.append(message)

    def too_big(self, size: int | None = None) -> PayloadTooBig:
        """Return the error for a message over the limit."""
        limit = self.max_message_size
        return PayloadTooBig(f"a message is longer than the limit of {limit} bytes", limit=limit, size=size)

    def drop(self) -> None:
        """Let go of what has come of a message."""
        self._body = self._decoder = self._pieces = None
        self.whole = False
