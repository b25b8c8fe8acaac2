"""One connection after its handshake, as a state machine (RFC 6455 sections 5 to 7). No I/O.

Bytes go in through `receive_data`; messages come out in `inbox`, replies that must be sent in `output`, and
received pings and pongs in `controls`. Nothing that the peer sends raises an exception: a violation ends receiving, and
is kept in `failure` until `reply_to_close` puts the close frame for it in `output`. The peer's own close frame is
answered at once, unless messages that came before it wait: then the reply is pending (`close_reply_pending`) until they
are taken and `reply_to_close` is called. The table of all these steps is in closing.py.

A frame that was received whole is unmasked in place by the scan, and handled at once. If only a part of it was
received, the assembler takes over (messages.py). A large message in one frame gets a buffer of its own:
`receive_buffer` returns the rest of it, so that a socket can receive straight into it.

If `pending` is a list, the messages that wait for the handler are bounded (memory.py): `receive_data` stops before too
much waits, keeps the bytes that are left, and goes on with them when it is called again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .._core import mask, pure, scan
from ..exceptions import ProtocolError
from ..frames import (
    CONTROL,
    DEFAULT_LIMIT,
    FIN,
    MAX_CONTROL_PAYLOAD,
    NO_LIMIT,
    OPCODE,
    Opcode,
    encode_close,
    encode_header,
    parse_close,
    violation,
)
from .closing import ClosingHandshake, Ending, append
from .memory import (
    CONTROL_WORK,
    MAX_CONTROL,
    MAX_CONTROLS,
    Delivery,
    begin_work,
    get_delivery,
    is_bounded,
    is_full,
    is_tired,
)
from .messages import Assembler
from .partial import mask_again

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .extension import Data, Extension

__all__ = ["WebSocketProtocol"]

PLAIN_DELIVERY = get_delivery(True, False)
"""Text as `str`, and messages whole: what the C core can deliver."""


class WebSocketProtocol(ClosingHandshake):
    """The state of one connection, from the 101 to the last byte.

    Args:
        client: whether this side is the client, whose frames are masked.
        max_message_size: the largest message accepted, in bytes, after inflating.
        extension: the negotiated extension, or None.
        decode_text: whether a text message is delivered as `str`; otherwise as `bytes`, checked but not decoded.
        streaming: whether messages are delivered in pieces, as they arrive: each message is any number of `str` or
            `bytes` and then an `EndOfMessage`, and `max_message_size` bounds only what one part inflates to.
    """

    __slots__ = (
        "client", "controls", "delivery", "extension", "inbox", "max_message_size", "pending", "waiting", "work",
        "_assembler",
    )  # fmt: skip

    output: list[bytes] | tuple[()]

    def __init__(
        self,
        *,
        client: bool = False,
        max_message_size: int = DEFAULT_LIMIT,
        extension: Extension | None = None,
        decode_text: bool = True,
        streaming: bool = False,
    ) -> None:
        super().__init__()
        self.client: bool = client
        self.max_message_size: int = max_message_size
        self.extension: Extension | None = extension
        self.delivery: Delivery = get_delivery(decode_text, streaming)  # how messages are delivered
        self.inbox: list[Any] = []  # the messages received, the oldest first: a list, or something in its place
        # messages that the reading greenlet has taken from it: a list if they are bounded
        self.pending: list[Any] | tuple[()] = ()
        self.waiting: int = 0  # the bytes of memory that both hold, while bytes are decoded; 0 without a bound
        self.work: int = 0  # the work done since bytes were received, in frames
        # pings and pongs received, with their payloads: a list, if there are any
        self.controls: list[tuple[int, bytes]] | tuple[()] = ()
        self._assembler = Assembler()  # holds received bytes that are not a message yet

    @property
    def plain_frames(self) -> bool:
        """Whether a frame is just a header and the unchanged payload: a server does not mask (RFC 6455 5.1)."""
        return not self.client

    @property
    def tired(self) -> bool:
        """Whether `receive_data` stopped to let others have their turn: then only another call is needed."""
        return is_tired(self)

    def measure(self) -> int:
        """Return how many bytes of memory are held besides messages."""
        coming = self._assembler.measure() + (0 if self.extension is None else self.extension.measure())
        return coming + sum(map(len, self.output)) + MAX_CONTROL * len(self.controls)

    # Receiving

    @property
    def fast_path(self) -> int:
        """The largest whole message, in bytes, that may go straight to `inbox`, past this class; 0 if none may.

        One may if the next byte begins a message, and nothing has ended.
        """
        if self.close_received or self.failure or not self._assembler.idle or self.delivery != PLAIN_DELIVERY:
            return 0
        return self.max_message_size

    def receive_data(self, data: memoryview) -> bool:
        """Take bytes from the peer. They are unmasked in place, so `data` must be writable, and is changed.

        Bytes after a close frame or a violation are dropped (RFC 6455 1.4 and 7.1.7). Returns whether bytes are kept
        that wait for the handler to take messages, or for the next turn (`tired`): call it again then. Without a bound
        it never keeps whole frames.
        """
        assembler, stopped = self._assembler, False
        if assembler.kept:
            data = memoryview(bytearray(assembler.kept + bytes(data)))
            assembler.kept = b""
        begin_work(self)
        try:
            assembler.finish_waiting(self)
            while len(data) and not (stopped or self.phase.close_received or self.failure):
                if self._is_full():
                    stopped = True
                elif assembler.frame:
                    data = assembler.fill(self, assembler.frame, data)
                else:
                    data, stopped = self._scan(data)
            if stopped:
                assembler.kept = bytes(data)
        except ProtocolError as error:
            self.fail(error)
        self.waiting = 0
        return stopped or assembler.waits

    def receive_buffer(self) -> memoryview | None:
        """Return the buffer for the rest of a large frame's payload; None if `receive_data` is to be called instead."""
        frame = self._assembler.frame
        return None if frame is None or self.close_received else frame.rest()

    def buffer_received(self, count: int) -> bool:
        """Take `count` bytes that were put at the front of `receive_buffer()`. Returns what `receive_data` does."""
        assembler = self._assembler
        assert assembler.frame is not None
        begin_work(self)
        try:
            assembler.note_filled(self, assembler.frame, count)
        except ProtocolError as error:
            self.fail(error)
        self.waiting = 0
        return assembler.waits

    def _is_full(self) -> bool:
        """Whether no further frame may be decoded for now."""
        if not isinstance(self.pending, list):
            return False
        return is_full(self) or self._assembler.waits or len(self.controls) >= MAX_CONTROLS

    def _has_room(self, head: int, length: int) -> bool:
        """Whether a frame that was received whole may be decoded."""
        if self._is_full():
            return False
        assembler = self._assembler
        return bool(head & CONTROL) or not assembler.is_whole(self, head) or assembler.fits(self, head, length, False)

    def _scan(self, data: memoryview) -> tuple[memoryview, bool]:
        """Take the complete frames at the front; return what follows them, and whether it has to wait."""
        assembler, bounded = self._assembler, is_bounded(self)
        limit = NO_LIMIT if self.delivery.streaming else self.max_message_size
        reserved = 0
        if self.extension is not None:
            reserved = self.extension.header_bits
            limit = min(self.extension.longest(limit), NO_LIMIT)
        # RFC 6455 5.1: "The server MUST close the connection upon receiving a frame that is not masked. [...] A client
        # MUST close a connection if it detects a masked frame."
        # No more frames than may be decoded at once if all are pings: the others would have to be scanned twice.
        most = MAX_CONTROLS if bounded else pure.MAX_FRAMES
        status, consumed, frames, following = scan(data, limit, reserved, not self.client, most)
        at = 0
        for number, (start, length, _key, head) in enumerate(frames):
            if bounded and not self._has_room(head, length):
                if not self.client:
                    mask_again(data, frames[number:])
                return data[at:], True
            at = start + length
            if not head & CONTROL:
                assembler.receive_frame(self, head, data[start:at])
                continue
            self.receive_control(head & OPCODE, bytes(data[start:at]))
            if self.phase.close_received:
                return data[:0], False
        if following is not None:
            if frames and self._is_full():
                return data[at:], True
            assembler.begin_frame(self, following)
            return data[following[0] :], False
        if status == pure.MORE:
            assembler.kept = bytes(data[consumed:])
            return data[:0], False
        if status == pure.FULL:
            return data[consumed:], False
        raise violation(status, data[consumed:], self.max_message_size)

    def receive_control(self, opcode: int, payload: bytes) -> None:
        """Take a control frame (RFC 6455 5.5)."""
        self.work += CONTROL_WORK
        if opcode == Opcode.CLOSE:
            self.receive_close(*parse_close(payload))
            # 5.5.1, of the close frame in response: "It SHOULD do so as soon as practical."
            if self.close_reply_pending and not (self.inbox or self.pending):
                self.reply_to_close()
            return
        # 5.5.2: "Upon receipt of a Ping frame, an endpoint MUST send a Pong frame in response, unless it already
        # received a Close frame." And nothing may follow our own close frame.
        if opcode == Opcode.PING and not self.close_sent:
            self.output = append(self.output, self.encode_control(Opcode.PONG, payload))
        self.controls = append(self.controls, (opcode, payload))

    def fail(self, error: ProtocolError) -> None:
        """Receive nothing more (RFC 6455 7.1.7). Once the messages before were answered, `reply_to_close` is due."""
        super().fail(error)
        self._assembler.drop()

    @property
    def ends_first(self) -> bool:
        """Whether this side ends both directions of the stream, at once.

        RFC 6455 7.1.1: "The underlying TCP connection, in most normal cases, SHOULD be closed first by the server, so
        that it holds the TIME_WAIT state and not the client".
        """
        return self.phase.ending is Ending.SERVER_FIRST and not self.client

    # Sending

    def encode_close_frame(self, code: int | None, reason: str) -> bytes:
        """Return a close frame. Raises ValueError if the code or the reason may not be sent."""
        return self.encode_control(Opcode.CLOSE, encode_close(code, reason))

    def encode_control(self, opcode: int, payload: bytes) -> bytes:
        """Return a control frame.

        Raises:
            ValueError: RFC 6455 5.5: "All control frames MUST have a payload length of 125 bytes or less".
        """
        if len(payload) > MAX_CONTROL_PAYLOAD:
            raise ValueError(f"the payload of a control frame is at most {MAX_CONTROL_PAYLOAD} bytes")
        return b"".join(self.encode(FIN | opcode, payload))

    def encode(self, head: int, payload: Data) -> tuple[bytes, Data]:
        """Return a frame as header and payload, masked if this side is the client (RFC 6455 5.3)."""
        if not self.client:
            return encode_header(head, len(payload)), payload
        # 5.3: "The masking key needs to be unpredictable; thus, the masking key MUST be derived from a strong source of
        # entropy".
        mask_key = os.urandom(4)
        return encode_header(head, len(payload), mask_key), mask(payload, mask_key)

    def encode_message(self, head: int, payload: Data, compress: bool | None) -> tuple[bytes, Data]:
        """Return a whole message as header and payload.

        `compress` is whether to compress it if that was negotiated; None leaves it to the extension's threshold.
        """
        extension = self.extension
        if extension is not None and extension.wants(len(payload), compress):
            head |= extension.header_bits
            payload = extension.encode(payload)
        return self.encode(head, payload)

    def encode_parts(self, parts: Iterable[Any], compress: bool | None) -> Iterator[tuple[bytes, Data]]:
        """Yield one message as frames, a fragment for each of its parts and an empty last one (RFC 6455 5.4).

        Raises:
            TypeError: a part is neither str nor bytes-like, or text follows binary.
        """
        # 5.4: "A fragmented message consists of a single frame with the FIN bit clear and an opcode other than 0,
        # followed by zero or more frames with the FIN bit clear and the opcode set to 0, and terminated by a single
        # frame with the FIN bit set and an opcode of 0."
        opcode: Opcode | None = None
        extension = self.extension if compress is not False else None
        bits = extension.header_bits if extension else 0
        for part in parts:
            kind = Opcode.TEXT if isinstance(part, str) else Opcode.BINARY
            if kind is not (opcode or kind):
                raise TypeError("the parts of a message are all text, or all binary")
            payload = _encode_part(part)
            head = Opcode.CONTINUATION if opcode else kind | bits
            yield self.encode(head, extension.encode_part(payload, False) if extension else payload)
            opcode = kind
        if opcode is not None:
            yield self.encode(FIN | Opcode.CONTINUATION, extension.encode_part(b"", True) if extension else b"")


def _encode_part(part: Any) -> bytes:
    try:
        return part.encode() if isinstance(part, str) else bytes(memoryview(part))
    except TypeError:
        raise TypeError(f"a part of a message is str or bytes-like, not {type(part).__name__}") from None
