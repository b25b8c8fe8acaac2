"""Receiving for every socket of an epoll set that is ready, into the inboxes of its channels.

`CoreReceiver` does that in one call of the C core, `Receiver` in Python, for each socket in turn. Whatever a channel
raises there ends that channel (`Poller.fail`), and no other one's messages are lost with it.
"""

from __future__ import annotations

import errno
import os
import stat
from struct import Struct, unpack_from
from time import monotonic
from typing import Any, Protocol

from ..._core import HAVE_C
from .watchers import EPOLLOUT

if HAVE_C:
    from ..._core._frame import ffi, lib

BUFFER_SIZE = 512 * 1024
"""Bytes that one batch receives and inflates at the most, shared by all connections of a loop."""

CHUNK_SIZE = 128 * 1024
"""Bytes that one connection receives in a batch at the most."""

DEFLATED_CHUNK = 16 * 1024
"""The same where messages are compressed: each kilobyte of them may be a megabyte, or whatever the limit is."""

MAX_RECORDS = 4096

LAYOUT_SIZE = 8 * 1024
"""Characters of the layouts of a batch's runs (see receive.h): a thousand messages. struct keeps a hundred of them."""

MAX_EVENTS = 128

TEXT, BINARY, DATA, READABLE, WRITABLE, _EOF, _FAILED, TEXTS, BINARIES = range(1, 10)  # enum ws_kind
FAST_SIZE, FAST_DEFLATED, FAST_UNMASKED = (1 << 30) - 1, 1 << 30, 1 << 31

_records = Struct("4i").iter_unpack  # struct ws_record


class Owner(Protocol):
    """What a receiver needs of its poller, which has these described."""

    loop: Any
    set: Any
    turns: Any
    channels: list[Any]
    doubtful: bool

    def call(self, channel: Any, function: Any, *arguments: Any) -> None: ...

    def fail(self, channel: Any) -> None: ...


class Receiver:
    """Receives for the channels of a poller: see the module."""

    def __init__(self, poller: Owner) -> None:
        self.poller = poller
        self.spare = memoryview(bytearray(CHUNK_SIZE))  # for what a channel receives by itself
        self._polled = 0.0
        self._events: list[tuple[int, int]] = []  # what epoll told last, and was not taken yet, the last first
        self._inodes: dict[int, int] = {}  # of the sockets that a forked child may hold, too

    @property
    def vain(self) -> bool:
        """Whether the set may have told of a socket that is no channel's any more. Only the C core knows better."""
        return True

    def get_polled(self) -> float:
        """Return when `receive` was called last, by `time.monotonic`: then the loop had its turn."""
        return self._polled

    def grow(self, size: int) -> None:
        """Make room for descriptors below `size`."""

    def attach(self, epoll: Any) -> None:
        """Use this epoll set from now on."""
        self._events.clear()

    def forget(self, fd: int) -> None:
        """Forget what epoll has told of a descriptor that is watched otherwise from now on, or no more."""
        self._events = [event for event in self._events if event[0] != fd]

    def let_go(self) -> None:
        """Give the buffers back: nothing will be received any more."""
        self.spare = memoryview(b"")

    def set_fast_path(self, fd: int, word: int) -> None:
        """Say which whole messages may go past the protocol (`WS_FAST_...` in receive.h). Here none does."""

    def drop(self, fd: int) -> None:
        """Know nothing of a descriptor any more."""
        self._inodes.pop(fd, None)

    def split(self, channel: Any, count: int, word: int) -> None:
        """Give a channel the bytes that it received into `spare`; `word` is as for `set_fast_path`."""
        channel.receive_data(self.spare[:count])

    def note_fork(self) -> None:
        """Note whose socket each descriptor is, now that a child holds them, too.

        When a socket is closed here, epoll goes on telling of it, and its number may be another file's by then.
        """
        for channel in self.poller.channels:
            if channel is not None:
                try:
                    self._inodes[channel.fd] = os.fstat(channel.fd).st_ino
                except OSError:
                    pass  # it is closed already

    def is_stranger(self, fd: int) -> bool:
        """Whether a descriptor that a child holds, too, is another file here by now."""
        inode = self._inodes.get(fd)
        if inode is None:
            return False
        try:
            status = os.fstat(fd)
        except OSError:
            return True
        return not stat.S_ISSOCK(status.st_mode) or status.st_ino != inode

    def receive(self) -> list[Any]:
        """Receive for ready channels as long as the turn lasts, and return those to run."""
        poller = self.poller
        found: list[Any] = []
        self._polled = monotonic()
        self._events = self._events or poller.set.poll(0, MAX_EVENTS)[::-1]
        while self._events and not (found and poller.turns.is_over()):
            fd, event = self._events.pop()
            channel = poller.channels[fd]
            if channel is None:
                poller.doubtful = True
                continue
            found.append(channel)
            try:
                self._take_event(channel, fd, event)
            except BaseException:
                poller.fail(channel)
        return found

    def _take_event(self, channel: Any, fd: int, event: int) -> None:
        if self.is_stranger(fd):
            channel.receive_eof(errno.EBADF)
            return
        if event & EPOLLOUT:
            channel.writable()
        if event & ~EPOLLOUT and self.poller.channels[fd] is channel:
            channel.readable()

    def linger(self) -> list[Any]:
        """Wait a moment for the next batch, and receive it; return the channels to run. Only the C core does that."""
        return []


class _Records:
    """What the C core fills in one call, and how it is told.

    Attributes:
        strays: how often epoll told of a descriptor that is no channel's.
    """

    def __init__(self, **fields: Any) -> None:
        self.strays = 0
        records = ffi.new("struct ws_record[]", MAX_RECORDS)
        layout = ffi.new("char[]", LAYOUT_SIZE)
        sizes = {"max_records": MAX_RECORDS, "layout_size": LAYOUT_SIZE}
        self.struct = ffi.new("struct ws_poller *", {"records": records, "layout": layout, **sizes, **fields})
        self._view = memoryview(ffi.buffer(records))
        self._layout = ffi.buffer(layout)
        self._owned = records, layout

    def deliver(self, count: int, poller: Owner, buffer: Any) -> list[Any]:
        """Put messages into the inboxes, and leave everything else to the channels; return them."""
        channels: list[Any] = []
        channel: Any = None
        last, laid = -1, 0
        all_channels, layout = poller.channels, self._layout
        records = _records(self._view[: 16 * count])
        while True:
            try:
                for fd, kind, start, end in records:
                    if fd != last:
                        channel = all_channels[last := fd]
                        channels.append(channel)
                    if kind == BINARY:
                        channel.inbox.append(buffer[start:end])
                    elif kind == TEXT:
                        channel.inbox.append(buffer[start:end].decode())
                    elif kind == BINARIES:
                        channel.inbox.extend(unpack_from(layout[laid:end], buffer, start))
                        laid = end
                    elif kind == TEXTS:
                        channel.inbox.extend(map(bytes.decode, unpack_from(layout[laid:end], buffer, start)))
                        laid = end
                    elif channel is None:
                        last = channels.pop() or -1
                        self.strays += 1
                        poller.doubtful = True
                    elif all_channels[fd] is channel:
                        _take_other(channel, kind, start, end, buffer)
                return channels
            except BaseException as error:  # of this record: go on with the next one
                laid = end if kind >= TEXTS else laid
                if isinstance(error, UnicodeDecodeError) and kind in (TEXT, TEXTS):
                    poller.call(channel, channel.refuse_text)
                else:
                    poller.fail(channel)


def _take_other(channel: Any, kind: int, start: int, end: int, buffer: Any) -> None:
    """Take a record that is no message."""
    if kind == DATA:
        channel.receive_data(memoryview(buffer)[start:end])
    elif kind == READABLE:
        channel.readable()
    elif kind == WRITABLE:
        channel.writable()
    else:
        channel.receive_eof(start)


class CoreReceiver(Receiver):
    """The same with ws_receive."""

    def __init__(self, poller: Owner) -> None:
        super().__init__(poller)
        buffer = ffi.new("uint8_t[]", BUFFER_SIZE)
        self._bytes = ffi.buffer(buffer)
        self._limits = ffi.new("uint32_t[]", 64)
        self._inflater = ffi.gc(lib.ws_inflater_new(), lib.ws_inflater_free)
        self._records = _Records(
            loop_fd=_get_loop_fd(poller.loop),
            limits=self._limits,
            buffer=buffer,
            size=BUFFER_SIZE,
            chunk=CHUNK_SIZE,
            deflated_chunk=DEFLATED_CHUNK,
            inflater=self._inflater,
            penalty=1,
        )
        self._struct = self._records.struct
        self._inode_list: Any = None
        self._spare = ffi.from_buffer("uint8_t[]", self.spare)
        self._spare_bytes = ffi.buffer(self._spare)
        self._split_records = _Records(size=CHUNK_SIZE, inflater=self._inflater)  # the others may wait their turn

    @property
    def vain(self) -> bool:
        """Whether the set may have told of a socket that is no channel's any more: of one with nothing to receive."""
        return bool(self._records.strays or self._struct.vain)

    def get_polled(self) -> float:
        """Return when `receive` was called last."""
        since: int = self._struct.since
        return since / 1e9

    def grow(self, size: int) -> None:
        """Make room for descriptors below `size`."""
        old = self._limits
        self._limits = self._struct.limits = ffi.new("uint32_t[]", size)
        self._struct.limits_count = size
        ffi.memmove(self._limits, old, ffi.sizeof(old))

    def attach(self, epoll: Any) -> None:
        """Use this epoll set from now on."""
        self._struct.epoll_fd = epoll.fileno()
        self._struct.events_count = self._struct.events_at = 0
        self._records.strays = 0

    def forget(self, fd: int) -> None:
        """Forget what epoll has told of a descriptor that is watched otherwise from now on, or no more."""
        lib.ws_forget(self._struct, fd)

    def let_go(self) -> None:
        """Give the buffers back."""
        super().let_go()
        del self._bytes, self._records, self._split_records, self._spare, self._spare_bytes, self._inflater

    def set_fast_path(self, fd: int, word: int) -> None:
        """Say which whole messages may go past the protocol."""
        self._limits[fd] = word

    def drop(self, fd: int) -> None:
        """Know nothing of a descriptor any more."""
        self._limits[fd] = 0
        if self._inodes.pop(fd, None):
            self._inode_list[fd] = 0

    def note_fork(self) -> None:
        """Note whose socket each descriptor is, now that a child holds them, too."""
        super().note_fork()
        size = len(self.poller.channels)
        inodes = ffi.new("uint64_t[]", size)
        for fd, inode in self._inodes.items():
            inodes[fd] = inode
        self._inode_list = self._struct.inodes = inodes
        self._struct.inodes_count = size

    def receive(self) -> list[Any]:
        """Receive for ready channels in one call, and return those to run."""
        count = lib.ws_receive(self._struct)
        if count < 0:
            raise OSError(-count, os.strerror(-count))
        return self._records.deliver(count, self.poller, self._bytes)

    def linger(self) -> list[Any]:
        """Wait a moment for the next batch, and receive it; return the channels to run."""
        if self.poller.loop._callbacks:
            return []  # the hub has something to do
        count = lib.ws_linger(self._struct)
        if count <= 0:
            return []  # an error, should it be one, is the same in the next `receive`
        return self._records.deliver(count, self.poller, self._bytes)

    def split(self, channel: Any, count: int, word: int) -> None:
        """Give a channel the bytes that it received into `spare`: whole messages into its inbox, if they may skip."""
        count = lib.ws_split(self._split_records.struct, channel.fd, word, self._spare, count)
        self._split_records.deliver(count, self.poller, self._spare_bytes)


def _get_loop_fd(loop: Any) -> int:
    """Return what gevent's loop waits on; -1 where that, or whether it has callbacks to run, cannot be told."""
    fd: int | None = loop.fileno() if hasattr(loop, "_callbacks") else None
    return -1 if fd is None else fd
