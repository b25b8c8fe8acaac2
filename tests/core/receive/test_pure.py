"""receive/pure.py with a set and channels that only count: who receives when, and what ends it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from geventws._core.receive.pure import EPOLLOUT, MAX_EVENTS, Receiver

READABLE = 1


class Channel:
    """Notes what it is told."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.told: list[Any] = []
        self.error: Exception | None = None  # what it raises when it is to receive

    def readable(self) -> None:
        self.told.append("readable")
        if self.error:
            raise self.error

    def writable(self) -> None:
        self.told.append("writable")

    def receive_eof(self, number: int) -> None:
        self.told.append(number)

    def receive_data(self, data: memoryview) -> None:
        self.told.append(bytes(data))


class Poller:
    """Stands for the set, the system, the clock and the turns as well."""

    def __init__(self, channels: int) -> None:
        self.loop = self.interest = self.set = self.system = self.clock = self.turns = self
        self.channels: list[Any] = [Channel(fd) for fd in range(channels)]
        self.doubtful = False
        self.failed: list[Any] = []
        self.ready: list[tuple[int, int]] = []
        self.left = 1000  # channels that may receive before the turn is over
        self.fstat = os.fstat
        self.now = 0.0

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        assert (timeout, most) == (0, MAX_EVENTS)
        ready, self.ready = self.ready, []
        return ready

    def monotonic(self) -> float:
        self.now += 1
        return self.now

    def is_over(self) -> bool:
        self.left -= 1
        return self.left <= 0

    def call(self, channel: Any, function: Any, *arguments: Any) -> None:
        function(*arguments)

    def fail(self, channel: Any) -> None:
        self.failed.append(channel)


@pytest.fixture
def poller() -> Poller:
    return Poller(4)


@pytest.fixture
def receiver(poller: Poller) -> Receiver:
    return Receiver(poller)


def test_each_channel_receives_in_the_order_of_the_set(poller, receiver):
    poller.ready = [(2, READABLE), (1, EPOLLOUT), (0, READABLE | EPOLLOUT)]
    assert receiver.receive() == [poller.channels[fd] for fd in (2, 1, 0)]
    assert [channel.told for channel in poller.channels] == [["writable", "readable"], ["writable"], ["readable"], []]
    assert receiver.receive() == [] and receiver.get_polled() == 2


def test_who_finds_no_time_is_first_in_the_next_batch(poller, receiver):
    poller.ready, poller.left = [(fd, READABLE) for fd in range(4)], 2
    assert [channel.fd for channel in receiver.receive()] == [0, 1]
    poller.ready, poller.left = [(0, READABLE)], 1000
    assert [channel.fd for channel in receiver.receive()] == [2, 3]
    assert [channel.fd for channel in receiver.receive()] == [0]


def test_one_receives_however_late_it_is(poller, receiver):
    poller.ready, poller.left = [(3, READABLE), (2, READABLE)], 0
    assert [channel.fd for channel in receiver.receive()] == [3]


def test_what_was_reported_is_forgotten_with_the_watch_or_the_set(poller, receiver):
    poller.ready, poller.left = [(fd, READABLE) for fd in range(4)], 0
    receiver.receive()
    receiver.forget(2)
    assert [channel.fd for channel in receiver.receive()] == [1]
    receiver.attach(poller)
    assert receiver.receive() == []


def test_what_one_raises_ends_that_one(poller, receiver):
    poller.channels[1].error = ZeroDivisionError()
    poller.ready = [(fd, READABLE) for fd in range(3)]
    assert [channel.fd for channel in receiver.receive()] == [0, 1, 2]
    assert poller.failed == [poller.channels[1]]


def test_an_event_of_no_channel_makes_the_set_doubtful(poller, receiver):
    poller.channels[1] = None
    poller.ready = [(1, READABLE), (0, READABLE)]
    assert receiver.receive() == [poller.channels[0]] and poller.doubtful and receiver.saw_stray


def test_who_sends_its_channel_away_does_not_receive_as_well(poller, receiver):
    channel = poller.channels[0]
    channel.writable = lambda: poller.channels.__setitem__(0, None)
    poller.ready = [(0, READABLE | EPOLLOUT)]
    assert receiver.receive() == [channel] and channel.told == []


@pytest.fixture
def near() -> Iterator[socket.socket]:
    near, far = socket.socketpair()
    with near, far:
        yield near


def test_a_strangers_socket_is_not_touched(near):
    fd = near.fileno()
    poller = Poller(fd + 1)
    poller.channels[:fd] = [None] * fd
    receiver = Receiver(poller)
    receiver.note_fork()
    near.close()
    poller.ready = [(fd, READABLE | EPOLLOUT)]
    assert [one.told for one in receiver.receive()] == [[errno.EBADF]]
    receiver.drop(fd)
    poller.ready = [(fd, READABLE)]
    assert [one.told for one in receiver.receive()] == [[errno.EBADF, "readable"]]


def test_nothing_takes_a_fast_path(poller, receiver):
    receiver.set_fast_path(0, 1000)
    receiver.scratch[:3] = b"abc"
    receiver.split(poller.channels[0], 3, 1000)
    assert poller.channels[0].told == [b"abc"] and receiver.busy_poll() == []
    receiver.let_go()
    assert len(receiver.scratch) == 0
