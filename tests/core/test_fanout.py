"""Sending to many descriptors: fanout.c and its twin, by what arrives and what they say is left."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geventws._core import HAVE_C, pure

if HAVE_C:
    from geventws._core import native

BOTH: list[Any] = [native.Fanout, pure.Fanout] if HAVE_C else [pure.Fanout]
both = pytest.mark.parametrize("kind", BOTH)


class Peers:
    """Pairs of sockets, the near ends of which are sent to."""

    def __init__(self, kind: type[pure.Fanout], count: int) -> None:
        self.pairs = [socket.socketpair() for _ in range(count)]
        for far, near in self.pairs:
            far.setblocking(False)
            near.setblocking(False)
        self.fds = [near.fileno() for _, near in self.pairs]
        self.fanout = kind()
        self.fanout.grow(max(self.fds) + 1)

    def read(self, number: int) -> bytes:
        """Return everything that has come to one of them."""
        data = bytearray()
        try:
            while part := self.pairs[number][0].recv(1 << 16):
                data += part
        except BlockingIOError:
            pass
        return bytes(data)

    def fill(self, number: int) -> None:
        """Leave no room for anything."""
        try:
            while self.pairs[number][1].send(b"x" * 999):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        for pair in self.pairs:
            for end in pair:
                end.close()


@pytest.fixture
def peers(request: pytest.FixtureRequest) -> Iterator[Any]:
    made: list[Peers] = []

    def make(kind: type[pure.Fanout], count: int) -> Peers:
        made.append(Peers(kind, count))
        return made[-1]

    yield make
    for one in made:
        one.close()


@both
def test_each_descriptor_gets_its_frames_in_order(kind: type[pure.Fanout], peers: Any) -> None:
    three = peers(kind, 3)
    a, b, c = three.fds
    assert three.fanout.send([b"one", b"two", b"three"], [a, b, b, c, a], [2, 2, 1], [-1, -1, -1]) == []
    assert [three.read(number) for number in range(3)] == [b"onethree", b"onetwo", b"two"]
    assert three.fanout.send([b"four", b"five"], [c, a]) == []
    assert [three.read(number) for number in range(3)] == [b"five", b"", b"four"]


@both
def test_who_is_excepted_closed_or_unknown_gets_nothing(kind: type[pure.Fanout], peers: Any) -> None:
    two = peers(kind, 2)
    a, b = two.fds
    unknown = max(a, b) + 1
    refused = two.fanout.send([b"one", b"two"], [a, b, -1, unknown, a, b], [4, 2], [a, -1])
    assert refused == [(-1, 0, errno.EBADF, 0), (unknown, 0, errno.EBADF, 0)]
    assert [two.read(number) for number in range(2)] == [b"two", b"onetwo"]
    assert two.fanout.send([b"one"], [b], [1], [b]) == two.fanout.send([], []) == []
    assert two.read(1) == b""


@both
def test_what_may_not_be_sent_to_is_refused_untouched(kind: type[pure.Fanout], peers: Any) -> None:
    two = peers(kind, 2)
    a, b = two.fds
    two.fanout.shut[a] = 4
    assert two.fanout.send([b"one", b"two"], [a, b, a, b], [2, 2]) == [(a, 0, 0, 0), (a, 1, 0, 0)]
    assert [two.read(number) for number in range(2)] == [b"", b"onetwo"]
    two.fanout.grow(len(two.fanout.shut) + 64)
    assert two.fanout.send([b"one"], [b]) == []
    assert two.fanout.send([b"one"], [a]) == [(a, 0, 0, 0)]


@both
def test_what_the_kernel_does_not_take_is_refused(kind: type[pure.Fanout], peers: Any) -> None:
    two = peers(kind, 2)
    a, b = two.fds
    two.fill(0)
    refused = two.fanout.send([b"one", b"two"], [a, b, a, b], [2, 2])
    assert refused == [(a, 0, errno.EAGAIN, 0), (a, 1, errno.EAGAIN, 0)]
    assert two.read(1) == b"onetwo"


@both
def test_a_frame_that_is_cut_is_told_with_what_was_sent(kind: type[pure.Fanout], peers: Any) -> None:
    one = peers(kind, 1)
    (fd,) = one.fds
    large, small = os.urandom(8 << 20), b"small"
    (first, second) = one.fanout.send([small, large, small], [fd, fd, fd])
    assert first[:3] == (fd, 1, errno.EAGAIN) and second == (fd, 2, errno.EAGAIN, 0)
    assert 0 < first[3] < len(large)
    assert one.read(0) == small + large[: first[3]]


@both
def test_a_broken_connection_is_told(kind: type[pure.Fanout], peers: Any) -> None:
    two = peers(kind, 2)
    a, b = two.fds
    two.pairs[0][0].close()
    assert two.fanout.send([b"one"], [a, b], [2]) == [(a, 0, errno.EPIPE, 0)]
    assert two.read(1) == b"one"


@both
def test_more_frames_than_one_system_call_takes(kind: type[pure.Fanout], peers: Any) -> None:
    """Those for every second descriptor do not lie side by side."""
    two = peers(kind, 2)
    a, b = two.fds
    frames = [b"%d," % number for number in range(300)]
    assert two.fanout.send(frames, [a, b] * 150) == []
    assert [two.read(0), two.read(1)] == [b"".join(frames[::2]), b"".join(frames[1::2])]


@pytest.mark.parametrize("kind", BOTH)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_arrives_and_what_is_refused_is_everything(kind: type[pure.Fanout], data: Any) -> None:
    four = Peers(kind, 4)
    try:
        closed = data.draw(st.sets(st.integers(0, 3), max_size=1))
        full = data.draw(st.sets(st.integers(0, 3), max_size=2))
        for number in closed:
            four.fanout.shut[four.fds[number]] = 1
        for number in full:
            four.fill(number)
        sizes = data.draw(st.lists(st.sampled_from([1, 2, 125, 3000, 70_000]), max_size=90))
        frames = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
        targets = [data.draw(st.sets(st.integers(0, 3))) for _ in frames]
        excepts = [data.draw(st.integers(-1, 3)) for _ in frames]
        refused = four.fanout.send(
            frames,
            [four.fds[number] for target in targets for number in sorted(target)],
            [len(target) for target in targets],
            [-1 if number < 0 else four.fds[number] for number in excepts],
        )
        for number, fd in enumerate(four.fds):
            wanted = [at for at in range(len(frames)) if number in targets[at] and excepts[at] != number]
            mine = [refusal for refusal in refused if refusal[0] == fd]
            whole = wanted[: len(wanted) - len(mine)]
            assert [refusal[1] for refusal in mine] == wanted[len(whole) :]
            begun = frames[mine[0][1]][: mine[0][3]] if mine else b""
            assert {refusal[3] for refusal in mine[1:]} <= {0}
            assert {refusal[2] for refusal in mine} <= {0 if number in closed else errno.EAGAIN}
            if number not in full:
                assert four.read(number) == b"".join(frames[at] for at in whole) + begun
    finally:
        four.close()
