"""Sending frames to many descriptors at once, in Python: the specification of fanout.c, and the fallback for it."""

from __future__ import annotations

import errno
import os
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Refusal: TypeAlias = "tuple[int, int, int, int]"
"""struct ws_refusal: the descriptor, the number of the frame, the errno or 0, and how many bytes of it were sent."""


class Sender(Protocol):
    """What sends to many descriptors: `Fanout`, which has these described, or the C core."""

    shut: bytearray

    def grow(self, size: int) -> None: ...

    def send(
        self,
        frames: list[bytes],
        fds: list[int],
        counts: list[int] | None = None,
        excepts: list[int] | None = None,
    ) -> list[Refusal]: ...


class Fanout:
    """Sends frames to known descriptors, and returns what they did not take.

    Args:
        write: sends bytes to a descriptor without blocking, and returns how many were taken.

    Attributes:
        shut: for each known descriptor, 0 if frames may be sent to it.
    """

    def __init__(self, write: Callable[[int, bytes], int] = os.write) -> None:
        self._write = write
        self.shut = bytearray()

    def grow(self, size: int) -> None:
        """Make the descriptors below `size` known. Frames may be sent to the new ones."""
        self.shut = self.shut.ljust(size, b"\0")  # a new one, as in native.py: there, C points to the old one

    def send(
        self,
        frames: list[bytes],
        fds: list[int],
        counts: list[int] | None = None,
        excepts: list[int] | None = None,
    ) -> list[Refusal]:
        """Send frames, without blocking; return the refusals, those of one descriptor together and in order.

        Args:
            frames: the frames, none of them empty.
            fds: the descriptors that get the first frame, then those that get the second, and so on; a negative or
                unknown one is refused with EBADF.
            counts: how many descriptors there are for each frame; None for one each.
            excepts: for each frame a descriptor that does not get it, or -1; None for no exceptions.
        """
        refused: list[Refusal] = []
        for fd, numbers in self._chain(frames, fds, counts, excepts).items():
            if 0 <= fd < len(self.shut):
                refused += self._serve(fd, numbers, frames)
            else:
                refused += [(fd, number, errno.EBADF, 0) for number in numbers]
        return refused

    def _chain(
        self, frames: list[bytes], fds: list[int], counts: list[int] | None, excepts: list[int] | None
    ) -> dict[int, list[int]]:
        """Return the numbers of each descriptor's frames."""
        chains: dict[int, list[int]] = {}
        at = 0
        for number in range(len(frames)):
            count = 1 if counts is None else counts[number]
            for fd in fds[at : at + count]:
                if excepts is None or fd != excepts[number] or fd < 0:
                    chains.setdefault(fd, []).append(number)
            at += count
        return chains

    def _serve(self, fd: int, numbers: list[int], frames: list[bytes]) -> Iterator[Refusal]:
        """Send one descriptor its frames, and return those that it did not take."""
        if self.shut[fd]:
            return ((fd, number, 0, 0) for number in numbers)
        return write_frames(self._write, fd, numbers, frames)


def write_frames(
    write: Callable[[int, bytes], int], fd: int, numbers: list[int], frames: list[bytes]
) -> Iterator[Refusal]:
    """Send one descriptor its frames in one call, and yield those that it did not take: see `Fanout`."""
    sent = 0
    error = errno.EAGAIN
    try:
        sent = write(fd, b"".join([frames[number] for number in numbers]))
    except BlockingIOError:
        pass
    except OSError as broken:
        error = broken.errno or errno.EPIPE
    ends = accumulate(len(frames[number]) for number in numbers)
    for number, end in zip(numbers, ends, strict=True):
        if end > sent:
            yield fd, number, error, max(sent - (end - len(frames[number])), 0)
