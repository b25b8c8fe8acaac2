"""The interface of a connection's protocol: either a `WebSocketProtocol` or a `HixieProtocol`. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..exceptions import ProtocolError
    from .closing import State
    from .extension import Data, Extension

Frame: TypeAlias = "tuple[bytes, Any]"
"""A frame as its header and its payload, which is bytes-like."""


class ConnectionProtocol(Protocol):
    """One connection after its handshake: bytes in, messages and replies out.

    Attributes:
        inbox: the messages received, the oldest first: a list, or what takes its place.
        pending: those that the reading greenlet took from it and has not given out: a list; () without a bound.
        controls: pings and pongs received, with their payloads; the reader empties it.
        output: frames to send, in order; the sender empties it.
        close_code: the peer's close code; ours where we failed the connection; 1006 without either.
        close_reason: the reason that came with it.
        failure: the first rule that the peer broke, or None.
        max_message_size: the largest message taken, in bytes.
    """

    inbox: list[Any]
    pending: list[Any] | tuple[()]
    controls: list[tuple[int, bytes]] | tuple[()]
    output: list[bytes] | tuple[()]
    close_code: int
    close_reason: str
    failure: ProtocolError | None
    max_message_size: int

    @property
    def client(self) -> bool:
        """Whether this side is the client."""

    @property
    def extension(self) -> Extension | None:
        """The negotiated extension, or None."""

    @property
    def plain_frames(self) -> bool:
        """Whether a message is sent as its header and its payload as it is."""

    @property
    def fast_path(self) -> int:
        """The largest whole message, in bytes, that may go straight to `inbox`; 0 where none may."""

    @property
    def tired(self) -> bool:
        """Whether `receive_data` stopped to let others have their turn: then it need only be called again."""

    def measure(self) -> int:
        """Return how many bytes of memory are held besides messages."""

    # Receiving

    def receive_data(self, data: memoryview) -> bool:
        """Take bytes from the peer, and change them. Return whether some are kept: then call it again."""

    def receive_buffer(self) -> memoryview | None:
        """Return where the rest of a large frame's payload may be received to; None where `receive_data` is due."""

    def buffer_received(self, count: int) -> bool:
        """Take `count` bytes that were put at the front of `receive_buffer()`. Return what `receive_data` does."""

    # Closing: see closing.py

    @property
    def state(self) -> State:
        """OPEN, CLOSING or CLOSED."""

    @property
    def close_sent(self) -> bool:
        """Whether nothing can be sent any more."""

    @property
    def close_received(self) -> bool:
        """Whether the peer's close frame came."""

    @property
    def close_reply_pending(self) -> bool:
        """Whether `reply_to_close` is due as soon as the messages that came before were answered."""

    @property
    def end_due(self) -> bool:
        """Whether nothing is left to send, so that the stream has to be ended."""

    @property
    def ends_first(self) -> bool:
        """Whether this side ends both directions of the stream, at once."""

    def send_close(self, code: int | None = 1000, reason: str = "") -> None:
        """Put a close frame in `output`, unless one was sent."""

    def reply_to_close(self) -> None:
        """Put the pending close frame in `output`."""

    def fail(self, error: ProtocolError) -> None:
        """Take nothing more."""

    def receive_eof(self) -> None:
        """Note that the stream has ended, or that we end it."""

    # Sending

    def encode(self, head: int, payload: Data) -> Frame:
        """Return a frame."""

    def encode_message(self, head: int, payload: Data, compress: bool | None) -> Frame:
        """Return a whole message."""

    def encode_parts(self, parts: Iterable[Any], compress: bool | None) -> Iterator[Frame]:
        """Yield one message as frames, as its parts come."""

    def encode_control(self, opcode: int, payload: bytes) -> bytes:
        """Return a control frame."""
