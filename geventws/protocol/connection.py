"""One connection after its handshake, as a state machine (RFC 6455 sections 5 to 7). No I/O.

Bytes go in through `receive_data`; messages come out in `inbox`, replies that must be sent in `output`, and
what came of pings and pongs in `controls`. Nothing here raises for what the peer does: a breach of the rules ends the
receiving, and stands in `failure` until `reply_to_close` puts the close frame for it in `output`. The peer's own close
frame is answered at once, unless messages that came before it wait: then the reply is pending (`close_reply_pending`)
until they are taken, and `reply_to_close` is called.

A frame that is whole in the bytes at hand is unmasked in place by the scan, and handled at once. A control frame, or a
message in one frame, of which a part is at hand, gets a buffer of its own, and what comes is unmasked in there
(`receive_buffer` hands it out, so that a socket can receive straight into it). Of any other data frame, each part is
handed to the assembler as it comes.

Where `pending` is a list, a connection bounds what waits for its handler (memory.py). `receive_data` then stops at what
would be too much, keeps what is left as it came, and goes on with that when it is called again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .._core import LARGEST_BUFFER, mask, pure, scan
from ..exceptions import ProtocolError
from ..frames import NO_LIMIT, CloseCode, Opcode, breach, encode_close, encode_header, parse_close
from .memory import CONTROL_WORK, MAX_CONTROL, MAX_CONTROLS, PIECE
from .messages import FIN, RSV1, Assembler
from .partial import PartialFrame, mask_again

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .._core.pure import RawFrame

__all__ = ["WebSocketProtocol"]

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
        "_frame",
        "_header",
        "client",
        "close_code",
        "close_reason",
        "close_received",
        "close_sent",
        "controls",
        "extension",
        "failure",
        "inbox",
        "output",
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
        self.extension = extension
        self._assembler = Assembler(max_message_size, extension, decode_text, streaming)
        self.inbox: Any = self._assembler.inbox  # a list, or what `deliver_to` was given: received, not taken
        self.output: Any = ()  # frames to send, in order: a list, if there are any
        self.controls: Any = ()  # pings and pongs received, with their payloads: as well
        self.close_sent = False
        self.close_received = False
        self.close_code = LOST
        self.close_reason = ""
        self.failure: ProtocolError | None = None
        self._header = b""  # the bytes of an incomplete header, or all that are kept as they came
        self._frame: PartialFrame | None = None  # the frame whose payload is incomplete

    @property
    def max_message_size(self) -> int:
        """The largest message taken, in bytes, after inflating."""
        return self._assembler.max_message_size

    @max_message_size.setter
    def max_message_size(self, value: int) -> None:
        self._assembler.max_message_size = value

    @property
    def pending(self) -> Any:
        """What was taken of `inbox`, but not yet by the application, where a connection keeps that; else ()."""
        return self._assembler.pending

    @pending.setter
    def pending(self, messages: Any) -> None:
        self._assembler.pending = messages

    @property
    def tired(self) -> bool:
        """Whether `receive_data` has stopped for others' sake, and needs only to be called again."""
        return self._assembler.tired

    def measure(self) -> int:
        """Return the bytes of what is no message yet, and of what is to be sent."""
        coming = self._assembler.measure() + (self._frame.measure() if self._frame else 0)
        return coming + len(self._header) + sum(map(len, self.output)) + MAX_CONTROL * len(self.controls)

    # Receiving

    @property
    def fast_path(self) -> int:
        """The largest whole message, in bytes, that may go straight to `inbox`, past this class; 0 where none may.

        One may where the next byte begins a message, and nothing has ended.
        """
        assembler = self._assembler
        if self._frame or self._header or self.close_received or self.failure or not assembler.idle:
            return 0
        if assembler.streaming or not assembler.decode_text:
            return 0
        return self.max_message_size

    def receive_data(self, data: memoryview) -> bool:
        """Take bytes from the peer. They are unmasked in place, so `data` must be writable and is spent.

        Bytes behind a close frame or a breach are dropped (RFC 6455 5.5.1 and 7.1.7). Returns whether bytes are kept,
        to be decoded once messages were taken, or later (`tired`): call it again then. Never without a bound.
        """
        if self._header:
            data = memoryview(bytearray(self._header + bytes(data)))
            self._header = b""
        assembler, stopped = self._assembler, False
        assembler.weigh()
        try:
            self._finish_waiting()
            while len(data) and not (stopped or self.close_received or self.failure):
                if self._is_full():
                    stopped = True
                elif self._frame:
                    data = self._fill(data)
                else:
                    data, stopped = self._scan(data)
            if stopped:
                self._header = bytes(data)
        except ProtocolError as error:
            self.fail(error)
        assembler.waiting = 0
        return stopped or self._has_waiting()

    def receive_buffer(self) -> memoryview | None:
        """Return where the rest of a large frame's payload may be received to; None where `receive_data` is due."""
        return None if self._frame is None or self.close_received else self._frame.rest()

    def buffer_received(self, count: int) -> bool:
        """Take `count` bytes that were put at the front of `receive_buffer()`. Returns what `receive_data` does."""
        assembler = self._assembler
        assembler.weigh()
        try:
            self._filled_in(count)
        except ProtocolError as error:
            self.fail(error)
        assembler.waiting = 0
        return self._has_waiting()

    def _has_waiting(self) -> bool:
        """Whether a message has come whole, and is not delivered as too much else waits."""
        return self._assembler.whole or (self._frame is not None and self._frame.is_filled)

    def _finish_waiting(self) -> None:
        """Deliver such a message, if there is room for it now."""
        if self._assembler.whole:
            self._assembler.finish()
        elif self._frame is not None and self._frame.is_filled:
            self._finish_frame(self._frame)

    def _is_full(self) -> bool:
        """Whether no further frame may be decoded for now."""
        assembler = self._assembler
        return assembler.bounded and (assembler.full or self._has_waiting() or len(self.controls) >= MAX_CONTROLS)

    def _has_room(self, head: int, length: int) -> bool:
        """Whether a frame that has come whole may be decoded."""
        assembler, partial = self._assembler, head & 0x08 or not self._assembler.is_whole(head)
        return not self._is_full() and bool(partial or assembler.fits(head, length, False))

    def _scan(self, data: memoryview) -> tuple[memoryview, bool]:
        """Take the complete frames at the front; return what is behind them, and whether it has to wait."""
        bounded = self._assembler.bounded
        limit = NO_LIMIT if self._assembler.streaming else self.max_message_size
        reserved = 0
        if self.extension is not None:
            reserved = RSV1
            limit = min(limit + (limit >> 3) + 64, NO_LIMIT)  # deflate makes nine bits of eight at the worst
        status, consumed, frames, following = scan(data, limit, reserved, not self.client)
        at = 0
        for number, (start, length, _key, head) in enumerate(frames):
            if bounded and not self._has_room(head, length):
                if not self.client:
                    mask_again(data, frames[number:])
                return data[at:], True
            self._receive_frame(head, data[start : start + length])
            if self.close_received:
                return data[:0], False
            at = start + length
        if following is not None:
            if self._is_full():
                return data[at:], True
            self._begin(following)
            return data[following[0] :], False
        if status == pure.MORE:
            self._header = bytes(data[consumed:])
            return data[:0], False
        if status == pure.FULL:
            return data[consumed:], False
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
        assembler, own = self._assembler, True
        if not head & 0x08:
            assembler.check_order(head, length)
            assembler.begin(head)
            own = length <= LARGEST_BUFFER and assembler.is_whole(head)
        try:
            self._frame = PartialFrame(frame, own)
        except (MemoryError, OverflowError):
            raise assembler.too_big(length) from None

    def _fill(self, data: memoryview) -> memoryview:
        """Take the payload of a frame whose header has come, and return what is behind it."""
        frame, assembler = self._frame, self._assembler
        assert frame is not None
        part = data[: frame.length - frame.filled]
        if assembler.streaming:
            part = part[:PIECE]
        rest = frame.rest()
        if rest is not None:
            rest[: len(part)] = part
            del rest
            self._filled_in(len(part))
        else:
            frame.advance(len(part), part, not self.client)
            if frame.is_filled:
                self._frame = None
            assembler.add(frame.head, part, frame.is_filled)
        return data[len(part) :]

    def _filled_in(self, count: int) -> None:
        """Unmask and check `count` more bytes of a frame with a buffer of its own, and finish it with the last."""
        frame, assembler = self._frame, self._assembler
        assert frame is not None and frame.target is not None
        part = frame.advance(count, None, not self.client)
        if not frame.head & 0x08:
            assembler.check(part, frame.is_filled)
        del part  # a text is decoded in the place of what it comes from
        if frame.is_filled:
            self._finish_frame(frame)

    def _finish_frame(self, frame: PartialFrame) -> None:
        """Take what has come in a buffer of its own, if there is room for it."""
        assembler, head = self._assembler, frame.head
        assert frame.target is not None
        if head & 0x08:
            self._frame = None
            self._receive_control(head & 0x0F, bytes(frame.target))
        elif assembler.fits(head, frame.length, assembler.ascii_only):
            self._frame = None
            assembler.deliver(head & 0x0F, assembler.release(frame.give_up()))

    def _receive_control(self, opcode: int, payload: bytes) -> None:
        """Take a control frame: a ping is answered, a close is answered unless it is an answer itself (5.5)."""
        self._assembler.work += CONTROL_WORK
        if opcode == Opcode.CLOSE:
            code, reason = parse_close(payload)
            self.close_received = True
            self.close_code, self.close_reason = code, reason
            if not (self.inbox or self.pending):
                self.send_close(code, reason)
            return
        if opcode == Opcode.PING and not self.close_sent:
            self._queue(self.encode_control(Opcode.PONG, payload))
        self._note_control(opcode, payload)

    def deliver_to(self, messages: Any) -> None:
        """Append messages to this from now on; those that are there stay with whoever has a hold of them."""
        self.inbox = self._assembler.inbox = messages

    def fail(self, error: ProtocolError) -> None:
        """Take nothing more. What came before may still be answered; then `reply_to_close` is due."""
        self.failure = self.failure or error
        self._frame, self._header = None, b""
        self._assembler.drop()

    @property
    def close_reply_pending(self) -> bool:
        """Whether a breach, or a close frame behind messages that may still be answered, waits for `reply_to_close`."""
        return (self.close_received or self.failure is not None) and not self.close_sent

    def reply_to_close(self) -> None:
        """Answer the peer's close frame with its own code (RFC 6455 5.5.1), or say why the connection fails (7.1.7)."""
        if self.failure is not None and not self.close_received:
            self.close_code, self.close_reason = int(self.failure.close_code), str(self.failure)
        self.send_close(self.close_code, self.close_reason)

    # Sending

    def send_close(self, code: int | None = 1000, reason: str = "") -> None:
        """Put a close frame in `output`, unless one was sent. ValueError where code or reason may not be sent."""
        payload = encode_close(code, reason)
        if not self.close_sent:
            self._queue(self.encode_control(Opcode.CLOSE, payload))
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
        if extension is not None and extension.wants(len(payload), compress):
            head |= RSV1
            payload = extension.compress(payload)
        return self.encode(head, payload)

    def encode_parts(self, parts: Iterable[Any], compress: bool | None) -> Iterator[tuple[bytes, bytes | memoryview]]:
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
