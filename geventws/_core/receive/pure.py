"""Receiving for all sockets of a loop in Python: what receive.c does, and the fallback if it is not built.

Here each socket's channel receives by itself, one after the other. So no message takes the fast path: each one goes
through the protocol, as in C only some do.
"""

from __future__ import annotations

import errno
from typing import Any, Protocol

from .inodes import Inodes

FAST_SIZE, FAST_DEFLATED, FAST_UNMASKED = (1 << 30) - 1, 1 << 30, 1 << 31
"""The bits of a descriptor's word for the fast path: WS_FAST_... in receive.h."""

CHUNK_SIZE = 128 * 1024
"""The most bytes that one connection receives in a batch."""

SMALL_CHUNK = 16 * 1024
"""The same if its messages are compressed, as a kilobyte may inflate to a megabyte, or if `max_message_size` is below
FULL_CHUNK_LIMIT."""

FULL_CHUNK_LIMIT = 512 * 1024
"""The least `max_message_size`, in bytes, with which a connection receives CHUNK_SIZE at once."""

MAX_EVENTS = 128
"""How many ready sockets to ask a set for at once."""

EPOLLOUT = 4
"""The event of a socket that takes bytes again, as <sys/epoll.h> has it."""


class Owner(Protocol):
    """What a receiver needs of its poller, which describes these."""

    loop: Any
    system: Any
    clock: Any
    turns: Any
    channels: list[Any]
    interest: Any

    def call(self, channel: Any, function: Any, *arguments: Any) -> None: ...

    def fail(self, channel: Any) -> None: ...


class Receiver:
    """Receives for the channels of a poller, one after the other, into their inboxes.

    If a channel raises meanwhile, that ends the channel (`Poller.fail`); the messages of others are not lost.

    Attributes:
        poller: the owner of the channels.
        scratch: a buffer for channels that receive by themselves.
        inodes: the sockets that a forked child holds, too.
    """

    def __init__(self, poller: Owner) -> None:
        self.poller = poller
        self.scratch: memoryview = memoryview(bytearray(CHUNK_SIZE))
        self.inodes: Inodes = Inodes(poller.system.fstat)
        self._polled = 0.0  # when `receive` was last called, by the poller's clock
        self._events: list[tuple[int, int]] = []  # reported by the set, but not handled yet; the last first

    @property
    def saw_stray(self) -> bool:
        """Whether the last batch may have had an event of a socket that is no channel's. Only the C core can say no."""
        return True

    def get_polled(self) -> float:
        """Return when `receive` was last called, by the poller's clock: the loop had its turn then."""
        return self._polled

    def grow(self, size: int) -> None:
        """Make room for descriptors below `size`."""

    def attach(self, epoll: Any) -> None:
        """Use this set from now on, and forget what another one has reported."""
        self._events.clear()

    def forget(self, fd: int) -> None:
        """Forget what the set has reported of a descriptor: what it is watched for changes now."""
        self._events = [event for event in self._events if event[0] != fd]

    def drop(self, fd: int) -> None:
        """Forget everything about a descriptor."""
        self.inodes.drop(fd)

    def let_go(self) -> None:
        """Release the buffers: nothing will be received any more."""
        self.scratch = memoryview(b"")

    def set_fast_path(self, fd: int, word: int) -> None:
        """Set which whole messages may go past the protocol (`WS_FAST_...` in receive.h). Here none do."""

    def note_fork(self) -> None:
        """Note which socket each descriptor is, now that a child holds them, too."""
        self.inodes.note(self.poller.channels)

    def receive(self) -> list[Any]:
        """Receive for ready channels while the turn lasts, and return those to run."""
        poller = self.poller
        found: list[Any] = []
        self._polled = poller.clock.monotonic()
        self._events = self._events or poller.interest.set.poll(0, MAX_EVENTS)[::-1]
        while self._events and not (found and poller.turns.is_over()):
            fd, event = self._events.pop()
            channel = poller.channels[fd]
            if channel is None:
                poller.interest.doubtful = True
                continue
            found.append(channel)
            try:
                self._take_event(channel, fd, event)
            except BaseException:
                poller.fail(channel)
        return found

    def _take_event(self, channel: Any, fd: int, event: int) -> None:
        if self.inodes.is_stranger(fd):
            channel.receive_eof(errno.EBADF)
            return
        if event & EPOLLOUT:
            channel.writable()
        if event & ~EPOLLOUT and self.poller.channels[fd] is channel:
            channel.readable()

    def busy_poll(self) -> list[Any]:
        """Wait a moment for the next batch, receive it, and return the channels to run. Only the C core does that."""
        return []

    def split(self, channel: Any, count: int, word: int) -> None:
        """Deliver the bytes that a channel received into `scratch`; `word` is as for `set_fast_path`."""
        channel.receive_data(self.scratch[:count])
