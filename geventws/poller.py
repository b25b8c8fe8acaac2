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
from struct import Struct, unpack_from
from typing import Any, Protocol
from weakref import WeakSet

import gevent
from gevent.monkey import get_original
from greenlet import greenlet

from ._core import HAVE_C

if HAVE_C:
    from geventws._frame import ffi, lib

BUFFER_SIZE = 512 * 1024
"""Bytes that one batch receives and inflates at the most, shared by all connections of a loop."""

CHUNK_SIZE = 128 * 1024
"""Bytes that one connection receives in a batch at the most."""

DEFLATED_CHUNK = 16 * 1024
"""The same where messages are compressed: each kilobyte of them may be a megabyte, or whatever the limit is."""

MAX_RECORDS = 4096

LAYOUT_SIZE = 8 * 1024
"""Characters of the layouts of a batch's runs (see poller.h): a thousand messages. struct keeps a hundred of them."""

switch_to = greenlet.switch
"""`hub.switch()` without gevent's hooks, of which the hub alone has one."""

EPOLLIN, EPOLLOUT = 1, 4
TEXT, BINARY, DATA, READABLE, WRITABLE, EOF, FAILED, TEXTS, BINARIES = range(1, 10)  # enum ws_kind
PEER_IS_SERVER = 1 << 31
TAKES_DEFLATED = 1 << 30

_records = Struct("4i").iter_unpack  # struct ws_record


class Channel(Protocol):
    """What a poller needs of a connection. The callbacks run in the hub, and never block."""

    fd: int
    inbox: Any  # what has `append` and `extend`

    def refuse_text(self) -> None:
        """Take a whole text message that is not UTF-8."""

    def receive_data(self, data: memoryview) -> None:
        """Take bytes as they came; they are the callee's to change until it returns."""

    def readable(self) -> None:
        """Receive from the socket, through the poller's `spare` if need be."""

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

    def __init__(self, hub: Any) -> None:
        self.hub = hub
        self.loop = hub.loop
        self.current: Any = None  # the channel whose greenlet runs now, if we run it
        self.closed = False
        self._due: list[Any] = []  # of the batch at hand, the channels that have not run yet, last first
        self._chained = False  # since the loop's last turn, greenlets have left the processor in `park` only
        self.channels: list[Any] = []
        self._count = 0
        self.spare = memoryview(bytearray(CHUNK_SIZE))  # for what a channel receives by itself
        self._set = get_original("select", "epoll")()
        self._watcher = self.loop.io(self._set.fileno(), 1)

    def register(self, channel: Any) -> None:
        """Watch a channel's socket for something to receive."""
        fd = channel.fd
        if fd >= len(self.channels):
            self._grow(fd + 64 - fd % 64)
        self._set.register(fd, EPOLLIN)
        if not self._count:
            self._watcher.start(self._ready)
        if self.channels[fd] is None:  # else somebody closed that one's socket, and the kernel forgot it
            self._count += 1
        self.channels[fd] = channel

    def watch(self, channel: Any, reading: bool, writing: bool) -> None:
        """Say what a registered channel is watched for."""
        if self.channels[channel.fd] is channel:
            with contextlib.suppress(OSError):  # its socket was closed by somebody else
                self._set.modify(channel.fd, EPOLLIN * reading | EPOLLOUT * writing)

    def unregister(self, channel: Any) -> None:
        """Watch a channel no more; its socket may be closed now."""
        if self.channels[channel.fd] is not channel:
            return  # somebody closed its socket, and another connection has the number now
        self.channels[channel.fd] = None
        try:
            self._set.unregister(channel.fd)
        except OSError:
            pass  # somebody closed it
        self._count -= 1
        if not self._count:
            self._watcher.stop()

    def set_limit(self, channel: Any, limit: int) -> None:
        """Say which whole messages may skip the protocol: see ws_receive's limits[]. Only the C core does that."""

    def split(self, channel: Any, count: int, limit: int) -> None:
        """Give a channel the bytes that it received into `spare`; `limit` is as for `set_limit`."""
        channel.receive_data(self.spare[:count])

    def _grow(self, size: int) -> None:
        self.channels.extend([None] * (size - len(self.channels)))

    def close(self) -> None:
        """Watch nothing any more."""
        self.closed = True
        self._watcher.stop()
        self._set.close()

    def _ready(self) -> None:
        """Receive for every ready channel, then run the greenlets that wait for it."""
        ready = self._due = self._receive()
        ready.reverse()
        self._chained = bool(ready)
        while ready:
            self.current = channel = ready.pop()
            try:
                channel.run()
            except BaseException:  # of a greenlet that leaves its errors to the hub
                self.hub.handle_error(channel, *sys.exc_info())
            self._chained = False
            self.current.flush()  # of the last that ran, here or in park()
        self.current = None

    def park(self, waiting: Any, patient: bool = True) -> None:
        """Block this greenlet, which waits for the channel `waiting`, until somebody switches to it.

        While a batch is being served, the next greenlet of it runs at once, without a detour through the hub; as the
        hub is every greenlet's parent, it goes on with what is left of the batch when one of them blocks elsewhere.
        When that was the last, and none has blocked elsewhere, the next batch may be received here.

        Args:
            waiting: the channel.
            patient: whether it is no matter if a timer is late by some milliseconds.
        """
        due = self._due
        while True:
            if self.current is not waiting and self.current is not None:
                self.current.flush()  # what the greenlet has sent on another connection than the one it waits for
            if not (due or (self._chained and patient and self._linger())):
                break
            self.current = channel = due.pop()
            if channel.run():
                return
        switch_to(self.hub)

    def _linger(self) -> bool:
        """Wait a moment for the next batch; return whether it has come. Only the C core does that."""
        return False

    def _receive(self) -> list[Any]:
        """Receive for every ready channel, and return those to run."""
        channels = []
        for fd, event in self._set.poll(0, 128):
            channel = self.channels[fd]
            if event & EPOLLOUT:
                channel.writable()
            if event & ~EPOLLOUT and self.channels[fd] is channel:
                channel.readable()
            channels.append(channel)
        return channels


class _Records:
    """What the C core fills in one call, and how it is told."""

    def __init__(self, **fields: Any) -> None:
        records = ffi.new("struct ws_record[]", MAX_RECORDS)
        layout = ffi.new("char[]", LAYOUT_SIZE)
        sizes = {"max_records": MAX_RECORDS, "layout_size": LAYOUT_SIZE}
        self.struct = ffi.new("struct ws_poller *", {"records": records, "layout": layout, **sizes, **fields})
        self._view = memoryview(ffi.buffer(records))
        self._layout = ffi.buffer(layout)
        self._owned = records, layout

    def deliver(self, count: int, poller: CorePoller, buffer: Any) -> list[Any]:
        """Put messages into the inboxes, and leave everything else to the poller; return the channels."""
        channels: list[Any] = []
        channel: Any = None
        last, laid = -1, 0
        all_channels, layout = poller.channels, self._layout
        for fd, kind, start, end in _records(self._view[: 16 * count]):
            if fd != last:
                channel = all_channels[last := fd]
                channels.append(channel)
            try:
                if kind == BINARY:
                    channel.inbox.append(buffer[start:end])
                elif kind == TEXT:
                    channel.inbox.append(buffer[start:end].decode())
                elif kind == BINARIES:
                    channel.inbox.extend(unpack_from(layout[laid:end], buffer, start))
                    laid = end
                elif kind == TEXTS:
                    payloads = unpack_from(layout[laid:end], buffer, start)
                    laid = end
                    channel.inbox.extend(map(bytes.decode, payloads))
                elif all_channels[fd] is channel:
                    poller.take_other(channel, kind, start, end, buffer)
            except UnicodeDecodeError:
                channel.refuse_text()
        return channels


class CorePoller(Poller):
    """The epoll set of one loop, with ws_receive."""

    def __init__(self, hub: Any) -> None:
        super().__init__(hub)
        buffer = ffi.new("uint8_t[]", BUFFER_SIZE)
        self._bytes = ffi.buffer(buffer)
        self._limits = ffi.new("uint32_t[]", 64)
        self._inflater = ffi.gc(lib.ws_inflater_new(), lib.ws_inflater_free)
        self._records = _Records(
            epoll_fd=self._set.fileno(),
            loop_fd=self._get_loop_fd(),
            guess=-1,
            limits=self._limits,
            buffer=buffer,
            size=BUFFER_SIZE,
            chunk=CHUNK_SIZE,
            deflated_chunk=DEFLATED_CHUNK,
            inflater=self._inflater,
            penalty=1,
        )
        self._struct = self._records.struct
        self._spare = ffi.from_buffer("uint8_t[]", self.spare)
        self._spare_bytes = ffi.buffer(self._spare)
        self._split_records = _Records(size=CHUNK_SIZE, inflater=self._inflater)  # the others may wait their turn

    def watch(self, channel: Any, reading: bool, writing: bool) -> None:
        """Say what a registered channel is watched for."""
        self._forget()
        super().watch(channel, reading, writing)

    def unregister(self, channel: Any) -> None:
        """Watch a channel no more; its socket may be closed now."""
        self._forget()
        super().unregister(channel)

    def _forget(self) -> None:
        """Forget what epoll has told of a set that is changed now."""
        self._struct.guess = -1
        self._struct.events_count = self._struct.events_at = 0

    def set_limit(self, channel: Any, limit: int) -> None:
        """Say which whole messages may skip the protocol."""
        if self.channels[channel.fd] is channel:
            self._limits[channel.fd] = limit

    def register(self, channel: Any) -> None:
        """Watch a channel's socket for something to receive."""
        super().register(channel)
        self._limits[channel.fd] = 0

    def _grow(self, size: int) -> None:
        super()._grow(size)
        old = self._limits
        self._limits = self._struct.limits = ffi.new("uint32_t[]", size)
        self._struct.limits_count = size
        ffi.memmove(self._limits, old, ffi.sizeof(old))

    def _get_loop_fd(self) -> int:
        """Return what gevent's loop waits on; -1 where that, or whether it has callbacks to run, cannot be told."""
        fd: int | None = self.loop.fileno() if hasattr(self.loop, "_callbacks") else None
        return -1 if fd is None else fd

    def _receive(self) -> list[Any]:
        """Receive for every ready channel in one call, and return those to run."""
        count = lib.ws_receive(self._struct)
        if count < 0:
            raise OSError(-count, os.strerror(-count))
        return self._records.deliver(count, self, self._bytes)

    def _linger(self) -> bool:
        """Wait a moment for the next batch; return whether it has come."""
        if self.loop._callbacks:
            return False  # the hub has something to do
        count = lib.ws_linger(self._struct)
        if count <= 0:
            return False
        self._due += reversed(self._records.deliver(count, self, self._bytes))
        return True

    def split(self, channel: Any, count: int, limit: int) -> None:
        """Give a channel the bytes that it received into `spare`: whole messages into its inbox, if they may skip."""
        count = lib.ws_split(self._split_records.struct, channel.fd, limit, self._spare, count)
        self._split_records.deliver(count, self, self._spare_bytes)

    def take_other(self, channel: Channel, kind: int, start: int, end: int, buffer: Any) -> None:
        """Take a record that is no message."""
        if kind == DATA:
            channel.receive_data(memoryview(buffer)[start:end])
        elif kind == READABLE:
            channel.readable()
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
