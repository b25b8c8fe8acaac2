"""Each message once and in order, whatever others do: random steps over real sockets, with native threads and a bus."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.engine.relay import Relay
from kit.sites.rooms import Room, read_messages

from geventws import PubSub

KEPT = 8
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(1, 3)),
        st.tuples(st.just("thread"), st.integers(1, 3)),
        st.tuples(st.just("join"), st.integers(0, 2)),
        st.tuples(st.just("go"), st.integers(0, 2)),
        st.tuples(st.just("cut"), st.integers(0, 2)),
        st.tuples(st.just("turn"), st.just(0)),
    ),
    min_size=5,
    max_size=40,
)


class Client:
    """One who comes and goes, and keeps its position and what it got."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.position: str | None = None
        self.expected: list[str] = []  # what it has to get over its socket
        self.got: list[str] = []  # what was missed, and what is expected, in order
        self.first: int | None = None
        self.subscribed = False
        self.open()

    def open(self) -> None:
        self.raw = self.room.connect([])
        self.ws = self.room.members[-1]

    def join(self, published: list[str]) -> None:
        missed = self.room.pubsub.subscribe(self.ws, "room", since=self.position)
        if self.subscribed:
            return
        self.subscribed = True
        if self.first is None or missed.gap:
            self.first, self.got = len(published) - len(missed.messages), []
        self.got += [str(message) for message in missed.messages]

    def go(self) -> None:
        if self.subscribed:
            self.room.pubsub.unsubscribe(self.ws, "room")
            self.leave()

    def cut(self) -> None:
        self.check()
        self.raw.reset()
        self.room.wait_until(lambda: self.ws.closed)
        if self.subscribed:
            self.leave()
        self.open()

    def leave(self) -> None:
        self.subscribed = False
        self.position = self.room.pubsub.history("room").position

    def check(self) -> None:
        received = [str(message) for message in read_messages(self.raw, len(self.expected))]
        assert received == self.expected
        self.expected = []


class World:
    """A room, its clients, and all that was published."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.published: list[str] = []
        self.clients = [Client(room) for _ in range(3)]

    def say(self, count: int) -> None:
        for _ in range(count):
            self.published.append(str(len(self.published)))
            self.room.pubsub.publish("room", self.published[-1])

    def note(self, count: int) -> None:
        for client in self.clients:
            if client.subscribed:
                client.expected += self.published[-count:]
                client.got += self.published[-count:]

    def step(self, name: str, number: int) -> None:
        if name == "publish":
            self.say(number)
            self.note(number)
        elif name == "thread":
            thread = threading.Thread(target=self.say, args=(number,))
            thread.start()
            thread.join()  # the loop has no turn meanwhile
            self.note(number)
        elif name == "turn":
            self.room.wait_until(lambda: True)
        elif name == "join":
            self.clients[number].join(self.published)
        else:
            getattr(self.clients[number], name)()

    def check(self) -> None:
        for client in self.clients:
            client.check()
            if client.first is not None:
                assert client.got == self.published[client.first : client.first + len(client.got)]
                if client.subscribed:
                    assert client.first + len(client.got) == len(self.published)


@pytest.mark.parametrize("over_a_bus", [False, True])
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_each_message_comes_once_and_in_order(serve: Any, over_a_bus: bool, steps: list[tuple[str, int]]) -> None:
    room = Room(serve)
    history = {"room": (KEPT, 300)}
    room.pubsub = Relay().make(history=history)[0] if over_a_bus else PubSub(history=history)
    room.open()
    world = World(room)
    for name, number in steps:
        world.step(name, number)
    world.check()
