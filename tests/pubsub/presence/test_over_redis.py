"""Presence across processes, over a real Redis: several PubSubs stand for several processes, and one is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from kit.sites.buses import wait_until
from kit.sites.rooms import Room

from geventws import PreparedMessage, PubSub
from geventws.pubsub.bus import core
from geventws.pubsub.bus.bus import RedisBus
from geventws.pubsub.bus.wire import members
from geventws.pubsub.interface import Event
from geventws.pubsub.presence import presence

TESTS = Path(__file__).parents[2]


class Envelope:
    """A form that notes events."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str | None, Any]] = []

    def message(self, topic: str, message: PreparedMessage, position: str | None) -> PreparedMessage:
        return message

    def event(self, topic: str, event: Event) -> PreparedMessage | None:
        self.heard.append((event.kind, event.member, event.info))
        return None


class Process:
    """A process: a PubSub, and a connection that hears of the room."""

    def __init__(self, serve: Any, url: str, grace: float) -> None:
        self.bus = RedisBus(url, "gws:")
        self.room = Room(serve)
        self.room.pubsub = self.pubsub = PubSub(presence_grace=grace)
        self.pubsub.use(self.bus)
        self.room.open()
        self.form = Envelope()
        self.room.connect([])
        self.ws = self.room.members[0]

    def hear(self) -> None:
        """Have somebody here hear of the room, and wait until Redis has confirmed it."""
        self.pubsub.subscribe_as(self.ws, "room", self.form)
        self.pubsub.presence("room")
        channels = self.bus._lodging.core._channels  # type: ignore[union-attr]
        wait_until(lambda: channels.link.up and not channels._unconfirmed)

    def come(self, member: str, info: Any = None) -> Any:
        """Return a client that is a member."""
        client = self.room.connect([])
        self.pubsub.track(self.room.members[-1], "room", member, info)
        return client

    def expect(self, *heard: tuple[str, str, Any]) -> None:
        wait_until(lambda: self.form.heard == list(heard))


@pytest.fixture
def process(serve: Any, redis: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Process]]:
    """Open one more process: `process()`. Signs of life are fast here."""
    monkeypatch.setattr(members, "ALIVE_SECONDS", 1.2)
    monkeypatch.setattr(presence, "BEAT", 0.2)
    monkeypatch.setattr(core, "TICK", 0.1)
    made: list[Process] = []

    def make(grace: float = 0.1) -> Process:
        made.append(Process(serve, redis.url, grace))
        return made[-1]

    yield make
    for one in made:
        for ws in one.room.members:
            one.pubsub.untrack(ws, "room")
    wait_until(lambda: all(one.pubsub._presence._waking is None for one in made))
    homes = [one.bus._lodging.home for one in made if one.bus._lodging is not None]
    for one in made:
        one.bus.close(0)
    wait_until(lambda: all(home.closed for home in homes))


def test_members_of_all_processes_are_there(process: Any) -> None:
    here, there = process(), process()
    here.hear()
    first = there.come("ana", {"age": 5})
    here.expect(("join", "ana", {"age": 5}))
    here.come("bob")
    here.come("ana", {"age": 5})
    both = {"ana": {"age": 5}, "bob": None}
    assert here.pubsub.presence("room") == both
    wait_until(lambda: there.pubsub.presence("room") == both)  # where nobody listens
    first.leave()
    third = process()
    third.hear()
    wait_until(lambda: there.pubsub.presence("room") == third.pubsub.presence("room") == both)
    here.pubsub.untrack(here.room.members[1], "room")
    third.expect(("join", "ana", {"age": 5}), ("join", "bob", None), ("leave", "bob", None))
    assert [kind for kind, _member, _info in here.form.heard] == ["join", "join", "leave"]


def test_one_who_reconnects_to_another_process_has_not_left(process: Any) -> None:
    here, there, listener = process(1.5), process(0.3), process()
    listener.hear()
    client = here.come("ana")
    listener.expect(("join", "ana", None))
    client.leave()
    again = there.come("ana")
    wait_until(lambda: here.pubsub._presence._members.find("room") == {})
    gevent.sleep(0.05)
    assert listener.pubsub.presence("room") == {"ana": None}
    again.leave()
    listener.expect(("join", "ana", None), ("leave", "ana", None))


def test_the_members_of_a_process_that_is_killed_are_gone(process: Any, redis: Any) -> None:
    listener = process()
    listener.hear()
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}
    command = [sys.executable, "-m", "kit.apps.present", redis.url, "ana"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as other:
        try:
            listener.expect(("join", "ana", {"process": "another"}))
            gevent.sleep(1.3)  # longer than a process lives that gives no sign
            assert listener.pubsub.presence("room") == {"ana": {"process": "another"}}
        finally:
            other.kill()
    listener.expect(("join", "ana", {"process": "another"}), ("leave", "ana", {"process": "another"}))
    late = process()
    assert late.pubsub.presence("room") == {} and redis.ask("HLEN", "gws:p:room") == 0


def test_a_redis_that_forgets_is_told_again(process: Any, redis: Any) -> None:
    here, there = process(), process()
    here.hear()
    there.come("ana")
    here.expect(("join", "ana", None))
    redis.stop()
    there.come("bob")
    redis.start()
    wait_until(lambda: redis.ask("HLEN", "gws:p:room") == 2)
    wait_until(lambda: here.pubsub.presence("room") == {"ana": None, "bob": None})


def test_without_redis_one_sees_those_who_are_here(process: Any, redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "ANSWER", 0.1)
    here = process()
    redis.stop()
    here.come("ana")
    assert here.pubsub.presence("room") == {"ana": None}
    redis.start()
