"""A frame of which a part was received, and the buffer for its payload. No I/O."""

from __future__ import annotations

from sys import getsizeof
from typing import TYPE_CHECKING

from .._core import mask_in_place, new_buffer

if TYPE_CHECKING:
    from .._core.pure import RawFrame


class PartialFrame:
    """A frame whose header was received, and whose payload is being received.

    Args:
        frame: where its payload begins, how long it is, the mask key, and its first byte.
        own: whether the payload has a buffer of its own, into which a socket may receive.

    Attributes:
        head: the frame's first byte.
        length: bytes of its payload.
        filled: how many of them were received.
        target: the payload's own buffer, if it has one.

    Raises:
        MemoryError, OverflowError: there is no such buffer.
    """

    __slots__ = ("_key", "_view", "filled", "head", "length", "target")

    head: int
    length: int

    def __init__(self, frame: RawFrame, own: bool) -> None:
        _start, self.length, self._key, self.head = frame  # the key unmasks it
        self.filled: int = 0
        self.target: bytes | bytearray | None = None
        self._view: memoryview | None = None  # the same, to be written to
        if own:
            self.target, self._view = new_buffer(self.length)

    @property
    def is_filled(self) -> bool:
        """Whether the payload was received."""
        return self.filled == self.length

    def rest(self) -> memoryview | None:
        """Return the part of its own buffer that is still to be filled."""
        return None if self._view is None else self._view[self.filled :]

    def advance(self, count: int, part: memoryview | None, masked: bool) -> memoryview:
        """Unmask the next bytes of the payload, and return them: `part`, or what was put into its own buffer."""
        start = self.filled
        if part is None:
            assert self._view is not None
            part = self._view[start : start + count]
        if masked and count:
            mask_in_place(part, 0, count, self._key, start)
        self.filled += count
        return part

    def give_up(self) -> bytes | bytearray:
        """Return the payload, and forget it."""
        target = self.target
        assert target is not None
        self.target = self._view = None
        return target

    def measure(self) -> int:
        """Return how many bytes of memory its payload holds."""
        return 0 if self.target is None else getsizeof(self.target)


def mask_again(data: memoryview, frames: list[RawFrame]) -> None:
    """Mask frames again that `scan` has unmasked, as they will be scanned again."""
    for start, length, key, _head in frames:
        if length:
            mask_in_place(data, start, start + length, key)
