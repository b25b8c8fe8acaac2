"""Home: one loop for all threads; whoever has none gets a thread of its own."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from kit.sites.buses import wait_until

from geventws.engine.loop.poller import get_poller, get_thread
from geventws.pubsub.bus.home import Home, is_served


class Guest:
    """Notes what happens to it."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.poller: Any = None

    def move_in(self, poller: Any) -> None:
        self.poller = poller
        self.told.append(("in", get_thread()))

    def move_out(self) -> None:
        self.told.append(("out", get_thread()))

    def lose_loop(self) -> None:
        self.told.append(("lost", get_thread()))

    def forked(self) -> None:
        self.told.append("forked")


@pytest.fixture
def guest() -> Guest:
    return Guest()


def test_who_serves_is_at_home(serve: Any, guest: Guest, in_thread: Any) -> None:
    home = Home(guest, lambda: None)
    home.settle()
    here = get_thread()
    assert guest.poller is get_poller() and guest.told == [("in", here)]
    called: list[Any] = []
    home.call(called.append, 1)
    assert called == [1] and home.is_here
    assert in_thread(lambda: (home.call(lambda: called.append(get_thread())), home.is_here))[1] is False
    wait_until(lambda: len(called) == 2)
    assert called[1] == here
    home.leave()
    home.leave()
    assert home.closed and guest.told[1:] == [("out", here)]


def test_a_thread_of_its_own(serve: Any, guest: Guest) -> None:
    home = Home(guest, lambda: None)
    called: list[Any] = []
    home.call(lambda: called.append(get_thread()))
    home.rent()
    home.call(lambda: called.append(get_thread()))
    wait_until(lambda: len(called) == 2)
    assert called[0] == called[1] == guest.told[0][1] != get_thread()
    assert home.is_rented and not home.closed and not home.is_here
    home.call(home.leave)
    wait_until(lambda: home.closed and guest.poller.closed)
    assert [what for what, _ in guest.told] == ["in", "out"]


def test_calls_that_raise_and_those_that_take_long(serve: Any, guest: Guest, in_thread: Any, log: Any) -> None:
    home = Home(guest, lambda: None)
    home.settle()
    order: list[int] = []

    def fill() -> None:
        home.call(fail)
        for number in range(100):
            home.call(busy, number)

    def fail() -> None:
        raise ValueError("of a call")

    def busy(number: int) -> None:
        order.append(number)
        until = get_poller().clock.monotonic() + 0.0005
        while get_poller().clock.monotonic() < until:
            pass

    turns = 0
    in_thread(fill)
    while len(order) < 100:
        gevent.sleep(0)
        turns += 1
    assert order == list(range(100))
    assert turns > 5
    assert [str(record.exc_info[1]) for record in log()] == ["of a call"]
    home.leave()


def test_a_child_leaves_it_all(guest: Guest) -> None:
    home = Home(guest, lambda: None)
    home.settle()
    home.forked()
    assert home.closed and guest.told[1:] == ["forked"]


def test_who_is_served(in_thread: Any) -> None:
    assert not is_served()
    assert gevent.spawn(is_served).get()
    assert not in_thread(is_served)
    served: list[bool] = []
    gevent.get_hub().loop.run_callback(lambda: served.append(is_served()))
    gevent.sleep(0)
    assert served == [True]
