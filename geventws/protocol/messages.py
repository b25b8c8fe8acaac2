"""From data frames to messages: fragments, extensions, UTF-8 and the limit (RFC 6455 5.4, 8.1 and 10.4). No I/O.

A message that fits in one frame, and needs no decoding, is delivered as soon as that frame is whole. Every other
message is put together from its parts as they arrive. Text is checked as it arrives, so that it fails as early as the
bytes allow.

A frame that has arrived in part gets a buffer of its own (partial.py) if it is a control frame, or a message by itself.
The parts of any other frame are added to its message as they arrive.

If the waiting messages are bounded, a message that has arrived whole stays encoded until there is room to deliver it:
see memory.py. The protocol owns the inbox and the limits. It passes itself to the methods of its `Assembler`, as `to`.
"""

from __future__ import annotations

import codecs
from io import BytesIO
from mmap import mmap
from sys import getsizeof
from typing import TYPE_CHECKING, Any, Protocol

from .._core import LARGEST_BUFFER
from ..exceptions import InvalidData, PayloadTooBig, ProtocolError
from ..frames import CONTROL, FIN, OPCODE, RESERVED, Opcode
from .memory import PIECE, PIECE_WORK, Delivery, Source, copy, decode, deliver, has_room, is_bounded, is_tired
from .partial import PartialFrame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._core.pure import RawFrame
    from .extension import Extension

_text_decoder = codecs.getincrementaldecoder("utf-8")


class Recipient(Protocol):
    """The protocol for which messages are put together: an `Inbound` with control frames and perhaps an extension.

    The attributes are those of `WebSocketProtocol`.
    """

    inbox: list[Any]
    pending: list[Any] | tuple[()]
    waiting: int
    work: int
    max_message_size: int
    delivery: Delivery
    client: bool
    extension: Extension | None

    def receive_control(self, opcode: int, payload: bytes) -> None:
        """Take a control frame."""


class EndOfMessage:
    """Follows the pieces of a message in `inbox`, if messages are delivered in pieces."""

    def __init__(self, empty: str | bytes) -> None:
        self.empty = empty  # the message that has no pieces

    def __len__(self) -> int:
        return 0


END_OF_TEXT = EndOfMessage("")
END_OF_BINARY = EndOfMessage(b"")


def not_utf8() -> InvalidData:
    """Return the error for a text message that is not UTF-8 (RFC 6455 8.1)."""
    return InvalidData("a text message is not UTF-8")


def too_big(limit: int, size: int | None = None) -> PayloadTooBig:
    """Return the error for a message over the limit (RFC 6455 10.4)."""
    return PayloadTooBig(f"a message is longer than the limit of {limit} bytes", limit=limit, size=size)


class Assembler:
    """Holds received data that is not a message yet: bytes, a part of a frame, parts of a message.

    Its methods raise ProtocolError if the peer violates the protocol.
    """

    __slots__ = ("ascii_only", "frame", "kept", "whole", "_body", "_decoder", "_final", "_head", "_pieces")

    def __init__(self) -> None:
        self.kept: bytes = b""  # bytes that were not scanned yet: a part of a header, or bytes that have to wait
        self.frame: PartialFrame | None = None  # the frame whose payload is incomplete
        self.ascii_only: bool = True  # whether the text that is being received is ASCII so far
        self.whole: bool = False  # whether a part was received that still has to be decoded, or to find room
        self._head = 0  # opcode and reserved bits of the message whose parts are being received; 0 between messages
        self._body: BytesIO | None = None  # the payload of that message so far
        self._decoder: Any = None  # checks the payload, if it is text
        self._pieces: Iterator[bytes] | None = None  # decodes the rest of the last part, by the extension
        self._final = False  # whether the message ends with that part

    @property
    def idle(self) -> bool:
        """Whether the next byte begins a message."""
        return not (self.frame or self.kept or self._head)

    @property
    def waits(self) -> bool:
        """Whether a message was received whole, and waits for time or room."""
        return self.whole or (self.frame is not None and self.frame.is_filled)

    def measure(self) -> int:
        """Return how many bytes of memory it holds."""
        size = len(self.kept) + (PIECE if self._pieces is not None else 0)
        size += 0 if self.frame is None else self.frame.measure()
        return size if self._body is None else size + getsizeof(self._body)

    def drop(self) -> None:
        """Forget all of it."""
        self.kept = b""
        self.frame = self._body = self._decoder = self._pieces = None
        self.whole = False

    # Frames

    def receive_frame(self, to: Recipient, head: int, payload: memoryview) -> None:
        """Take a whole data frame."""
        self.check_order(to, head, len(payload))
        if self.is_whole(to, head):
            self.deliver(to, head & OPCODE, payload)
        else:
            self.begin_message(head)
            self.add(to, head, payload, True)

    def begin_frame(self, to: Recipient, frame: RawFrame) -> None:
        """Prepare for a frame whose header was received."""
        _start, length, _key, head = frame
        own = True
        if not head & CONTROL:
            self.check_order(to, head, length)
            self.begin_message(head)
            own = length <= LARGEST_BUFFER and self.is_whole(to, head)
        try:
            self.frame = PartialFrame(frame, own)
        except (MemoryError, OverflowError):
            raise too_big(to.max_message_size, length) from None

    def fill(self, to: Recipient, frame: PartialFrame, data: memoryview) -> memoryview:
        """Take the next bytes of a frame's payload, and return the bytes that follow."""
        part = data[: frame.length - frame.filled]
        if to.delivery.streaming:
            part = part[:PIECE]
        rest = frame.rest()
        if rest is not None:
            rest[: len(part)] = part
            del rest
            self.note_filled(to, frame, len(part))
        else:
            frame.advance(len(part), part, not to.client)
            if frame.is_filled:
                self.frame = None
            self.add(to, frame.head, part, frame.is_filled)
        return data[len(part) :]

    def note_filled(self, to: Recipient, frame: PartialFrame, count: int) -> None:
        """Unmask and check `count` more bytes of a frame with a buffer of its own, and finish it with the last."""
        part = frame.advance(count, None, not to.client)
        if not frame.head & CONTROL:
            self.check(part, frame.is_filled)
        del part  # or `decode` could not shrink the buffer
        if frame.is_filled:
            self._finish_frame(to, frame)

    def _finish_frame(self, to: Recipient, frame: PartialFrame) -> None:
        """Take a frame that is whole in a buffer of its own, if there is room to deliver it."""
        head = frame.head
        if head & CONTROL:
            self.frame = None
            to.receive_control(head & OPCODE, bytes(frame.give_up()))
        elif self.fits(to, head, frame.length, self.ascii_only):
            self.frame = None
            self.deliver(to, head & OPCODE, self.release(to, frame.give_up()))

    def finish_waiting(self, to: Recipient) -> None:
        """Deliver the message that waits, if there is room for it now."""
        if self.whole:
            self.finish(to)
        elif self.frame is not None and self.frame.is_filled:
            self._finish_frame(to, self.frame)

    # Messages

    def check_order(self, to: Recipient, head: int, length: int) -> None:
        """Check a frame against the message it belongs to (RFC 6455 5.4)."""
        to.work += 1
        if head & OPCODE:
            # 5.4: "The fragments of one message MUST NOT be interleaved between the fragments of another message unless
            # an extension has been negotiated that can interpret the interleaving."
            if self._head:
                raise ProtocolError("a message begins inside of a fragmented one")
            coded = head & RESERVED
        elif not self._head:
            raise ProtocolError("a continuation frame has no message to continue")
        elif head & RESERVED:
            # RFC 7692 6.1: "An endpoint MUST NOT set the "Per-Message Compressed" bit of control frames and non-first
            # fragments of a data message."
            raise ProtocolError("a continuation frame has a reserved bit set")
        else:
            coded = self._head & RESERVED
        size = length + (self._body.tell() if self._body else 0)
        if size > to.max_message_size and not (coded or to.delivery.streaming):
            raise too_big(to.max_message_size, size)

    def is_whole(self, to: Recipient, head: int) -> bool:
        """Whether a frame is a message by itself, as it stands."""
        return head & FIN != 0 and not self._head and not head & RESERVED and not to.delivery.streaming

    def begin_message(self, head: int) -> None:
        """Prepare to check the payload of a message's first frame."""
        if head & OPCODE:
            self.ascii_only = True
            self._decoder = _text_decoder() if head & OPCODE == Opcode.TEXT else None

    def add(self, to: Recipient, head: int, part: memoryview, ends: bool) -> None:
        """Add a part of a frame to the message, and deliver it after the last part of its last frame."""
        if head & OPCODE and not self._head:
            self._head = head & (RESERVED | OPCODE)
            self._body = BytesIO()
        self._final = ends and bool(head & FIN)
        if self._head & RESERVED:
            assert to.extension is not None and self._body is not None
            part = memoryview(bytes(part)) if is_bounded(to) else part  # the buffer is the loop's, for now only
            self._pieces = to.extension.decode(part, self._final, to.max_message_size - self._body.tell())
        else:
            self._add_piece(to, part)
        self.whole = True
        self.finish(to)

    def finish(self, to: Recipient) -> None:
        """Go on with the last part, and deliver the message that it ends, if there is time and room for it."""
        assert self._body is not None
        if self._pieces is not None and not self._decode_pieces(to, self._pieces):
            return
        if not self._final:
            self.whole = False
            return
        if self._decoder is not None:
            self.check_text(b"", True)
        if self.fits(to, self._head, self._body.tell(), self.ascii_only):
            opcode, payload = self._head & OPCODE, self.release(to, self._body.getvalue())
            self._head, self._body, self.whole = 0, None, False
            self.deliver(to, opcode, payload)

    def fits(self, to: Recipient, head: int, size: int, ascii_only: bool) -> bool:
        """Whether a message may be delivered besides what waits."""
        return has_room(to, size, ascii_only or head & OPCODE != Opcode.TEXT or not to.delivery.decode_text)

    def _decode_pieces(self, to: Recipient, pieces: Iterator[bytes]) -> bool:
        """Have the extension decode a part, as far as there is time; return whether it has decoded all of it."""
        try:
            for piece in pieces:
                self._add_piece(to, piece)
                to.work += PIECE_WORK
                if is_tired(to):
                    return False
        except PayloadTooBig:
            raise too_big(to.max_message_size) from None
        self._pieces = None
        return True

    def _add_piece(self, to: Recipient, piece: memoryview | bytes) -> None:
        if not to.delivery.streaming:
            assert self._body is not None
            self.check(piece, False)
            self._body.write(piece)
            return
        text = self.check_text(piece, False)
        if delivered := bytes(piece) if text is None or not to.delivery.decode_text else text:
            deliver(to, delivered)

    def check(self, part: memoryview | bytes, final: bool) -> None:
        """Check a part of a message if that is text. No more than a piece is decoded at once."""
        if self._decoder is not None:
            for at in range(0, len(part), PIECE):
                self.check_text(part[at : at + PIECE], final and at + PIECE >= len(part))

    def check_text(self, part: memoryview | bytes, final: bool) -> str | None:
        """Check and return a part of a text, None for binary; a character may be split over parts.

        RFC 6455 8.1: "When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte stream is not, in
        fact, a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket Connection_."
        """
        if self._decoder is None:
            return None
        try:
            text: str = self._decoder.decode(part, final)
            undecoded: bytes = self._decoder.getstate()[0]
            if undecoded[:1] == b"\xed" and undecoded[1:] >= b"\xa0":  # a surrogate: the decoder sees it a byte late
                undecoded.decode()
        except UnicodeDecodeError:
            raise not_utf8() from None
        self.ascii_only = self.ascii_only and text.isascii()
        return text

    def deliver(self, to: Recipient, opcode: int, payload: bytes | memoryview | Source) -> None:
        """Deliver a message, or the end of one whose pieces were delivered. A memoryview was not checked yet."""
        self._decoder = None
        if to.delivery.streaming:
            deliver(to, END_OF_TEXT if opcode == Opcode.TEXT and to.delivery.decode_text else END_OF_BINARY)
        elif opcode == Opcode.BINARY:
            deliver(to, bytes(payload))
        else:
            deliver(to, self._decode(to, payload))

    def release(self, to: Recipient, payload: bytes | bytearray) -> bytes | Source:
        """Return a checked payload, in a form that `decode` may use up where that saves memory."""
        spent = self._decoder is not None and to.delivery.decode_text and not self.ascii_only
        return copy(payload) if spent else payload

    def _decode(self, to: Recipient, payload: bytes | memoryview | Source) -> str | bytes:
        if not to.delivery.decode_text and type(payload) is not memoryview:
            return bytes(payload)
        try:
            if isinstance(payload, (bytearray, mmap)) and not self.ascii_only:
                return decode(payload)
            text = str(payload, "utf-8")
        except UnicodeDecodeError:
            raise not_utf8() from None
        return text if to.delivery.decode_text else bytes(payload)
