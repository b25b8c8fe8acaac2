"""Readiness: the sockets of one loop in one epoll set, whose descriptor gevent watches.

A batch has two halves. First everything that is ready is received, scanned and put into the inboxes, without
running anybody's code; then the greenlets that wait for it are run, one after the other. So a message costs a share
of one C call and one switch, and a handler that closes its neighbour meets no half-processed batch.

Three pollers have the same face: with the C core, one call receives for all ready sockets; with its Python twin,
each is received for in turn; and where there is no epoll, gevent watches every socket by itself.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

import gevent
from gevent.monkey import get_original
from greenlet import greenlet

from ._core import HAVE_C

if TYPE_CHECKING:
    from collections import deque

if HAVE_C:
    from geventws._frame import ffi, lib

BUFFER_SIZE = 512 * 1024
"""Bytes that one batch receives at the most, shared by all connections of a loop."""

CHUNK_SIZE = 128 * 1024
"""Bytes that one connection receives in a batch at the most."""

MAX_RECORDS = 4096

MAX_GUESSES = 8
"""Batches in a row for which a busy connection may go before others."""

switch_to = greenlet.switch
"""`hub.switch()` without gevent's hooks, of which the hub alone has one."""

EPOLLIN, EPOLLOUT = 1, 4
TEXT, BINARY, DATA, READABLE, WRITABLE, EOF, FAILED = range(1, 8)  # enum ws_kind
PEER_IS_SERVER = 1 << 31


class Channel(Protocol):
    """What a poller needs of a connection. The callbacks run in the hub, and never block."""

    fd: int
    inbox: deque[str | bytes]

    def refuse_text(self) -> None:
        """Take a whole text message that is not UTF-8."""

    def receive_data(self, data: memoryview) -> None:
        """Take bytes as they came; they are the callee's to change until it returns."""

    def readable(self, buffer: memoryview) -> None:
        """Receive from the socket, through the buffer if need be."""

    def writable(self) -> None:
        """Send what is left to send."""

    def receive_eof(self, errno: int) -> None:
        """Take the end of the stream, and the errno it came with, or 0."""

    def run(self) -> bool:
        """Switch to whoever waits for what came, if anybody does; return whether that was so."""

    def flush(self) -> None:
        """Send what is corked."""


class Poller:
    """The epoll set of one loop, with the Python twin of ws_receive."""

    buffer_size = CHUNK_SIZE

    def __init__(self, hub: Any) -> None:
        self.hub = hub
        self.loop = hub.loop
        self.current: Any = None  # the channel whose greenlet runs now, if we run it
        self.closed = False
        self._due: list[Any] = []  # of the batch at hand, the channels that have not run yet, last first
        self._channels: list[Any] = []
        self._count = 0
        self._view = memoryview(bytearray(self.buffer_size))
        self._set = get_original("select", "epoll")()
        self._watcher = self.loop.io(self._set.fileno(), 1)

    def register(self, channel: Any) -> None:
        """Watch a channel's socket for something to receive."""
        fd = channel.fd
        if fd >= len(self._channels):
            self._grow(fd + 64 - fd % 64)
        self._set.register(fd, EPOLLIN)
        if not self._count:
            self._watcher.start(self._ready)
        if self._channels[fd] is None:  # else somebody closed that one's socket, and the kernel forgot it
            self._count += 1
        self._channels[fd] = channel

    def watch(self, channel: Any, reading: bool, writing: bool) -> None:
        """Say what a registered channel is watched for."""
        if self._channels[channel.fd] is channel:
            with contextlib.suppress(OSError):  # its socket was closed by somebody else
                self._set.modify(channel.fd, EPOLLIN * reading | EPOLLOUT * writing)

    def unregister(self, channel: Any) -> None:
        """Watch a channel no more; its socket may be closed now."""
        if self._channels[channel.fd] is not channel:
            return  # somebody closed its socket, and another connection has the number now
        self._channels[channel.fd] = None
        with contextlib.suppress(OSError):
            self._set.unregister(channel.fd)
        self._count -= 1
        if not self._count:
            self._watcher.stop()

    def set_limit(self, channel: Any, limit: int) -> None:
        """Say which whole messages may skip the protocol: see ws_receive's limits[]. Only the C core does that."""

    def split(self, channel: Any, view: memoryview, limit: int) -> None:
        """Give a channel the bytes that it received by itself; `limit` is as for `set_limit`."""
        channel.receive_data(view)

    def _grow(self, size: int) -> None:
        self._channels.extend([None] * (size - len(self._channels)))

    def close(self) -> None:
        """Watch nothing any more."""
        self.closed = True
        self._watcher.stop()
        self._set.close()

    def _ready(self) -> None:
        """Receive for every ready channel, then run the greenlets that wait for it."""
        ready = self._due = self._receive()
        ready.reverse()
        while ready:
            self.current = channel = ready.pop()
            try:
                channel.run()
            except BaseException:  # of a greenlet that leaves its errors to the hub
                self.hub.handle_error(channel, *sys.exc_info())
            self.current.flush()  # of the last that ran, here or in park()
        self.current = None

    def park(self, waiting: Any) -> None:
        """Block this greenlet, which waits for the channel `waiting`, until somebody switches to it.

        While a batch is being served, the next greenlet of it runs at once, without a detour through the hub; as the
        hub is every greenlet's parent, it goes on with what is left of the batch when one of them blocks elsewhere.
        """
        due = self._due
        while due:
            if self.current is not waiting and self.current is not None:
                self.current.flush()  # what the greenlet has sent on another connection than the one it waits for
            self.current = channel = due.pop()
            if channel.run():
                return
        switch_to(self.hub)

    def _receive(self) -> list[Any]:
        """Receive for every ready channel, and return those to run."""
        channels = []
        for fd, event in self._set.poll(0, 128):
            channel = self._channels[fd]
            if event & EPOLLOUT:
                channel.writable()
            if event & ~EPOLLOUT and self._channels[fd] is channel:
                channel.readable(self._view)
            channels.append(channel)
        return channels


class CorePoller(Poller):
    """The epoll set of one loop, with ws_receive."""

    buffer_size = BUFFER_SIZE

    def __init__(self, hub: Any) -> None:
        super().__init__(hub)
        self._limits = ffi.new("uint32_t[]", 64)
        records = ffi.new("struct ws_record[]", MAX_RECORDS)
        self._numbers = ffi.cast("int32_t *", records)
        self._split_records = ffi.new("struct ws_record[]", MAX_RECORDS)
        self._split_numbers = ffi.cast("int32_t *", self._split_records)
        buffer = ffi.from_buffer("uint8_t[]", self._view)
        self._bytes = ffi.buffer(buffer)
        self._spare = memoryview(bytearray(CHUNK_SIZE))  # the other buffer holds records that wait their turn
        self._arguments = (buffer, BUFFER_SIZE, CHUNK_SIZE, records, MAX_RECORDS)
        self._epoll_fd = self._set.fileno()
        self._guess = -1  # the descriptor that is likely to be the only one ready
        self._guesses = 0  # in a row

    def watch(self, channel: Any, reading: bool, writing: bool) -> None:
        """Say what a registered channel is watched for."""
        self._guess = -1  # it may be the one that is not to be received for
        super().watch(channel, reading, writing)

    def unregister(self, channel: Any) -> None:
        """Watch a channel no more; its socket may be closed now."""
        self._guess = -1
        super().unregister(channel)

    def set_limit(self, channel: Any, limit: int) -> None:
        """Say which whole messages may skip the protocol."""
        if self._channels[channel.fd] is channel:
            self._limits[channel.fd] = limit

    def register(self, channel: Any) -> None:
        """Watch a channel's socket for something to receive."""
        super().register(channel)
        self._limits[channel.fd] = 0

    def _grow(self, size: int) -> None:
        super()._grow(size)
        old = self._limits
        self._limits = ffi.new("uint32_t[]", size)
        ffi.memmove(self._limits, old, ffi.sizeof(old))

    def _receive(self) -> list[Any]:
        """Receive for every ready channel in one call, and return those to run."""
        arguments = self._limits, len(self._channels), *self._arguments
        count = lib.ws_receive(self._epoll_fd, self._guess, *arguments)
        if count < 0:
            raise OSError(-count, os.strerror(-count))
        numbers = iter(ffi.unpack(self._numbers, 4 * count))
        channels: list[Any] = []
        channel: Any = None
        last = -1
        all_channels, data = self._channels, self._bytes
        for fd, kind, start, end in zip(numbers, numbers, numbers, numbers, strict=False):
            if fd != last:
                channel = all_channels[last := fd]
                channels.append(channel)
            if kind == BINARY:
                channel.inbox.append(data[start:end])
            elif kind == TEXT:
                try:
                    channel.inbox.append(data[start:end].decode())
                except UnicodeDecodeError:
                    channel.refuse_text()
            elif all_channels[fd] is channel:
                self._other(channel, kind, start, end)
        self._set_guess(last if len(channels) == 1 and all_channels[last] is not None else -1)
        return channels

    def split(self, channel: Any, view: memoryview, limit: int) -> None:
        """Give a channel the bytes that it received by itself: whole messages into its inbox, if they may skip."""
        buffer = ffi.from_buffer("uint8_t[]", view)
        count = lib.ws_split(limit, buffer, len(view), self._split_records, MAX_RECORDS)
        numbers = iter(ffi.unpack(self._split_numbers, 4 * count))
        for _fd, kind, start, end in zip(numbers, numbers, numbers, numbers, strict=False):
            if kind == BINARY:
                channel.inbox.append(bytes(view[start:end]))
            elif kind == TEXT:
                try:
                    channel.inbox.append(str(view[start:end], "utf-8"))
                except UnicodeDecodeError:
                    channel.refuse_text()
            else:
                channel.receive_data(view[start:end])

    def _set_guess(self, fd: int) -> None:
        """Guess that a descriptor that is ready by itself will be so again, but ask epoll now and then."""
        self._guesses = self._guesses + 1 if fd >= 0 and self._guesses < MAX_GUESSES else 0
        self._guess = fd if self._guesses else -1

    def _other(self, channel: Channel, kind: int, start: int, end: int) -> None:
        """Take a record that is no whole message."""
        if kind == DATA:
            channel.receive_data(self._view[start:end])
        elif kind == READABLE:
            channel.readable(self._spare)
        elif kind == WRITABLE:
            channel.writable()
        else:
            channel.receive_eof(start)


_pollers: WeakSet[Poller] = WeakSet()


def _close_pollers() -> None:
    """Leave the connections to the parent, whose epoll sets a forked child shares."""
    for poller in list(_pollers):
        poller.close()


os.register_at_fork(after_in_child=_close_pollers)


def get_poller() -> Poller:
    """Return the poller of this thread's loop, made when first asked for."""
    hub = gevent.get_hub()
    poller: Poller | None = getattr(hub, "geventws_poller", None)
    if poller is None or poller.closed:
        poller = hub.geventws_poller = (CorePoller if HAVE_C else Poller)(hub)
        _pollers.add(poller)
    return poller
