"""ws_receive of receive.c: what it makes of bytes must be what the protocol makes of them."""

from __future__ import annotations

import errno
import select
import socket
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.core.receiver import (
    HAVE_C,
    WS_BINARIES,
    WS_BINARY,
    WS_DATA,
    WS_EOF,
    WS_FAILED,
    WS_READABLE,
    WS_TEXT,
    WS_TEXTS,
    WS_WRITABLE,
    follow,
    outcome,
    receiver,
)
from kit.core.strategies import streams
from kit.frames import BINARY, PING, RSV1, TEXT, feed, frame

from geventws._core import FAST_DEFLATED, FAST_UNMASKED
from geventws.protocol.connection import WebSocketProtocol

__test__ = HAVE_C  # whether pytest collects this module

if __test__:
    from geventws._core._frame import lib

ROOM = 1 << 16
"""Bytes that a pair of sockets surely holds while nobody reads."""


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
        one.far.sendall(frame(TEXT, b"one", key=None) + frame(TEXT, b"two"))
        assert one.receive(1000 | FAST_UNMASKED) == [(fd, WS_TEXT, b"one"), (fd, WS_DATA, frame(TEXT, b"two"))]
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
        lib.ws_poller_use_fast_paths(one.poller, one.words, 1)  # which the descriptor is beyond
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
        one.make_words(near.fileno() + 1)
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


@pytest.mark.parametrize("size", [0, 60, 100, 1000])
def test_runs_of_messages_of_a_kind(size: int) -> None:
    sizes = [3, 0, 200, 126, 7, 7, 70000, 1]
    payloads = [bytes([97 + at]) * size for at, size in enumerate(sizes)]
    kinds = [BINARY, BINARY, BINARY, TEXT, BINARY, TEXT, TEXT, TEXT]
    expected = [WS_TEXT if kind == TEXT else WS_BINARY for kind in kinds]
    with receiver(formats=size) as one:
        one.far.sendall(b"".join(map(frame, kinds, payloads)))
        fd = one.near.fileno()
        assert one.receive(1 << 20) == [(fd, *message) for message in zip(expected, payloads, strict=True)]
        runs = [record.kind for record in one.records[0:5]]
        if size == 1000:
            assert runs[:4] == [WS_BINARIES, WS_TEXT, WS_BINARY, WS_TEXTS]
        elif size == 0:
            assert runs == expected[:5]


def test_busy_polling_waits_for_a_moment_and_learns_whether_that_pays() -> None:
    with receiver() as one:
        fd, expected = one.near.fileno(), [(one.near.fileno(), WS_TEXT, b"one")]
        assert one.receive(100) == []  # the loop has its turn
        one.far.sendall(frame(TEXT, b"one"))
        one.poller.turn_began += 10**9  # however slow this machine is
        state = one.poller.state
        assert one.receive(100, lib.ws_busy_poll) == expected and (state.backoff, state.skip) == (1, 0)
        for backoff in (2, 4, 8, 16, 32, 64, 64):
            assert one.receive(100, lib.ws_busy_poll) == []
            assert state.backoff == state.skip == backoff
            one.far.sendall(frame(TEXT, b"one"))
            for left in reversed(range(backoff)):
                assert one.receive(100, lib.ws_busy_poll) == [] and state.skip == left
            assert one.receive(100) == expected
            one.poller.turn_began += 10**9
        one.far.sendall(frame(TEXT, b"one"))
        one.poller.turn_began -= 2 * 10**9
        assert one.receive(100, lib.ws_busy_poll) == [], "the loop's last turn is too long ago"
        assert one.receive(100) == [(fd, WS_TEXT, b"one")]


def test_no_waiting_where_nobody_can_tell_whose_turn_it_is() -> None:
    with receiver(loop_fd=-1) as one:
        assert one.receive(100) == []
        one.poller.turn_began += 10**9
        one.far.sendall(frame(TEXT, b"one"))
        assert one.receive(100, lib.ws_busy_poll) == []
        assert one.receive(100) == [(one.near.fileno(), WS_TEXT, b"one")]


@pytest.mark.parametrize("max_records", [4, 5, 6, 10])
def test_more_messages_than_records(max_records: int) -> None:
    protocol = WebSocketProtocol()
    with receiver(max_records=max_records) as one:
        one.far.sendall(b"".join(frame(TEXT, b"%d" % i) for i in range(500)))
        follow(one, protocol)
    assert list(protocol.inbox) == [str(i) for i in range(500)]


def test_a_descriptor_that_finds_no_room_waits_for_the_next_call() -> None:
    with receiver(size=100, chunk=60) as one:
        others = [socket.socketpair() for _ in range(3)]
        for far, near in others:
            one.epoll.register(near, select.EPOLLIN)
            far.sendall(frame(BINARY, b"x" * 40))
        one.make_words(max(near.fileno() for _, near in others) + 1)
        for _, near in others:
            one.words[near.fileno()] = 1000
        far, _ = others[0]
        calls = [one.receive(1000)]
        far.sendall(frame(BINARY, b"y" * 40))  # who was first has to wait for its next turn
        calls += [one.receive(1000) for _ in range(4)]
        assert [data for call in calls for _, _, data in call] == [b"x" * 40] * 3 + [b"y" * 40]
        assert [fd for call in calls for fd, _, _ in call] == [near.fileno() for _, near in [*others, others[0]]]
        for pair in others:
            for one_end in pair:
                one_end.close()


def test_one_descriptor_is_forgotten_and_no_other() -> None:
    """Four are ready, and one call has room for one; then the third is watched otherwise."""
    with receiver(size=100, chunk=60) as one:
        others = [socket.socketpair() for _ in range(4)]
        for far, near in others:
            one.epoll.register(near, select.EPOLLIN)
            far.sendall(frame(BINARY, b"x" * 40))
        one.make_words(max(near.fileno() for _, near in others) + 1)
        for _, near in others:
            one.words[near.fileno()] = 1000
        found = one.receive(1000)
        lib.ws_poller_forget(one.poller, others[2][1].fileno())
        one.epoll.close()  # so that nothing new is told
        for _ in range(2):
            found += one.receive(1000)
        assert [fd for fd, _, _ in found] == [others[number][1].fileno() for number in (0, 1, 3)]
        for pair in others:
            for one_end in pair:
                one_end.close()


def test_one_call_ends_when_it_has_caused_enough_work() -> None:
    """Nobody knows what compressed bytes inflate to: one descriptor with some is enough, the others come next."""
    with receiver() as one:
        others = [socket.socketpair() for _ in range(3)]
        for far, near in others:
            one.epoll.register(near, select.EPOLLIN)
            far.sendall(frame(TEXT, b"no deflate", rsv=RSV1))
        one.make_words(max(near.fileno() for _, near in others) + 1)
        for _, near in others:
            one.words[near.fileno()] = 1000 | FAST_DEFLATED
        calls = [one.receive(1000) for _ in others]
        assert [[(fd, kind) for fd, kind, _ in call] for call in calls] == [
            [(near.fileno(), WS_DATA)] for _, near in others
        ]
        for pair in others:
            for one_end in pair:
                one_end.close()
