"""Sending frames to many descriptors in one call of the C core (fanout.h), with the face of pure.Fanout.

Importing this module fails if the extension was not built.
"""

from __future__ import annotations

from array import array
from itertools import accumulate
from struct import Struct
from typing import TYPE_CHECKING, Any

from .._frame import ffi, lib

if TYPE_CHECKING:
    from .pure import Refusal

refusal_struct = Struct("=iii4xq")
"""struct ws_refusal, without its reserved field."""

_refusals = refusal_struct.iter_unpack
_fanout = lib.ws_fanout
_NULL = ffi.NULL


class Fanout:
    """Sends to descriptors that it knows, all in one call: see pure.Fanout."""

    def __init__(self) -> None:
        self.shut = bytearray()  # for each known descriptor: 0 if frames may be sent to it
        self._struct = ffi.new("struct ws_fanout *")  # what C knows of the descriptors
        self._per_descriptor: tuple[object, ...] = ()  # the arrays by descriptor that the struct points to
        self._room = 0  # how many descriptors there is room for, over all frames
        self._links: Any = None  # so many struct ws_link, for C to work with
        self._refusals: Any = None  # so many struct ws_refusal, for C to fill
        self._view = memoryview(b"")  # of the refusals
        self._make_room(64)

    def grow(self, size: int) -> None:
        """Make the descriptors below `size` known. Frames may be sent to the new ones."""
        self.shut = self.shut.ljust(size, b"\0")  # a new one: C points to the old one, which must not move
        places = array("i", [-1]) * size, array("i", [-1]) * size
        first, last = (ffi.from_buffer("int32_t[]", each) for each in places)
        shut = ffi.from_buffer("uint8_t[]", self.shut)
        self._struct.first, self._struct.last, self._struct.shut = first, last, shut
        self._struct.known = size
        self._per_descriptor = first, last, shut

    def _make_room(self, size: int) -> None:
        self._room = size
        self._links = self._struct.links = ffi.new("struct ws_link[]", size)
        refusals = self._struct.refusals = ffi.new("struct ws_refusal[]", size)
        self._view = memoryview(ffi.buffer(refusals))  # it keeps them alive

    def send(
        self,
        frames: list[bytes],
        fds: list[int],
        counts: list[int] | None = None,
        excepts: list[int] | None = None,
    ) -> list[Refusal]:
        """Send frames, without blocking, and return the refusals: see pure.Fanout."""
        if len(fds) > self._room:
            self._make_room(2 * len(fds))
        count = _fanout(
            self._struct,
            b"".join(frames),
            [len(frames[0])] if len(frames) == 1 else list(accumulate(map(len, frames))),
            len(frames),
            fds,
            _NULL if counts is None else counts,
            _NULL if excepts is None else excepts,
        )
        return list(_refusals(self._view[: 24 * count])) if count else []
