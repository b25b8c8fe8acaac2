"""PreparedMessage: one message for many connections, encoded once. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from ..frames import FIN, Opcode, encode_header

if TYPE_CHECKING:
    from collections.abc import Hashable

    from .extension import Extension

__all__ = ["PreparedMessage"]

Message: TypeAlias = "str | bytes | bytearray | memoryview"


LARGE_TO_COMPRESS = 128 * 1024
"""Payloads beyond this size are compressed in slices, so that others have their turn meanwhile."""


class PreparedMessage:
    """A message that is encoded once, and compressed once for each distinct set of parameters, for all who get it.

    `send`, `publish` and `broadcast` take it. The last two prepare any other message by themselves: prepare what is
    sent to several connections one by one, or again and again. A client's connection, which masks each message, and one
    that keeps a context from one message to the next encode it anew. Immutable; any thread may use it.

    Args:
        message: `str` for text, bytes-like for binary; a buffer is copied.
        compress: whether to compress it, where that was negotiated; None compresses what is over the threshold.

    Raises:
        TypeError: `message` is of another type.
        UnicodeEncodeError: a `str` has a lone surrogate, for which UTF-8 has no bytes.

    Attributes:
        opcode: TEXT or BINARY.
        payload: the bytes of the message.
        compress: as above.
    """

    __slots__ = ("_compressed", "_plain", "compress", "opcode", "payload")

    opcode: Opcode
    payload: bytes

    def __init__(self, message: Message, compress: bool | None = None) -> None:
        if isinstance(message, str):
            self.opcode, self.payload = Opcode.TEXT, message.encode()
        elif isinstance(message, (bytes, bytearray, memoryview)):
            self.opcode, self.payload = Opcode.BINARY, bytes(message)
        else:
            raise TypeError(f"a message is str or bytes-like, not {type(message).__name__}; json.dumps makes JSON")
        self.compress: bool | None = compress
        self._plain: bytes | None = None  # its frame, without compression
        self._compressed: dict[Hashable, bytes] = {}  # its compressed frames, by the `sharing` of the extension

    def __repr__(self) -> str:
        return f"<PreparedMessage {self.opcode.name} of {len(self.payload)} bytes>"

    def encode(self, extension: Extension | None) -> bytes:
        """Return the frame that a server sends, made at the first call.

        Args:
            extension: what was negotiated, whose `sharing` is not None; None for no extension.
        """
        if extension is None or not extension.wants(len(self.payload), self.compress):
            if self._plain is None:
                self._plain = encode_header(FIN | self.opcode, len(self.payload)) + self.payload
            return self._plain
        return self._compressed.get(extension.sharing) or self._make(extension, extension.encode(self.payload))

    def is_slow(self, extension: Extension | None) -> bool:
        """Whether `encode` would keep others from their turn, so that `encode_slowly` should come first."""
        size = len(self.payload)
        if extension is None or size <= LARGE_TO_COMPRESS or not extension.wants(size, self.compress):
            return False
        return extension.sharing not in self._compressed

    def encode_slowly(self, extension: Extension) -> Iterator[None]:
        """Make the frame in steps that take a bounded time, after each of which it yields; then `encode` has it."""
        if self.is_slow(extension):
            compressed = bytearray()
            for part in extension.encode_slowly(self.payload):
                compressed += part
                yield
            self._make(extension, compressed)

    def _make(self, extension: Extension, compressed: bytes | bytearray) -> bytes:
        header = encode_header(FIN | extension.header_bits | self.opcode, len(compressed))
        frame = self._compressed[extension.sharing] = header + compressed
        return frame


def prepare(message: Message | PreparedMessage) -> PreparedMessage:
    """Return a message prepared, if it is not. Raises as `PreparedMessage` does."""
    return message if type(message) is PreparedMessage else PreparedMessage(message)  # type: ignore[arg-type]
