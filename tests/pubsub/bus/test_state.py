"""State: up when all links are, told when that changes, in a greenlet."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventws.engine.loop.poller import get_poller
from geventws.pubsub.bus.connection import UnsupportedServer
from geventws.pubsub.bus.state import State


@pytest.fixture
def told() -> list[bool]:
    return []


@pytest.fixture
def state(serve: Any, told: list[bool]) -> State:
    return State(get_poller(), "redis://here", told.append)


def link(up: bool) -> Any:
    return SimpleNamespace(up=up)


def test_changes_are_told(state: State, told: list[bool], log: Any) -> None:
    state.links += [link(True), link(False)]
    state.note_up()
    assert state.is_up is None
    state.links[1].up = True
    for _ in range(2):
        state.note_up()
    for _ in range(3):
        state.note_down(OSError("it is\ngone"))
    state.note_up()
    assert state.is_up
    gevent.idle()
    assert told == [True, False, True]
    assert [record.getMessage() for record in log()] == [
        "the bus is down: redis://here: it is\\ngone", "the bus is up again: redis://here"
    ]  # fmt: skip


def test_one_that_cannot_be_reached_at_first_is_down(state: State, told: list[bool]) -> None:
    state.note_down(OSError("refused"))
    gevent.idle()
    assert told == [False] and state.error is None


def test_who_is_told_may_block_and_fail(serve: Any, log: Any) -> None:
    told: list[bool] = []
    go_on = Event()

    def tell(is_up: bool) -> None:
        told.append(is_up)
        go_on.wait()
        raise ValueError("of the application")

    state = State(get_poller(), "redis://here", tell)
    state.note_up()
    gevent.idle()
    state.note_down(OSError("gone"))
    gevent.idle()
    assert told == [True]
    go_on.set()
    gevent.idle()
    gevent.sleep(0)
    assert told == [True, False]
    assert [record.getMessage() for record in log()].count("on_bus has failed") == 2


def test_what_is_not_supported_is_kept(state: State) -> None:
    error = UnsupportedServer("a cluster")
    state.note_down(error)
    gevent.idle()
    assert state.error is error
