"""The interest list of one loop: which sockets it watches, whose they are, and what each is watched for.

epoll keeps a socket until its last descriptor is closed. If somebody closes a socket that we watch, and another process
has it open, the set goes on reporting its number, which is free by then, or another file's. Only a new set, to which
all other sockets move, gets rid of it (`recover`).
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, Protocol

from .watchers import EPOLLET, EPOLLIN, EPOLLOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from .system import Clock, System

RETRY = 1.0
"""Seconds until the next attempt, if the system had no new epoll set for us."""


class Owner(Protocol):
    """What an interest list needs of its poller, which has these described."""

    loop: Any
    system: System
    clock: Clock
    receiver: Any
    outbox: Any

    def ready(self) -> None: ...

    def call(self, channel: Any, function: Callable[..., object], *arguments: Any) -> None: ...

    def report(self, channel: Any) -> None: ...


class InterestList:
    """The sockets that one loop watches: see the module.

    Args:
        owner: the poller.

    Attributes:
        channels: those that are registered, by descriptor; None for the others.
        count: how many are registered.
        set: what watches their sockets: epoll's, or that of watchers.py.
        doubtful: whether the set may hold a socket that is no channel's.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.channels: list[Any] = []
        self.doubtful: bool = False
        self._masks = bytearray()  # what each descriptor is watched for
        self.count: int = 0
        self._retry: Any = None  # the timer of the next attempt to recover
        self._open()

    def _open(self) -> None:
        self.set: Any = self._owner.system.open_set(self._owner.loop)
        self._owner.receiver.attach(self.set)

    def register(self, channel: Any) -> None:
        """Watch a channel's socket for something to receive."""
        fd = channel.fd
        if fd >= len(self.channels):
            self._grow(fd + 64 - fd % 64)
        self.set.register(fd, EPOLLIN)
        if not self.count:
            self.set.start(self._owner.ready)
        before, self.channels[fd] = self.channels[fd], channel
        self._masks[fd] = EPOLLIN
        self._forget(fd)
        if before is None:
            self.count += 1
        else:  # somebody closed the socket of `before`, and ours has its number
            self.doubtful = True
            self._owner.call(before, before.receive_eof, errno.EBADF)

    def watch(self, channel: Any, reading: bool, writing: bool) -> None:
        """Set what a registered channel is watched for."""
        fd = channel.fd
        if self.channels[fd] is channel:
            self._owner.receiver.forget(fd)
            self._masks[fd] = EPOLLIN * reading | EPOLLOUT * writing
            try:
                # A reset cannot be masked. EPOLLET: while nothing else is watched for, it is reported once.
                self.set.modify(fd, self._masks[fd] or EPOLLET)
            except ValueError:
                pass  # there is no set: see recover
            except OSError:  # somebody closed its socket
                self._owner.clock.run_callback(self._owner.call, channel, channel.receive_eof, errno.EBADF)

    def unregister(self, channel: Any) -> None:
        """Stop watching a channel: its socket may be closed now."""
        fd = channel.fd
        if self.channels[fd] is not channel:
            return  # somebody closed its socket, and another connection has the number now
        self.channels[fd] = None
        self._forget(fd)
        try:
            self.set.unregister(fd)
        except (OSError, ValueError):
            self.doubtful = True  # somebody closed the socket, or the set
        self.count -= 1
        assert self.count >= 0
        if not self.count:
            self.set.stop()

    def _forget(self, fd: int) -> None:
        """Forget what was reported of a descriptor, and what is known of it: that was another socket."""
        self._owner.receiver.forget(fd)
        self._owner.receiver.drop(fd)
        self._owner.outbox.forget(fd)

    def _grow(self, size: int) -> None:
        self.channels.extend([None] * (size - len(self.channels)))
        self._masks.extend(bytes(size - len(self._masks)))
        self._owner.receiver.grow(size)
        self._owner.outbox.grow(size)

    def leave(self) -> list[Any]:
        """In a forked child: forget all channels, and return them. The parent's set stays as it is."""
        channels = list(filter(None, self.channels))
        self.channels.clear()
        self.doubtful = False
        self.close()
        return channels

    def close(self) -> None:
        """Watch nothing any more."""
        self.set.close()
        if self._retry is not None:
            self._retry.close()

    def recover(self) -> None:
        """Watch all channels in a new set, as soon as there can be one. Never raises."""
        try:
            self._rebuild()
        except BaseException:
            self._owner.report(None)
            self._retry = self._owner.clock.timer(RETRY)
            self._retry.start(self.recover)
        self.doubtful = False

    def _rebuild(self) -> None:
        self.set.close()  # first: there may be no descriptor left
        self._open()
        for channel in filter(None, list(self.channels)):
            try:
                self._register_again(channel.fd)
            except OSError:
                self._owner.call(channel, channel.receive_eof, errno.EBADF)
        if self.count:
            self.set.start(self._owner.ready)

    def _register_again(self, fd: int) -> None:
        """Watch a descriptor in a new set; OSError where it is no longer its channel's."""
        if self._owner.receiver.inodes.is_stranger(fd):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self.set.register(fd, self._masks[fd] or EPOLLET)
