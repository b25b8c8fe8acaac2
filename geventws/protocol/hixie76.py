"""Drafts 75 and 76 of the WebSocket protocol after the handshake, as browsers spoke it in 2010. No I/O.

These are draft-hixie-thewebsocketprotocol-75 and -76; numbers of sections are those of draft 76. There are text
messages and, in draft 76, a closing handshake; no binary messages, no pings, no masks, no close codes:

    00 <UTF-8> FF       a message
    FF 00               the closing handshake of draft 76

`HixieProtocol` has the face of `WebSocketProtocol` (interface.py), so that everything above the two is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..exceptions import ProtocolError
from ..frames import CONTROL, DEFAULT_LIMIT, CloseCode, frame_too_big
from .closing import ClosingHandshake, Ending, Phase
from .memory import Delivery, begin_work, decode, deliver, get_delivery, has_room, is_full, is_tired
from .messages import END_OF_BINARY, END_OF_TEXT

if TYPE_CHECKING:
    from .extension import Data

__all__ = ["HixieProtocol"]

TEXT_TYPE = 0x00
CLOSING_TYPE = 0xFF
HAS_LENGTH = 0x80
"""The bit that the types of frames with a length have; all others end with a byte FF (5.3)."""

CLOSING_FRAME = b"\xff\x00"
LENGTH_BYTES = 9
"""Bytes of a length at most, of 7 bits each: 63 bits, as in RFC 6455."""


class _Frame:
    """The frame that is being received."""

    __slots__ = ("body", "kind", "left", "length_bytes")

    def __init__(self) -> None:
        self.kind: int | None = None  # its type; None between frames
        self.body = bytearray()  # its payload so far, where it ends with FF
        self.left = 0  # where it has a length: the length so far, and then how much is left to skip
        self.length_bytes = 0  # the number of the length's next byte, from 1; 0 once the length is known

    def begin(self, kind: int) -> None:
        """Take its first byte."""
        self.kind = kind
        self.left, self.length_bytes = 0, 1

    def end(self) -> None:
        """Forget it."""
        self.kind = None
        self.body = bytearray()

    def take_length(self, byte: int, limit: int) -> bool:
        """Take seven bits of the length (5.3): the high bit says that more follow. Return whether it is known now."""
        self.left = self.left << 7 | byte & 0x7F
        if self.left > limit or self.length_bytes > LENGTH_BYTES:
            raise frame_too_big(limit)
        self.length_bytes += 1
        if byte & 0x80:
            return False
        self.length_bytes = 0
        self.skip(0)
        return True

    def skip(self, count: int) -> int:
        """Skip as many bytes of a frame with a length; return how many of them it has."""
        skipped = min(self.left, count)
        self.left -= skipped
        if not self.left:
            self.end()
        return skipped


class HixieProtocol(ClosingHandshake):
    """The state of one connection of draft 75 or 76, on the server's side, with the face of `WebSocketProtocol`.

    Bytes that are not UTF-8 are replaced (5.3), so only a frame that is too long makes a connection fail. Frames of
    other types are ignored (5.3), but `max_message_size` bounds them, too.

    Args:
        version: the draft, 75 or 76.
        max_message_size: the largest frame taken, in bytes.
        strict: whether a frame of another type is a violation instead.
        decode_text: as for `WebSocketProtocol`.
        streaming: as for `WebSocketProtocol`; a message is one piece, though.
    """

    __slots__ = (
        "controls", "delivery", "inbox", "max_message_size", "pending", "strict", "version", "waiting", "work",
        "_frame", "_kept",
    )  # fmt: skip

    client = False
    plain_frames = False  # the frames of these drafts differ from those of RFC 6455
    extension = None
    fast_path = 0  # nothing that is received is a frame of RFC 6455

    def __init__(
        self,
        version: int = 76,
        *,
        max_message_size: int = DEFAULT_LIMIT,
        strict: bool = False,
        decode_text: bool = True,
        streaming: bool = False,
    ) -> None:
        super().__init__()
        self.version: int = version
        self.max_message_size: int = max_message_size
        self.strict: bool = strict
        self.delivery: Delivery = get_delivery(decode_text, streaming)  # how messages are delivered
        self.inbox: list[Any] = []  # the messages received, the oldest first: a list, or what takes its place
        # those that the reading greenlet took from it: a list where a connection bounds them
        self.pending: list[Any] | tuple[()] = ()
        self.waiting: int = 0  # the bytes of memory that both hold, while bytes are decoded; 0 without a bound
        self.work: int = 0  # the work done since bytes were received, in frames
        self.controls: list[tuple[int, bytes]] | tuple[()] = ()  # pings and pongs, of which there are none
        self._kept = b""  # bytes that were not decoded yet, as too much waits
        self._frame = _Frame()  # the frame that is being received

    @property
    def tired(self) -> bool:
        """Whether `receive_data` stopped to let others have their turn: then it need only be called again."""
        return is_tired(self)

    def measure(self) -> int:
        """Return how many bytes of memory are held besides messages."""
        return len(self._frame.body) + len(self._kept) + sum(map(len, self.output))

    # Receiving

    def receive_buffer(self) -> None:
        """Return None: no part of a frame has a buffer of its own."""

    def buffer_received(self, count: int) -> bool:
        """Never called, as there is no such buffer."""
        raise NotImplementedError

    def receive_data(self, data: memoryview) -> bool:
        """Take bytes from the peer; those after a closing frame or a violation are dropped. Return whether any wait."""
        received, self._kept = self._kept + bytes(data), b""
        at = 0
        begin_work(self)
        try:
            while at < len(received) and not (self.close_received or self.failure):
                following = at if is_full(self) else self._take(received, at)
                if following == at:  # the handler has to take messages first
                    self._kept = received[at:]
                    break
                at = following
        except ProtocolError as error:
            self.fail(error)
        self.waiting = 0
        return self._kept != b""

    def _take(self, data: bytes, at: int) -> int:
        """Take the bytes from `at` on, as far as one step goes, and return where the next step begins."""
        frame = self._frame
        if frame.kind is None:
            self._begin_frame(data[at])
            return at + 1
        if frame.kind < HAS_LENGTH:
            return self._take_text(data, at)
        if frame.length_bytes:
            kind = frame.kind
            if frame.take_length(data[at], self.max_message_size) and kind == CLOSING_TYPE:
                self._take_closing(frame.left)
            return at + 1
        return at + frame.skip(len(data) - at)

    def _begin_frame(self, kind: int) -> None:
        if self.strict and kind not in (TEXT_TYPE, CLOSING_TYPE):
            raise ProtocolError(f"a frame of type 0x{kind:02x}")
        self.work += 1
        self._frame.begin(kind)

    def _take_text(self, data: bytes, at: int) -> int:
        """Take a part of a frame that ends with FF."""
        frame, end = self._frame, data.find(b"\xff", at)
        stop = len(data) if end < 0 else end
        if len(frame.body) + stop - at > self.max_message_size:
            raise frame_too_big(self.max_message_size)
        frame.body += data[at:stop]
        if end < 0 or not has_room(self, len(frame.body), not self.delivery.decode_text):
            return stop
        if frame.kind == TEXT_TYPE:
            self._deliver_text(decode(frame.body, "replace"))
        frame.end()
        return end + 1

    def fail(self, error: ProtocolError) -> None:
        """Take nothing more."""
        super().fail(error)
        self._kept = b""
        self._frame.end()

    def _deliver_text(self, text: str) -> None:
        decode_text, streaming = self.delivery
        message = text if decode_text else text.encode()
        if message or not streaming:
            deliver(self, message)
        if streaming:
            deliver(self, END_OF_TEXT if decode_text else END_OF_BINARY)

    # Closing

    def _take_closing(self, length: int) -> None:
        """Take a frame of type FF: the closing frame if it is empty. As it carries no code, it is answered at once."""
        if not length:
            self.receive_close(CloseCode.NO_STATUS_RCVD.value, "")
            self.reply_to_close()
        elif self.strict:
            raise ProtocolError("a closing frame is not empty")

    def encode_close_frame(self, code: int | None, reason: str) -> bytes:
        """Return a closing frame, which carries neither code nor reason; b"" in draft 75, which has no such frame."""
        return CLOSING_FRAME if self.version == 76 else b""

    def send_close(self, code: int | None = 1000, reason: str = "") -> None:
        """Put a closing frame in `output`, unless one was sent.

        Draft 75 has no closing frame: the connection goes on as if the peer had sent one, since none will come.
        """
        super().send_close(code, reason)
        if self.version == 75 and self.phase is Phase.CLOSE_SENT:
            self.receive_close(CloseCode.NO_STATUS_RCVD.value, "")

    @property
    def ends_first(self) -> bool:
        """Whether this side ends both directions of the stream at once: not in draft 75, as the peer may be sending."""
        return self.phase.ending is Ending.SERVER_FIRST and self.version == 76

    # Sending

    def encode_control(self, opcode: int, payload: bytes) -> bytes:
        """Raise ValueError: there are no control frames here."""
        raise ValueError("drafts 75 and 76 have no control frames")

    def encode_message(self, head: int, payload: Data, compress: bool | None) -> tuple[bytes, Data]:
        """Return a whole message as header and payload. Raises as `encode` does."""
        return self.encode(head, payload)

    def encode(self, head: int, payload: Data) -> tuple[bytes, bytes]:
        """Return a text frame as header and payload.

        Raises:
            ValueError: it is a control frame, which these drafts do not have; or the payload has a byte FF, its end.
        """
        if head & CONTROL:
            raise ValueError("drafts 75 and 76 have no control frames")
        return b"\x00", _check_text(payload) + b"\xff"

    def encode_parts(self, parts: Iterable[Any], compress: bool | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield one message in pieces as its parts come. Raises as `encode` does."""
        begun = False
        for part in parts:
            piece = _check_text(part.encode() if isinstance(part, str) else part)
            yield b"" if begun else b"\x00", piece
            begun = True
        if begun:
            yield b"", b"\xff"


def _check_text(payload: Data) -> bytes:
    text = bytes(payload)
    if b"\xff" in text:
        raise ValueError("drafts 75 and 76 carry text only, and UTF-8 has no byte FF")
    return text
