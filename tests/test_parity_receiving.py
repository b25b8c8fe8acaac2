"""ws_receive of poller.c: what it makes of bytes must be what the protocol makes of them. See also test_parity.py."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_parity import streams
from wire import BINARY, PING, TEXT, feed, frame, unmasked

from geventws.exceptions import InvalidData
from geventws.protocol import WebSocketProtocol

__test__ = os.environ.get("GEVENTWS_PURE_PYTHON", "0") in ("", "0")  # whether pytest collects this module

if __test__:
    from geventws._frame import ffi, lib

WS_TEXT, WS_BINARY, WS_DATA, WS_READABLE, WS_WRITABLE, WS_EOF, WS_FAILED, WS_TEXTS, WS_BINARIES = range(1, 10)
SINGULAR = {WS_TEXTS: WS_TEXT, WS_BINARIES: WS_BINARY}
PEER_IS_SERVER, TAKES_DEFLATED = 1 << 31, 1 << 30


ROOM = 1 << 16
"""Bytes that a pair of sockets surely holds while nobody reads."""


class Receiver:
    """A pair of sockets, one of them in an epoll set, and the buffers of ws_receive."""

    def __init__(self, size: int = 1 << 18, chunk: int = 1 << 17, max_records: int = 64, layout: int = 1 << 12) -> None:
        self.far, self.near = socket.socketpair()
        self.near.setblocking(False)
        self.epoll = select.epoll()
        self.epoll.register(self.near, select.EPOLLIN)
        self.buffer = bytearray(size)
        self.owned = ffi.from_buffer("uint8_t[]", self.buffer), ffi.new("char[]", layout)
        self.records = ffi.new("struct ws_record[]", max_records)
        self.poller = ffi.new("struct ws_poller *", {"epoll_fd": self.epoll.fileno(), "penalty": 1})
        self.poller.loop_fd = self.epoll.fileno()
        self.poller.buffer, self.poller.layout = self.owned
        self.poller.size, self.poller.layout_size = size, layout
        self.poller.chunk = self.poller.deflated_chunk = chunk
        self.poller.records, self.poller.max_records = self.records, max_records
        self.inflater = self.poller.inflater = ffi.gc(lib.ws_inflater_new(), lib.ws_inflater_free)
        self.set_limits(self.near.fileno() + 1)

    def set_limits(self, count: int) -> None:
        self.limits = self.poller.limits = ffi.new("uint32_t[]", count)
        self.poller.limits_count = count

    def receive(self, limit: int, call: Any = None) -> list[tuple[int, int, Any]]:
        """Return the descriptors, kinds and bytes (or numbers) of one call's records, one for each message."""
        self.limits[self.near.fileno()] = limit
        count = (call or lib.ws_receive)(self.poller)
        assert count >= 0, errno.errorcode[-count]
        found: list[tuple[int, int, Any]] = []
        laid = 0
        for record in self.records[0:count]:
            if record.kind in SINGULAR:
                layout = ffi.buffer(self.poller.layout, record.end)[laid:]
                laid = record.end
                payloads = struct.unpack_from(layout, self.buffer, record.start)
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
        simple = protocol.simple_limit
        flags = PEER_IS_SERVER * protocol.client | TAKES_DEFLATED * (protocol.extension is not None)
        records = one.receive(simple | flags if simple else 0)
        if not records:
            return
        for _fd, kind, data in records:
            if protocol.failure and kind in (WS_TEXT, WS_BINARY):
                continue
            if kind == WS_BINARY:
                protocol.messages.append(data)
            elif kind == WS_TEXT:
                try:
                    protocol.messages.append(data.decode())
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
    return list(protocol.messages), failure, replies, protocol.controls, protocol.close_received, protocol.close_code


@settings(max_examples=150, deadline=None)
@given(st.data(), st.booleans(), st.sampled_from([0, 10, 126, 1000, 70000]), st.sampled_from([20, 200, 5000, 1 << 17]))
def test_receiving_is_what_the_protocol_makes_of_the_bytes(data: Any, client: bool, limit: int, chunk: int) -> None:
    stream = data.draw(streams(not client))
    options: Any = {"client": client, "max_message_size": limit}
    expected, protocol = WebSocketProtocol(**options), WebSocketProtocol(**options)
    feed(expected, stream)
    with receiver(chunk=chunk) as one:
        cut = data.draw(st.integers(0, len(stream)))
        for part in (stream[:cut], stream[cut:]):
            for at in range(0, len(part), ROOM):
                one.far.sendall(part[at : at + ROOM])
                follow(one, protocol)
    assert outcome(protocol) == outcome(expected)


def test_records_of_whole_messages_and_the_rest() -> None:
    with receiver() as one:
        fd = one.near.fileno()
        one.far.sendall(frame(TEXT, b"one") + frame(BINARY) + frame(BINARY, b"x" * 200) + frame(PING) + frame(TEXT))
        expected = [(WS_TEXT, b"one"), (WS_BINARY, b""), (WS_BINARY, b"x" * 200), (WS_DATA, frame(PING) + frame(TEXT))]
        assert one.receive(1000) == [(fd, kind, data) for kind, data in expected]
        one.far.sendall(unmasked(TEXT, b"one") + frame(TEXT, b"two"))
        assert one.receive(1000 | PEER_IS_SERVER) == [(fd, WS_TEXT, b"one"), (fd, WS_DATA, frame(TEXT, b"two"))]
        assert one.receive(1000) == []


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_records_up_to_the_limit(size: int) -> None:
    data = frame(BINARY, b"x" * size)
    with receiver() as one:
        for limit in (max(size, 1), max(size, 1) - 1):
            one.far.sendall(data)
            records = one.receive(limit)
            if limit >= size and limit:
                assert records == [(one.near.fileno(), WS_BINARY, b"x" * size)]
            elif limit:
                assert records == [(one.near.fileno(), WS_DATA, data)]
            else:
                assert records == [(one.near.fileno(), WS_READABLE, 0)]


def test_a_descriptor_without_a_limit_is_only_reported() -> None:
    with receiver() as one:
        one.far.sendall(frame(TEXT, b"one"))
        assert one.receive(0) == one.receive(0) == [(one.near.fileno(), WS_READABLE, 0)]
        one.poller.limits_count = 1  # which the descriptor is beyond
        assert one.receive(1000) == [(one.near.fileno(), WS_READABLE, 0)]
        assert one.near.recv(100) == frame(TEXT, b"one")


def test_the_end_of_a_stream_and_a_broken_one() -> None:
    with receiver() as one:
        one.far.sendall(frame(TEXT, b"one"))
        one.far.shutdown(socket.SHUT_WR)
        fd = one.near.fileno()
        assert one.receive(100) == [(fd, WS_TEXT, b"one")]
        assert one.receive(100) == [(fd, WS_EOF, 0)]
    listener = socket.create_server(("127.0.0.1", 0))
    with receiver() as one, listener, socket.create_connection(listener.getsockname()) as near:
        far, _ = listener.accept()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.epoll.unregister(one.near)
        one.near.close()
        one.near = near
        one.set_limits(near.fileno() + 1)
        one.epoll.register(near, select.EPOLLIN)
        far.close()
        assert one.epoll.poll(10)
        assert one.receive(100) == [(near.fileno(), WS_FAILED, errno.ECONNRESET)]


def test_readiness_to_send_is_told_first() -> None:
    with receiver() as one:
        one.epoll.modify(one.near, select.EPOLLIN | select.EPOLLOUT)
        fd = one.near.fileno()
        assert one.receive(100) == [(fd, WS_WRITABLE, 0)]
        one.far.sendall(frame(TEXT, b"one"))
        assert one.receive(100) == [(fd, WS_WRITABLE, 0), (fd, WS_TEXT, b"one")]


@pytest.mark.parametrize("layout", [0, 60, 100, 1000])
def test_runs_of_messages_of_a_kind(layout: int) -> None:
    sizes = [3, 0, 200, 126, 7, 7, 70000, 1]
    payloads = [bytes([97 + at]) * size for at, size in enumerate(sizes)]
    kinds = [BINARY, BINARY, BINARY, TEXT, BINARY, TEXT, TEXT, TEXT]
    expected = [WS_TEXT if kind == TEXT else WS_BINARY for kind in kinds]
    with receiver(layout=layout) as one:
        one.far.sendall(b"".join(map(frame, kinds, payloads)))
        fd = one.near.fileno()
        assert one.receive(1 << 20) == [(fd, *message) for message in zip(expected, payloads, strict=True)]
        runs = [record.kind for record in one.records[0:5]]
        if layout == 1000:
            assert runs[:4] == [WS_BINARIES, WS_TEXT, WS_BINARY, WS_TEXTS]
        elif layout == 0:
            assert runs == expected[:5]


def test_lingering_waits_for_a_moment_and_learns_whether_that_pays() -> None:
    with receiver() as one:
        fd, expected = one.near.fileno(), [(one.near.fileno(), WS_TEXT, b"one")]
        assert one.receive(100) == []  # the loop has its turn
        one.far.sendall(frame(TEXT, b"one"))
        one.poller.since += 10**9  # however slow this machine is
        assert one.receive(100, lib.ws_linger) == expected and (one.poller.penalty, one.poller.skip) == (1, 0)
        for penalty in (2, 4, 8, 16, 32, 64, 64):
            assert one.receive(100, lib.ws_linger) == []
            assert one.poller.penalty == one.poller.skip == penalty
            one.far.sendall(frame(TEXT, b"one"))
            for left in reversed(range(penalty)):
                assert one.receive(100, lib.ws_linger) == [] and one.poller.skip == left
            assert one.receive(100) == expected
            one.poller.since += 10**9
        one.far.sendall(frame(TEXT, b"one"))
        one.poller.since -= 2 * 10**9
        assert one.receive(100, lib.ws_linger) == [], "the loop's last turn is too long ago"
        one.poller.since += 2 * 10**9
        one.poller.loop_fd = -1
        assert one.receive(100, lib.ws_linger) == [], "there is no telling when it is the loop's turn"
        assert one.receive(100) == [(fd, WS_TEXT, b"one")]


@pytest.mark.parametrize("max_records", [4, 5, 6, 10])
def test_more_messages_than_records(max_records: int) -> None:
    protocol = WebSocketProtocol()
    with receiver(max_records=max_records) as one:
        one.far.sendall(b"".join(frame(TEXT, b"%d" % i) for i in range(500)))
        follow(one, protocol)
    assert list(protocol.messages) == [str(i) for i in range(500)]


def test_a_descriptor_that_finds_no_room_waits_for_the_next_call() -> None:
    with receiver(size=100, chunk=60) as one:
        others = [socket.socketpair() for _ in range(3)]
        for far, near in others:
            one.epoll.register(near, select.EPOLLIN)
            far.sendall(frame(BINARY, b"x" * 40))
        one.set_limits(max(near.fileno() for _, near in others) + 1)
        for _, near in others:
            one.limits[near.fileno()] = 1000
        far, _ = others[0]
        calls = [one.receive(1000)]
        far.sendall(frame(BINARY, b"y" * 40))  # who was first has to wait for its next turn
        calls += [one.receive(1000) for _ in range(4)]
        assert [data for call in calls for _, _, data in call] == [b"x" * 40] * 3 + [b"y" * 40]
        assert [fd for call in calls for fd, _, _ in call] == [near.fileno() for _, near in [*others, others[0]]]
        for pair in others:
            for one_end in pair:
                one_end.close()
