"""One connection after its handshake, as a state machine (RFC 6455 sections 5 to 7). No I/O.

Bytes go in through `receive_data`; messages come out in `messages`, replies that must be sent in `output`, and
what came of pings and pongs in `controls`. Nothing here raises for what the peer does: a breach of the rules ends the
receiving, and stands in `failure` until `answer` puts the close frame for it in `output`. The peer's own close frame is
answered at once, unless messages wait in front of it: then, too, `answer` is due when they are taken.

A frame that is whole in the bytes at hand is unmasked in place by the scan, and handled at once. A control frame, or a
message in one frame, of which a part is at hand, gets a buffer of its own, and what comes is unmasked in there
(`receive_buffer` hands it out, so that a socket can receive straight into it). Of any other data frame, each part is
handed to the assembler as it comes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .._core import LARGEST_BUFFER, mask, mask_in_place, new_buffer, pure, scan
from ..exceptions import ProtocolError
from ..frames import NO_LIMIT, CloseCode, Opcode, breach, encode_close, encode_header, parse_close
from .messages import FIN, RSV1, Assembler

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .._core.pure import RawFrame

__all__ = ["WebSocketProtocol"]

SIMPLE_LIMIT = (1 << 30) - 1
LOST = int(CloseCode.ABNORMAL_CLOSURE)


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
        "_assembler",
        "_filled",
        "_frame",
        "_header",
        "_target",
        "_view",
        "client",
        "close_code",
        "close_reason",
        "close_received",
        "close_sent",
        "controls",
        "extension",
        "failure",
        "max_message_size",
        "messages",
        "output",
        "taken",
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
        self.extension = extension
        self._assembler = Assembler(max_message_size, extension, decode_text, streaming)
        self.messages: Any = self._assembler.messages  # a list, or what `deliver_to` was given: received, not taken
        self.taken: Any = ()  # what was taken, but not yet by the application, where a connection keeps that
        self.output: Any = ()  # frames to send, in order: a list, if there are any
        self.controls: Any = ()  # pings and pongs received, with their payloads: as well
        self.close_sent = False
        self.close_received = False
        self.close_code = LOST
        self.close_reason = ""
        self.failure: ProtocolError | None = None
        self._header = b""  # the bytes of an incomplete header
        self._frame: RawFrame | None = None  # the frame whose payload is incomplete
        self._filled = 0  # how much of its payload has come
        self._target: bytes | bytearray | None = None  # its own buffer, if it has one
        self._view: memoryview | None = None  # the same, to be written to

    # Receiving

    @property
    def simple_limit(self) -> int:
        """The largest whole message that may skip this class and go straight to `messages`; 0 where none may.

        That is so where the next byte begins a message, and nothing has ended.
        """
        assembler = self._assembler
        if self._frame or self._header or self.close_received or self.failure or not assembler.idle:
            return 0
        if assembler.streaming or not assembler.decode_text:
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
        if self._view is None or self.failure or self.close_received:
            return None
        return self._view[self._filled :]

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
        limit = NO_LIMIT if self._assembler.streaming else self.max_message_size
        reserved = 0
        if self.extension is not None:
            reserved = RSV1
            limit = min(limit + (limit >> 3) + 64, NO_LIMIT)  # deflate makes nine bits of eight at the worst
        status, consumed, frames, following = scan(data, limit, reserved, not self.client)
        for start, length, _key, head in frames:
            self._receive_frame(head, data[start : start + length])
            if self.close_received:
                return data[:0]
        if following is not None:
            self._begin(following)
            return data[following[0] :]
        if status == pure.MORE:
            self._header = bytes(data[consumed:])
            return data[:0]
        if status == pure.FULL:
            return data[consumed:]
        raise breach(status, data[consumed:], self.max_message_size)

    def _receive_frame(self, head: int, payload: memoryview) -> None:
        """Take a whole frame."""
        if head & 0x08:
            self._receive_control(head & 0x0F, bytes(payload))
            return
        assembler = self._assembler
        assembler.check_order(head, len(payload))
        if assembler.is_whole(head):
            assembler.deliver(head & 0x0F, payload)
        else:
            assembler.begin(head)
            assembler.add(head, payload, True)

    def _begin(self, frame: RawFrame) -> None:
        """Prepare for a frame whose payload is still to come."""
        _start, length, _key, head = frame
        own = True
        if not head & 0x08:
            self._assembler.check_order(head, length)
            self._assembler.begin(head)
            own = length <= LARGEST_BUFFER and self._assembler.is_whole(head)
        if own:
            try:
                self._target, self._view = new_buffer(length)
            except (MemoryError, OverflowError):
                raise self._assembler.too_big(length) from None
        self._frame = frame
        self._filled = 0

    def _fill(self, data: memoryview) -> memoryview:
        """Take the payload of a frame whose header has come, and return what is behind it."""
        assert self._frame is not None
        _start, length, key, head = self._frame
        part = data[: length - self._filled]
        if self._view is not None:
            self._view[self._filled : self._filled + len(part)] = part
            self._filled_in(len(part))
        else:
            if not self.client:
                mask_in_place(part, 0, len(part), key, self._filled)
            self._filled += len(part)
            if self._filled == length:
                self._frame = None
            self._assembler.add(head, part, self._frame is None)
        return data[len(part) :]

    def _filled_in(self, count: int) -> None:
        """Unmask and check `count` more bytes of a frame with a buffer of its own, and finish it with the last."""
        assert self._frame is not None and self._target is not None and self._view is not None
        _start, length, key, head = self._frame
        start, end = self._filled, self._filled + count
        if not self.client:
            mask_in_place(self._view, start, end, key, start)
        self._filled = end
        if not head & 0x08:
            self._assembler.check_text(self._view[start:end], end == length)
        if end < length:
            return
        target = self._target
        self._frame = self._target = self._view = None
        if head & 0x08:
            self._receive_control(head & 0x0F, bytes(target))
        else:
            self._assembler.deliver(head & 0x0F, target)

    def _receive_control(self, opcode: int, payload: bytes) -> None:
        """Take a control frame: a ping is answered, a close is answered unless it is an answer itself (5.5)."""
        if opcode == Opcode.CLOSE:
            code, reason = parse_close(payload)
            self.close_received = True
            self.close_code, self.close_reason = code, reason
            if not (self.messages or self.taken):
                self.send_close(code, reason)
            return
        if opcode == Opcode.PING and not self.close_sent:
            self._send_control(Opcode.PONG, payload)
        self._note_control(opcode, payload)

    def deliver_to(self, messages: Any) -> None:
        """Append messages to this from now on; those that are there stay with whoever has a hold of them."""
        self.messages = self._assembler.messages = messages

    def fail(self, error: ProtocolError) -> None:
        """Take nothing more. What came before may still be answered; then `answer` is due."""
        self.failure = self.failure or error
        self._frame = self._target = self._view = None
        self._assembler.drop()

    @property
    def answer_due(self) -> bool:
        """Whether a breach, or a close frame behind messages that may still be answered, waits for `answer`."""
        return (self.close_received or self.failure is not None) and not self.close_sent

    def answer(self) -> None:
        """Answer the peer's close frame with its own code (RFC 6455 5.5.1), or say why the connection fails (7.1.7)."""
        if self.failure is not None and not self.close_received:
            self.close_code, self.close_reason = int(self.failure.close_code), str(self.failure)
        self.send_close(self.close_code, self.close_reason)

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
            head |= RSV1
            payload = extension.compress(payload)
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
            payload = _encode_part(part)
            head = Opcode.CONTINUATION if opcode else kind | RSV1 if deflate else kind
            yield self.encode(head, deflate.compress_part(payload, False) if deflate else payload)
            opcode = kind
        if opcode is not None:
            yield self.encode(FIN | Opcode.CONTINUATION, deflate.compress_part(b"", True) if deflate else b"")

    def _send_control(self, opcode: int, payload: bytes) -> None:
        self._queue(self.encode_control(opcode, payload))

    def _queue(self, frame: bytes) -> None:
        self.output = self.output or []
        self.output.append(frame)

    def _note_control(self, opcode: int, payload: bytes) -> None:
        self.controls = self.controls or []
        self.controls.append((opcode, payload))


def _encode_part(part: Any) -> bytes:
    try:
        return part.encode() if isinstance(part, str) else bytes(memoryview(part))
    except TypeError:
        raise TypeError(f"a part of a message is str or bytes-like, not {type(part).__name__}") from None
