"""ws_receive of receive.c on a pair of sockets, and what a protocol makes of its records."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from geventws.engine.intake import find_fast_path
from geventws.exceptions import InvalidData
from geventws.protocol.connection import WebSocketProtocol

HAVE_C = os.environ.get("GEVENTWS_PURE_PYTHON", "0") in ("", "0")
"""Whether the C core is to be tested."""

if HAVE_C:
    from geventws._core._frame import ffi, lib

WS_TEXT, WS_BINARY, WS_DATA, WS_READABLE, WS_WRITABLE, WS_EOF, WS_FAILED, WS_TEXTS, WS_BINARIES = range(1, 10)
SINGULAR = {WS_TEXTS: WS_TEXT, WS_BINARIES: WS_BINARY}


class Receiver:
    """A pair of sockets, one of them in an epoll set, and the buffers of ws_receive."""

    def __init__(
        self, size: int = 1 << 18, chunk: int = 1 << 17, max_records: int = 64, formats: int = 1 << 12, **options: Any
    ) -> None:
        self.far, self.near = socket.socketpair()
        self.near.setblocking(False)
        self.epoll = select.epoll()
        self.epoll.register(self.near, select.EPOLLIN)
        self.buffer = bytearray(size)
        self.records = ffi.new("struct ws_record[]", max_records)
        self.formats = ffi.new("char[]", formats)
        self.inflater = ffi.gc(lib.ws_inflater_new(), lib.ws_inflater_free)
        self.options = ffi.new("struct ws_poller_options *", {
            "loop_fd": self.epoll.fileno(), "chunk": chunk, "small_chunk": chunk,
            "buffer": ffi.from_buffer("uint8_t[]", self.buffer), "size": size, "inflater": self.inflater,
            "records": self.records, "max_records": max_records, "format": self.formats, "format_size": formats,
            **options,
        })  # fmt: skip
        self.poller = ffi.new("struct ws_poller *")
        lib.ws_poller_init(self.poller, self.options)
        lib.ws_poller_attach(self.poller, self.epoll.fileno())
        self.make_words(self.near.fileno() + 1)

    def make_words(self, count: int) -> None:
        self.words = ffi.new("uint32_t[]", count)
        lib.ws_poller_use_fast_paths(self.poller, self.words, count)

    def receive(self, word: int, call: Any = None) -> list[tuple[int, int, Any]]:
        """Return the descriptors, kinds and bytes (or numbers) of one call's records, one for each message."""
        self.words[self.near.fileno()] = word
        count = (call or lib.ws_receive)(self.poller)
        assert count >= 0, errno.errorcode[-count]
        found: list[tuple[int, int, Any]] = []
        used = 0
        for record in self.records[0:count]:
            if record.kind in SINGULAR:
                form = ffi.buffer(self.formats, record.end)[used:]
                used = record.end
                payloads = struct.unpack_from(form, self.buffer, record.start)
                found += [(record.fd, SINGULAR[record.kind], payload) for payload in payloads]
                continue
            data = record.start if record.kind > WS_DATA else bytes(self.buffer[record.start : record.end])
            found.append((record.fd, record.kind, data))
        return found

    def close(self) -> None:
        for thing in (self.far, self.near, self.epoll):
            thing.close()


@contextmanager
def receiver(**options: Any) -> Iterator[Receiver]:
    one = Receiver(**options)
    try:
        yield one
    finally:
        one.close()


def follow(one: Receiver, protocol: WebSocketProtocol) -> None:
    """Take everything that has come, as a connection does."""
    while True:
        records = one.receive(find_fast_path(protocol))
        if not records:
            return
        for _fd, kind, data in records:
            if protocol.failure and kind in (WS_TEXT, WS_BINARY):
                continue
            if kind == WS_BINARY:
                protocol.inbox.append(data)
            elif kind == WS_TEXT:
                try:
                    protocol.inbox.append(data.decode())
                except UnicodeDecodeError:
                    protocol.fail(InvalidData("bad text"))
            elif kind == WS_READABLE:
                protocol.receive_data(memoryview(bytearray(one.near.recv(1000))))
            else:
                assert kind == WS_DATA
                protocol.receive_data(memoryview(bytearray(data)))


def outcome(protocol: WebSocketProtocol) -> tuple[Any, ...]:
    failure = protocol.failure and protocol.failure.close_code
    replies = [len(reply) if protocol.client else reply for reply in protocol.output]
    return list(protocol.inbox), failure, replies, protocol.controls, protocol.close_received, protocol.close_code
