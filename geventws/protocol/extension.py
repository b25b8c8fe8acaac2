"""The one interface of an extension (RFC 6455 section 9): how it is negotiated, and what it does to messages. No I/O.

    Negotiator      the wishes of one side: offers, accepts and checks; immutable, shared by all its connections
    Extension       the result for one connection: encodes and decodes its messages

A new extension is one file that implements both, and a line in `geventws.protocol.EXTENSIONS`. Nothing else knows what
an extension does: the handshake negotiates through the one, and the protocol and the engine go through the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from ..http.headers import Parameters

Data: TypeAlias = "bytes | bytearray | memoryview"


class Negotiator(Protocol):
    """An extension as one side wants it (RFC 6455 9.1)."""

    @property
    def name(self) -> str:
        """The name that stands for it in Sec-WebSocket-Extensions, in lower case."""

    def accept(self, offers: list[Parameters], /) -> tuple[Parameters, Extension] | None:
        """Server: return the parameters that answer one of a client's offers, and what was agreed; None declines."""

    def offer(self) -> Parameters:
        """Client: return the parameters of the one offer to make."""

    def check(self, parameters: Parameters, /) -> Extension:
        """Client: return what was agreed, by the server's answer; HandshakeError where that fits no offer."""


class Extension(Protocol):
    """An extension as it was agreed on for one connection.

    Each direction is for one caller at a time; the two are independent.
    """

    @property
    def header_bits(self) -> int:
        """Those of RSV1, RSV2 and RSV3 that it sets in the first frame of a message that it has encoded."""

    @property
    def threshold(self) -> int:
        """A message of fewer bytes is sent as it is, unless its sender wants something else."""

    @property
    def fast_path(self) -> bool:
        """Whether the C core can decode its messages: it knows only deflate without context."""

    @property
    def sharing(self) -> Hashable:
        """A key that is equal for all that encode a message alike; None if earlier messages change the result."""

    def measure(self) -> int:
        """Return how many bytes it holds of a message that is being received."""

    def longest(self, size: int) -> int:
        """Return the most bytes that a message of `size` bytes may be encoded in."""

    # Sending

    def wants(self, size: int, compress: bool | None) -> bool:
        """Return whether to encode a message of `size` bytes; `compress` is the sender's wish, or None."""

    def encode(self, payload: Data) -> bytes | bytearray:
        """Return the encoded payload of a whole message."""

    def encode_slowly(self, payload: Data) -> Iterator[bytes]:
        """Yield the same in parts, each of which takes a bounded time.

        Nothing else may be encoded until the last part was taken. If the caller stops earlier, nothing has changed.
        """

    def encode_part(self, payload: Data, final: bool) -> bytes | bytearray:
        """Return the payload of the frame for the next part of a message; `final`: the message ends with it."""

    # Receiving

    def decode(self, data: Data, final: bool, limit: int) -> Iterator[bytes]:
        """Decode the next part of a message. Yield it in pieces of a bounded size, all of which must be taken.

        Args:
            data: the part, cut anywhere.
            final: whether the message ends with it.
            limit: the most bytes that the part may decode to. The caller counts those of earlier parts.

        Raises:
            InvalidData: it cannot be decoded.
            PayloadTooBig: it decodes to more than `limit`.
        """
