"""Sending frames to many descriptors in one call: fanout.c behind `CoreFanout`, and its specification, `PythonFanout`.

Both know of each descriptor whether it may be sent to, send what the kernel takes, and return what it refused.
"""

from __future__ import annotations

import errno
import os
from array import array
from itertools import accumulate
from typing import TYPE_CHECKING, TypeAlias

from . import HAVE_C

if HAVE_C:
    from struct import Struct

    from ._frame import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Refusal: TypeAlias = "tuple[int, int, int, int]"
"""struct ws_refusal: the descriptor, the number of the frame, the errno or 0, and the bytes that were sent of it."""

HAVE_WRITE = os.name == "posix"
"""Whether Python writes to any descriptor of a socket; elsewhere everything is refused."""


class PythonFanout:
    """What the C core does, in Python.

    Attributes:
        open: for each descriptor, whether it may be sent to; as long as `grow` has made it.
    """

    def __init__(self) -> None:
        self.open = bytearray()

    def grow(self, size: int) -> None:
        """Know the descriptors below `size`, of which the new ones may not be sent to yet."""
        self.open = self.open.ljust(size, b"\0")  # another one: C has seen the old one, which may not move

    def send(
        self,
        frames: list[bytes],
        fds: Sequence[int],
        counts: Sequence[int] | None = None,
        excepts: Sequence[int] | None = None,
    ) -> list[Refusal]:
        """Send frames, without blocking; return what was refused, that of one descriptor together and in order.

        Args:
            frames: the frames, none of them empty.
            fds: the descriptors that get the first frame, then those that get the second, and so on; negative numbers
                and those that `grow` was not told of get nothing.
            counts: how many there are for each frame; None for one each.
            excepts: for each frame a descriptor that does not get it after all, or -1; None for no such.
        """
        refused: list[Refusal] = []
        for fd, numbers in self._chain(frames, fds, counts, excepts).items():
            refused += self._serve(fd, numbers, frames)
        return refused

    def _chain(
        self, frames: list[bytes], fds: Sequence[int], counts: Sequence[int] | None, excepts: Sequence[int] | None
    ) -> dict[int, list[int]]:
        """Return the numbers of each descriptor's frames."""
        chains: dict[int, list[int]] = {}
        at = 0
        for number in range(len(frames)):
            count = 1 if counts is None else counts[number]
            for fd in fds[at : at + count]:
                if 0 <= fd < len(self.open) and (excepts is None or fd != excepts[number]):
                    chains.setdefault(fd, []).append(number)
            at += count
        return chains

    def _serve(self, fd: int, numbers: list[int], frames: list[bytes]) -> Iterator[Refusal]:
        """Send one descriptor its frames, and yield those that it did not take."""
        error = sent = 0
        if self.open[fd] and HAVE_WRITE:
            error = errno.EAGAIN
            try:
                sent = os.write(fd, b"".join([frames[number] for number in numbers]))
            except BlockingIOError:
                pass
            except OSError as broken:
                error = broken.errno or errno.EPIPE
        ends = accumulate(len(frames[number]) for number in numbers)
        for number, end in zip(numbers, ends, strict=True):
            if end > sent:
                yield fd, number, error, max(sent - (end - len(frames[number])), 0)


if HAVE_C:
    _refusals = Struct("@iii4xq").iter_unpack  # struct ws_refusal

    class CoreFanout(PythonFanout):
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

    Fanout: type[PythonFanout] = CoreFanout
else:
    Fanout = PythonFanout
