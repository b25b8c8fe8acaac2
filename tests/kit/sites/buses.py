"""Buses over a real Redis, and what they tell: several in one process stand for several processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
from kit.servers.redis import refusing

from geventws.engine.loop.poller import get_poller
from geventws.protocol.prepared import PreparedMessage
from geventws.pubsub.bus.arrivals import Arrivals
from geventws.pubsub.bus.bus import RedisBus
from geventws.pubsub.history import Position, Rule

RULE = Rule(100, 300)
PAUSE = 0.002


class Ear:
    """What a bus tells its PubSub.

    Attributes:
        plain: messages without history: topic, payload, key.
        placed: those with one: offset, payload, ticket.
        fills: what was read at once: the position, and the payloads.
        gaps: topics of which something may be missing.
        confirmed_topics: those that are subscribed.
        stays: topics and members that are in other processes, or are not any more.
        ticks: how often it was told that time passes.
        ups: whether the bus was up, each time that has changed.
    """

    def __init__(self) -> None:
        self.plain: list[tuple[str, bytes, str | None]] = []
        self.placed: list[tuple[int, bytes, int | None]] = []
        self.fills: list[tuple[Position, list[bytes]]] = []
        self.gaps: list[str] = []
        self.ups: list[bool] = []
        self.confirmed_topics: list[str] = []
        self.stays: list[Any] = []
        self.ticks = 0

    @property
    def register(self) -> Ear:
        """What hears of members: the same."""
        return self

    def confirmed(self, topic: str) -> None:
        self.confirmed_topics.append(topic)

    def receive_stay(self, topic: str, stay: Any) -> None:
        self.stays.append((topic, stay))

    def tick(self) -> None:
        self.ticks += 1

    def receive(self, topic: str, message: PreparedMessage, key: str | None) -> None:
        self.plain.append((topic, message.payload, key))

    def receive_at(
        self, topic: str, position: Position, message: PreparedMessage, key: str | None, ticket: int | None
    ) -> None:
        self.placed.append((position.offset, message.payload, ticket))

    def fill(self, topic: str, position: Position, messages: list[tuple[float, PreparedMessage]]) -> None:
        assert all(age >= 0 for age, _ in messages)
        self.fills.append((position, [message.payload for _, message in messages]))

    def lost(self, topic: str) -> None:
        self.gaps.append(topic)

    def tell_bus(self, is_up: bool) -> None:
        self.ups.append(is_up)


class Party:
    """One process's bus, and its ear."""

    def __init__(self, url: str, prefix: str = "gws:") -> None:
        self.ear = Ear()
        self.bus = RedisBus(url, prefix)
        self.bus.start(self.ear)

    def join(self, topic: str, rule: Rule | None = None) -> None:
        """Subscribe, and wait until Redis has confirmed it."""
        gevent.spawn(self.bus.subscribe, topic, rule).get()
        if rule is not None:
            self.bus.read(topic, rule)
        wait_until(lambda: topic in self.confirmed)

    @property
    def confirmed(self) -> set[str]:
        """The topics that this process is subscribed to, as far as it knows."""
        core = self.bus._lodging.core
        channels = core._channels
        if channels is None or not channels.link.up or channels._unconfirmed or channels._joining:
            return set()
        return set(channels._topics.values())

    def say(self, topic: str, text: str, rule: Rule | None = None, ticket: int | None = None) -> bool:
        """Publish a text."""
        return self.bus.publish(topic, PreparedMessage(text), None, rule, ticket)

    @property
    def link(self) -> Any:
        """The link over which it publishes."""
        return self.bus._lodging.core._asker.link


def wait_until(done: Callable[[], object]) -> None:
    """Have the loop turn until it is so; the test has a deadline."""
    while not done():
        gevent.sleep(PAUSE)


def meet_redis(text: str) -> None:
    """Publish to what refuses a connection and a message with a text of a peer's."""
    with refusing(b"OOM " + text.replace("\r\n", "").encode() + b"x" * 3000) as url:
        party = Party(url)
        gevent.spawn(party.say, "room", "hello").get()
        wait_until(lambda: party.bus.stats.dropped)
        party.bus.close(0)


def hear_of_topic(text: str) -> None:
    """Get what is no message, on a topic of a peer's."""
    Arrivals(get_poller(), Ear(), set(), lambda _stream, _done: None).take(text, text.encode())
    gevent.sleep(0)
