"""One connection after its handshake, as a state machine (RFC 6455 sections 5 to 7). No I/O.

Bytes go in through `receive_data`; messages come out in `messages`, replies that must be sent in `output`, and
what came of pings and pongs in `controls`. Nothing here raises for what the peer does: a breach of the rules ends the
receiving, and stands in `failure` until `answer_failure` puts the close frame for it in `output`.

A frame is handled in one of three ways:

* whole in the bytes at hand: its payload is unmasked in place by the scan, and turned into a message at once;
* an unfragmented message of which a part is at hand: a buffer of the message's own size is made, and what comes is
  unmasked in it (`receive_buffer` hands it out, so that a socket can receive straight into it);
* any other part, of a fragmented or a compressed message: added to `_body` as it comes.

Text is checked as it comes, so that it fails as early as the bytes allow.
"""

from __future__ import annotations

import codecs
import os
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol as Interface

from . import _frame_py
from .exceptions import InvalidData, PayloadTooBig, ProtocolError
from .frames import NO_LIMIT, CloseCode, Opcode, breach, encode_close, encode_header, mask, mask_in_place, parse_close, scan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ._frame_py import RawFrame

__all__ = ["Extension", "WebSocketProtocol"]

SIMPLE_LIMIT = 1 << 30
FIN = 0x80
RSV1 = 0x40

_text_decoder = codecs.getincrementaldecoder("utf-8")


class Extension(Interface):
    """What a negotiated per-message extension does to messages (see permessage_deflate)."""

    threshold: int

    def compress(self, payload: bytes | memoryview) -> bytes:
        """Return what stands for a whole message."""

    def compress_part(self, payload: bytes | memoryview, final: bool) -> bytes:
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


class WebSocketProtocol:
    """The state of one connection, from the 101 to the last byte.

    Args:
        client: whether this side is the client, whose frames are masked.
        max_message_size: the largest message taken, in bytes, after inflating.
        extension: the negotiated extension, or None.
        decode_text: whether a text message is delivered as `str`; otherwise as `bytes`, checked but not decoded.
        streaming: whether messages are delivered in pieces, as they come: each is an `EndOfMessage` behind any number
            of `str` or `bytes`, and `max_message_size` bounds only what one part inflates to.
    """

    __slots__ = (
        "_body",
        "_compressed",
        "_decoder",
        "_filled",
        "_frame",
        "_header",
        "_opcode",
        "_target",
        "client",
        "close_code",
        "close_reason",
        "close_received",
        "close_sent",
        "controls",
        "decode_text",
        "extension",
        "failure",
        "max_message_size",
        "messages",
        "output",
        "streaming",
    )

    def __init__(
        self,
        *,
        client: bool = False,
        max_message_size: int = 1 << 20,
        extension: Any = None,
        decode_text: bool = True,
        streaming: bool = False,
    ) -> None:
        self.client = client
        self.max_message_size = max_message_size
        self.extension: Extension | None = extension
        self.decode_text = decode_text
        self.streaming = streaming
        self.messages: deque[Any] = deque()  # received, not yet taken
        self.output: list[bytes] = []  # frames to send, in order
        self.controls: list[tuple[int, bytes]] = []  # pings and pongs received, with their payloads
        self.close_sent = False
        self.close_received = False
        self.close_code = CloseCode.ABNORMAL_CLOSURE.value
        self.close_reason = ""
        self.failure: ProtocolError | None = None
        self._header = b""  # the bytes of an incomplete header
        self._frame: RawFrame | None = None  # the frame whose payload is incomplete
        self._filled = 0  # how much of its payload has come
        self._target: bytearray | None = None  # its own buffer, when it is a whole message or a control frame
        self._opcode = 0  # of the message whose parts are coming, 0 between messages
        self._compressed = False
        self._body = bytearray()  # what has come of it
        self._decoder: Any = None  # checks it, when it is text

    # Receiving

    @property
    def simple_limit(self) -> int:
        """The largest whole message that may skip this class and go straight to `messages`; 0 where none may.

        That is so where the next byte begins a message, and nothing has ended.
        """
        if self._opcode or self._frame or self._header or self.close_received or self.failure:
            return 0
        if self.streaming or not self.decode_text:
            return 0
        return min(self.max_message_size, SIMPLE_LIMIT)

    def receive_data(self, data: memoryview) -> None:
        """Take bytes from the peer. They are unmasked in place, so `data` must be writable and is spent.

        Bytes behind a close frame or a breach are dropped (RFC 6455 5.5.1 and 7.1.7).
        """
        try:
            while len(data) and not (self.close_received or self.failure):
                data = self._fill(data) if self._frame else self._scan(data)
        except ProtocolError as error:
            self.fail(error)

    def receive_buffer(self) -> memoryview | None:
        """Return where the rest of a large frame's payload may be received to; None where `receive_data` is due."""
        if self._target is None or self.failure or self.close_received:
            return None
        return memoryview(self._target)[self._filled :]

    def buffer_received(self, count: int) -> None:
        """Take `count` bytes that were put at the front of `receive_buffer()`."""
        try:
            self._filled_in(count)
        except ProtocolError as error:
            self.fail(error)

    def _scan(self, data: memoryview) -> memoryview:
        """Take the complete frames at the front, and return what is behind them."""
        if self._header:
            data = memoryview(bytearray(self._header + bytes(data)))
            self._header = b""
        limit = NO_LIMIT if self.streaming else self.max_message_size
        reserved = 0 if self.extension is None else RSV1
        status, consumed, frames, following = scan(data, limit, reserved, not self.client)
        for start, length, _key, head in frames:
            self._receive_frame(head, data[start : start + length])
            if self.close_received:
                return data[:0]
        if following is not None:
            self._begin(following)
            return data[following[0] :]
        if status == _frame_py.MORE:
            self._header = bytes(data[consumed:])
            return data[:0]
        if status == _frame_py.FULL:
            return data[consumed:]
        raise breach(status, self.max_message_size)

    def _receive_frame(self, head: int, payload: memoryview) -> None:
        """Take a whole frame."""
        if head & 0x08:
            self._receive_control(head & 0x0F, bytes(payload))
            return
        self._check_order(head, len(payload))
        if self._is_whole(head):
            self._deliver(head & 0x0F, payload)
        else:
            self._open_message(head)
            self._add(payload, bool(head & FIN))

    def _is_whole(self, head: int) -> bool:
        """Whether a data frame is a message by itself, as it stands."""
        return head & FIN != 0 and not self._opcode and not head & RSV1 and not self.streaming

    def _begin(self, frame: RawFrame) -> None:
        """Prepare for a frame whose payload is still to come."""
        _start, length, _key, head = frame
        if not head & 0x08:
            self._check_order(head, length)
        if head & 0x08 or self._is_whole(head):
            self._target = bytearray(length)
        else:
            self._open_message(head)
        if head & 0x0F == Opcode.TEXT and not head & RSV1:
            self._decoder = _text_decoder()
        self._frame = frame
        self._filled = 0

    def _fill(self, data: memoryview) -> memoryview:
        """Take the payload of a frame whose header has come, and return what is behind it."""
        assert self._frame is not None
        _start, length, key, head = self._frame
        part = data[: length - self._filled]
        if self._target is not None:
            self._target[self._filled : self._filled + len(part)] = part
            self._filled_in(len(part))
        else:
            if not self.client:
                mask_in_place(part, 0, len(part), key, self._filled)
            self._filled += len(part)
            ends = self._filled == length
            if ends:
                self._frame = None
            self._add(part, ends and bool(head & FIN))
        return data[len(part) :]

    def _filled_in(self, count: int) -> None:
        """Unmask and check `count` more bytes of a frame with a buffer of its own, and finish it with the last."""
        assert self._frame is not None and self._target is not None
        _start, length, key, head = self._frame
        target = self._target
        start, end = self._filled, self._filled + count
        if not self.client:
            mask_in_place(target, start, end, key, start)
        self._filled = end
        if self._decoder is not None:
            self._check_text(memoryview(target)[start:end], end == length)
        if end < length:
            return
        self._frame = self._target = self._decoder = None
        if head & 0x08:
            self._receive_control(head & 0x0F, bytes(target))
        else:
            self._deliver(head & 0x0F, target)

    def _check_order(self, head: int, length: int) -> None:
        """Check a data frame against the message it belongs to (RFC 6455 5.4; 7692 6.1 for RSV1)."""
        if head & 0x0F:
            if self._opcode:
                raise ProtocolError("a message begins inside of a fragmented one")
        elif not self._opcode:
            raise ProtocolError("a continuation frame continues nothing")
        elif head & RSV1:
            raise ProtocolError("a continuation frame has RSV1 set")
        elif not (self._compressed or self.streaming) and len(self._body) + length > self.max_message_size:
            raise self._too_big()

    def _too_big(self) -> PayloadTooBig:
        return PayloadTooBig(f"a message is longer than the limit of {self.max_message_size} bytes")

    def _open_message(self, head: int) -> None:
        """Note the first frame of a message that comes in parts."""
        if head & 0x0F:
            self._opcode = head & 0x0F
            self._compressed = bool(head & RSV1)
            self._decoder = _text_decoder() if self._opcode == Opcode.TEXT else None

    def _add(self, part: memoryview, final: bool) -> None:
        """Add a part to the message, and deliver it with the last."""
        if self._compressed:
            assert self.extension is not None
            limit = self.max_message_size - len(self._body)
            try:
                for piece in self.extension.inflate(part, final, limit):
                    self._add_piece(piece)
            except PayloadTooBig:
                raise self._too_big() from None
        else:
            self._add_piece(part)
        if final:
            if self._decoder is not None:
                self._check_text(b"", True)
            opcode, body = self._opcode, self._body
            self._opcode, self._body, self._decoder = 0, bytearray(), None
            self._deliver(opcode, body)

    def _add_piece(self, piece: memoryview | bytes) -> None:
        text = self._check_text(piece, False) if self._decoder is not None else None
        if not self.streaming:
            self._body += piece
        elif delivered := bytes(piece) if text is None or not self.decode_text else text:
            self.messages.append(delivered)

    def _check_text(self, part: memoryview | bytes, final: bool) -> str:
        """Check and return a part of a text (RFC 6455 8.1); a character may be split over parts."""
        try:
            text: str = self._decoder.decode(part, final)
        except UnicodeDecodeError:
            raise InvalidData("a text message is not UTF-8") from None
        return text

    def _deliver(self, opcode: int, payload: memoryview | bytearray) -> None:
        """Append a message, or the end of one whose pieces were delivered."""
        if self.streaming:
            as_text = opcode == Opcode.TEXT and self.decode_text
            self.messages.append(END_OF_TEXT if as_text else END_OF_BINARY)
            return
        if opcode == Opcode.BINARY:
            self.messages.append(bytes(payload))
            return
        try:
            text = str(payload, "utf-8")
        except UnicodeDecodeError:
            raise InvalidData("a text message is not UTF-8") from None
        self.messages.append(text if self.decode_text else bytes(payload))

    def _receive_control(self, opcode: int, payload: bytes) -> None:
        """Take a control frame: a ping is answered, a close is answered unless it is an answer itself (5.5)."""
        if opcode == Opcode.CLOSE:
            code, reason = parse_close(payload)
            self.close_received = True
            self.close_code, self.close_reason = code, reason
            if not self.close_sent:
                self.send_close(code, reason)
            return
        if opcode == Opcode.PING and not self.close_sent:
            self._send_control(Opcode.PONG, payload)
        self.controls.append((opcode, payload))

    def fail(self, error: ProtocolError) -> None:
        """Take nothing more. What came before may still be answered; then `answer_failure` is due."""
        self.failure = error
        self._frame = self._target = self._decoder = None
        self._body = bytearray()

    def answer_failure(self) -> None:
        """Fail the connection (RFC 6455 7.1.7): say why in a close frame, unless one was sent."""
        assert self.failure is not None
        if not self.close_received:
            self.close_code, self.close_reason = int(self.failure.close_code), str(self.failure)
        self.send_close(int(self.failure.close_code), str(self.failure))

    # Sending

    def send_close(self, code: int | None = 1000, reason: str = "") -> None:
        """Put a close frame in `output`, unless one was sent. ValueError where code or reason may not be sent."""
        payload = encode_close(code, reason)
        if not self.close_sent:
            self._send_control(Opcode.CLOSE, payload)
            self.close_sent = True

    def encode_control(self, opcode: int, payload: bytes) -> bytes:
        """Return a control frame; ValueError for more than 125 bytes of payload (RFC 6455 5.5)."""
        if len(payload) > 125:
            raise ValueError("the payload of a control frame is at most 125 bytes")
        return b"".join(self.encode(FIN | opcode, payload))

    def encode(self, head: int, payload: bytes | memoryview) -> tuple[bytes, bytes | memoryview]:
        """Return a frame as header and payload, masked where this side is the client (RFC 6455 5.3)."""
        if not self.client:
            return encode_header(head, len(payload)), payload
        mask_key = os.urandom(4)
        return encode_header(head, len(payload), mask_key), mask(payload, mask_key)

    def encode_message(
        self, head: int, payload: bytes | memoryview, compress: bool | None
    ) -> tuple[bytes, bytes | memoryview]:
        """Return a whole message as header and payload.

        `compress` is whether to compress it where that was negotiated; None leaves it to the extension's threshold.
        """
        extension = self.extension
        if extension is not None and compress is not False and (compress or len(payload) >= extension.threshold):
            return self.encode(head | RSV1, extension.compress(payload))
        return self.encode(head, payload)

    def encode_parts(
        self, parts: Iterable[Any], compress: bool | None
    ) -> Iterator[tuple[bytes, bytes | memoryview]]:
        """Yield one message as frames, a fragment for each of its parts and an empty last one (RFC 6455 5.4).

        Raises:
            TypeError: a part is neither str nor bytes-like, or text follows binary.
        """
        opcode: Opcode | None = None
        deflate = self.extension if compress is not False else None
        for part in parts:
            kind = Opcode.TEXT if isinstance(part, str) else Opcode.BINARY
            if kind is not (opcode or kind):
                raise TypeError("the parts of a message are all text, or all binary")
            payload = part.encode() if isinstance(part, str) else bytes(memoryview(part))
            head = Opcode.CONTINUATION if opcode else kind | RSV1 if deflate else kind
            yield self.encode(head, deflate.compress_part(payload, False) if deflate else payload)
            opcode = kind
        if opcode is not None:
            yield self.encode(FIN | Opcode.CONTINUATION, deflate.compress_part(b"", True) if deflate else b"")

    def _send_control(self, opcode: int, payload: bytes) -> None:
        self.output.append(self.encode_control(opcode, payload))
