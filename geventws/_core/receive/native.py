"""Receiving for all sockets of a loop in one call of the C core (receive.h), with the face of pure.Receiver.

Importing this module fails if the extension was not built.
"""

from __future__ import annotations

import os
from struct import Struct, unpack_from
from typing import Any

from .._frame import ffi, lib
from .inodes import Inodes
from .pure import CHUNK_SIZE, SMALL_CHUNK, Owner

__all__ = ["FAST_DEFLATED", "FAST_SIZE", "FAST_UNMASKED", "FULL_CHUNK_LIMIT", "SMALL_CHUNK", "Receiver"]

FAST_SIZE: int = lib.WS_FAST_SIZE
FAST_DEFLATED: int = lib.WS_FAST_DEFLATED
FAST_UNMASKED: int = lib.WS_FAST_UNMASKED
FULL_CHUNK_LIMIT: int = lib.WS_FULL_CHUNK_LIMIT

BUFFER_SIZE = 512 * 1024
"""The most bytes that one batch receives and inflates, for all connections of a loop together."""

MAX_RECORDS = 4096

FORMAT_SIZE = 8 * 1024
"""Characters for the formats of a batch's runs (receive.h): a thousand messages. struct caches a hundred formats."""

TEXT: int = lib.WS_TEXT
BINARY: int = lib.WS_BINARY
DATA: int = lib.WS_DATA
READABLE: int = lib.WS_READABLE
WRITABLE: int = lib.WS_WRITABLE
TEXTS: int = lib.WS_TEXTS
BINARIES: int = lib.WS_BINARIES

record_struct = Struct("=iiii")
"""struct ws_record."""

_records = record_struct.iter_unpack


class Batch:
    """The records that the C core fills in one call, and their delivery to the channels.

    Args:
        options: fields of struct ws_poller_options.

    Attributes:
        poller: the struct ws_poller.
        strays: how many events were of a descriptor that is no channel's, since this set is in use.
    """

    def __init__(self, **options: Any) -> None:
        self.strays = 0
        self.poller = ffi.new("struct ws_poller *")
        records = ffi.new("struct ws_record[]", MAX_RECORDS)
        formats = ffi.new("char[]", FORMAT_SIZE)
        lib.ws_poller_init(self.poller, ffi.new("struct ws_poller_options *", {
            "chunk": CHUNK_SIZE, "small_chunk": SMALL_CHUNK, "records": records, "max_records": MAX_RECORDS,
            "format": formats, "format_size": FORMAT_SIZE, **options,
        }))  # fmt: skip
        self._view = memoryview(ffi.buffer(records))  # the records
        self._format = ffi.buffer(formats)  # the formats of the runs, one after the other
        self._owned = records, formats, options  # keeps alive what the poller points to

    def deliver(self, count: int, poller: Owner, buffer: Any) -> list[Any]:
        """Put messages into the inboxes, and pass everything else to the channels; return these channels."""
        channels: list[Any] = []
        channel: Any = None
        last, used = -1, 0
        all_channels, formats = poller.channels, self._format
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
                        channel.inbox.extend(unpack_from(formats[used:end], buffer, start))
                        used = end
                    elif kind == TEXTS:
                        channel.inbox.extend(map(bytes.decode, unpack_from(formats[used:end], buffer, start)))
                        used = end
                    elif channel is None:
                        last = channels.pop() or -1
                        self.strays += 1
                        poller.interest.doubtful = True
                    elif all_channels[fd] is channel:
                        _take_other(channel, kind, start, end, buffer)
                return channels
            except BaseException as error:  # for this record: go on with the next one
                used = end if kind in (TEXTS, BINARIES) else used
                if isinstance(error, UnicodeDecodeError) and kind in (TEXT, TEXTS):
                    poller.call(channel, channel.refuse_text)
                else:
                    poller.fail(channel)


def _take_other(channel: Any, kind: int, start: int, end: int, buffer: Any) -> None:
    """Take a record that is not a message."""
    if kind == DATA:
        channel.receive_data(memoryview(buffer)[start:end])
    elif kind == READABLE:
        channel.readable()
    elif kind == WRITABLE:
        channel.writable()
    else:
        channel.receive_eof(start)


class Receiver:
    """Receives for the channels of a poller, all at once, into their inboxes.

    Attributes:
        poller: the owner of the channels.
        scratch: a buffer for channels that receive by themselves.
        inodes: the sockets that a forked child holds, too.
    """

    def __init__(self, poller: Owner) -> None:
        self.poller = poller
        self.scratch = memoryview(bytearray(CHUNK_SIZE))
        self.inodes = Inodes(poller.system.fstat)
        buffer = ffi.new("uint8_t[]", BUFFER_SIZE)
        self._bytes = ffi.buffer(buffer)  # the buffer that a batch receives into
        self._fast_paths: Any = ffi.new("uint32_t[]", 0)  # the words of `set_fast_path`, by descriptor
        self._inode_table: Any = None  # the numbers of `inodes`, by descriptor
        self._inflater = ffi.gc(lib.ws_inflater_new(), lib.ws_inflater_free)  # for both batches
        options = {"loop_fd": _get_loop_fd(poller.loop), "buffer": buffer, "size": BUFFER_SIZE}
        self._batch = Batch(inflater=self._inflater, **options)  # what `receive` fills
        self._poller = self._batch.poller  # its struct ws_poller
        self._scratch = ffi.from_buffer("uint8_t[]", self.scratch)  # the same, for C
        self._scratch_bytes = ffi.buffer(self._scratch)  # the same, to cut messages from
        # what `split` fills, while the other batch is being delivered
        self._split_batch = Batch(inflater=self._inflater, loop_fd=-1, size=CHUNK_SIZE)

    @property
    def saw_stray(self) -> bool:
        """Whether the last batch may have had an event of a socket that is no channel's."""
        return bool(self._batch.strays or self._poller.empty)

    def get_polled(self) -> float:
        """Return when `receive` was last called, by `time.monotonic`."""
        began: int = self._poller.turn_began
        return began / 1e9

    def grow(self, size: int) -> None:
        """Make room for descriptors below `size`."""
        old, self._fast_paths = self._fast_paths, ffi.new("uint32_t[]", size)
        ffi.memmove(self._fast_paths, old, ffi.sizeof(old))
        lib.ws_poller_use_fast_paths(self._poller, self._fast_paths, size)

    def attach(self, epoll: Any) -> None:
        """Use this epoll set from now on, and forget what another one has reported."""
        lib.ws_poller_attach(self._poller, epoll.fileno())
        self._batch.strays = 0

    def forget(self, fd: int) -> None:
        """Forget what the set has reported of a descriptor: what it is watched for changes now."""
        lib.ws_poller_forget(self._poller, fd)

    def drop(self, fd: int) -> None:
        """Forget everything about a descriptor."""
        self._fast_paths[fd] = 0
        if self.inodes.drop(fd):
            self._inode_table[fd] = 0

    def let_go(self) -> None:
        """Release the buffers: nothing will be received any more."""
        self.scratch = memoryview(b"")
        del self._bytes, self._batch, self._split_batch, self._scratch, self._scratch_bytes, self._inflater

    def set_fast_path(self, fd: int, word: int) -> None:
        """Set which whole messages may go past the protocol (`WS_FAST_...` in receive.h)."""
        self._fast_paths[fd] = word

    def note_fork(self) -> None:
        """Note which socket each descriptor is, now that a child holds them, too."""
        size = len(self.poller.channels)
        self._inode_table = ffi.new("uint64_t[]", size)
        for fd, inode in self.inodes.note(self.poller.channels).items():
            self._inode_table[fd] = inode
        lib.ws_poller_use_inodes(self._poller, self._inode_table, size)

    def receive(self) -> list[Any]:
        """Receive for ready channels in one call, and return those to run."""
        count = lib.ws_receive(self._poller)
        if count < 0:
            raise OSError(-count, os.strerror(-count))
        return self._batch.deliver(count, self.poller, self._bytes)

    def busy_poll(self) -> list[Any]:
        """Wait a moment for the next batch, receive it, and return the channels to run."""
        if self.poller.loop._callbacks:
            return []  # the hub has something to do
        count = lib.ws_busy_poll(self._poller)
        if count <= 0:
            return []  # the next `receive` gets the same error, if it is one
        return self._batch.deliver(count, self.poller, self._bytes)

    def split(self, channel: Any, count: int, word: int) -> None:
        """Deliver the bytes that a channel received into `scratch`: whole messages go past its protocol."""
        count = lib.ws_split(self._split_batch.poller, channel.fd, word, self._scratch, count)
        self._split_batch.deliver(count, self.poller, self._scratch_bytes)


def _get_loop_fd(loop: Any) -> int:
    """Return the descriptor that gevent's loop waits on; -1 if that, or whether it has callbacks, is unknown."""
    fd: int | None = loop.fileno() if hasattr(loop, "_callbacks") else None
    return -1 if fd is None else fd
