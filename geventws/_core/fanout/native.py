"""Sending frames to many descriptors in one call of the C core (fanout.h), with the face of fanout.Fanout.

Importing this module fails where the extension was not built.
"""

from __future__ import annotations

from array import array
from struct import Struct
from typing import TYPE_CHECKING

from ._frame import ffi, lib
from .fanout import Fanout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .fanout import Refusal

_refusals = Struct("@iii4xq").iter_unpack  # struct ws_refusal


class CoreFanout(Fanout):
    """The same in C."""

    def __init__(self) -> None:
        super().__init__()
        self._struct = ffi.new("struct ws_fanout *")
        self._per_descriptor: tuple[object, ...] = ()  # what the struct points to
        self._room = 0  # for so many descriptors of all frames together; see _make_room
        self._make_room(64)

    def grow(self, size: int) -> None:
        """Know the descriptors below `size`."""
        super().grow(size)
        places = array("i", [-1]) * size, array("i", [-1]) * size
        first, last = (ffi.from_buffer("int32_t[]", each) for each in places)
        opened = ffi.from_buffer("uint8_t[]", self.open)
        self._struct.first, self._struct.last, self._struct.open = first, last, opened
        self._struct.known = size
        self._per_descriptor = first, last, opened

    def _make_room(self, size: int) -> None:
        self._room = size
        self._links = self._struct.links = ffi.new("struct ws_link[]", size)
        self._refusals = self._struct.refusals = ffi.new("struct ws_refusal[]", size)
        self._view = memoryview(ffi.buffer(self._refusals))

    def send(
        self,
        frames: list[bytes],
        fds: Sequence[int],
        counts: Sequence[int] | None = None,
        excepts: Sequence[int] | None = None,
    ) -> list[Refusal]:
        """Send frames, without blocking; return what was refused."""
        if len(fds) > self._room:
            self._make_room(2 * len(fds))
        struct = self._struct
        sizes = array("q", map(len, frames))
        owned = [
            ffi.from_buffer("uint8_t[]", b"".join(frames)),
            ffi.from_buffer("int64_t[]", sizes),
            ffi.from_buffer("int64_t[]", array("q", sizes)),
            ffi.from_buffer("int32_t[]", array("i", fds)),
            ffi.NULL if counts is None else ffi.from_buffer("int32_t[]", array("i", counts)),
            ffi.NULL if excepts is None else ffi.from_buffer("int32_t[]", array("i", excepts)),
        ]
        struct.data, struct.sizes, struct.starts, struct.fds, struct.counts, struct.excepts = owned
        struct.frames_count = len(frames)
        count = lib.ws_fanout(struct)
        return list(_refusals(self._view[: 24 * count])) if count else []
