"""A bus without a network: several PubSubs of this process in place of several processes, and streams in memory."""

from __future__ import annotations

from collections import deque
from typing import Any

import gevent

from geventws import PreparedMessage, PubSub
from geventws.pubsub.history import Position


class Relay:
    """What Redis would be.

    Attributes:
        reads: the topics that were read.
        held: what is published and not delivered yet, while `holding`.
        pauses: whether others have their turn between the parts of a stream that is read.
    """

    def __init__(self) -> None:
        self.streams: dict[str, list[PreparedMessage]] = {}
        self.epoch = "e1"
        self.buses: list[RelayBus] = []
        self.reads: list[str] = []
        self.holding = False
        self.is_down = False
        self.pauses = False
        self.held: deque[Any] = deque()

    def make(self, **options: Any) -> tuple[PubSub, RelayBus]:
        """Return a PubSub that is another process's, and its bus."""
        pubsub, bus = PubSub(**options), RelayBus(self)
        pubsub.use(bus)
        self.buses.append(bus)
        return pubsub, bus

    def deliver(self) -> None:
        """Deliver what is held."""
        while self.held:
            self.held.popleft()()

    def forget(self) -> None:
        """Begin anew without data, as Redis does that was restarted."""
        self.streams.clear()
        self.epoch += "x"


class RelayBus:
    """The bus of one process.

    Attributes:
        topics: what is subscribed to.
        log: each `subscribe` and `unsubscribe`.
    """

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.topics: dict[str, Any] = {}
        self.log: list[tuple[str, str]] = []
        self.receiver: Any = None
        self.deaf = False
        self.nodes: set[bytes] = set()

    def ask(self, command: Any, done: Any) -> None:
        """Know nothing of members."""
        done(None)

    def start(self, receiver: Any) -> None:
        self.receiver = receiver

    def subscribe(self, topic: str, rule: Any) -> None:
        assert topic not in self.topics
        self.topics[topic] = rule
        self.log.append(("+", topic))

    def unsubscribe(self, topic: str) -> None:
        del self.topics[topic]
        self.log.append(("-", topic))

    def publish(self, topic: str, message: Any, key: Any, rule: Any, ticket: Any) -> bool:
        relay = self.relay
        if relay.is_down:
            return False
        if rule is not None:
            relay.streams.setdefault(topic, []).append(message)
        offset = len(relay.streams.get(topic, ()))

        def deliver() -> None:
            for bus in relay.buses:
                if topic in bus.topics and not bus.deaf:
                    if rule is None and bus is not self:
                        bus.receiver.receive(topic, message, key)
                    elif rule is not None:
                        mine = ticket if bus is self else None
                        bus.receiver.receive_at(topic, Position(relay.epoch, offset), message, key, mine)

        relay.held.append(deliver)
        if not relay.holding:
            relay.deliver()
        return True

    def read(self, topic: str, rule: Any) -> None:
        gevent.sleep(0.001)
        if self.relay.is_down:
            raise TimeoutError
        self.relay.reads.append(topic)
        self.fill(topic)

    def fill(self, topic: str) -> None:
        """Tell what there is, in parts of two."""
        messages = self.relay.streams.get(topic, [])
        first = max(len(messages) - self.topics[topic].max_messages, 0)
        for begin in range(first, len(messages), 2):
            part = messages[begin : begin + 2]
            place = Position(self.relay.epoch, begin + len(part))
            self.receiver.fill(topic, place, [(0.5, message) for message in part])
            if self.relay.pauses:
                gevent.sleep(0)
        if not messages:
            self.receiver.fill(topic, Position(self.relay.epoch, 0), [])
