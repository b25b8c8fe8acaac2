"""What bus.py measures: two buses that stand for two processes, redis-py, and Redis alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gevent
import redis
from gevent.event import Event
from gevent.monkey import get_original

from geventws import PreparedMessage
from geventws.pubsub.bus.bus import RedisBus
from geventws.pubsub.bus.wire.messages import pack_message
from geventws.pubsub.bus.wire.resp import pack
from geventws.pubsub.bus.wire.scripts import pack_write
from geventws.pubsub.history import Rule

MESSAGE = "x" * 200


def number_of(message: PreparedMessage) -> int:
    """Return the number that a message begins with; 0 for one without."""
    return 0 if message.payload[:1] == b"x" else int(message.payload[:8])


class Sink:
    """What a bus tells; it switches to the greenlet that waits for the next message."""

    def __init__(self) -> None:
        self.got: list[int] = []  # the numbers that messages begin with
        self.gaps = 0
        self.register = SimpleNamespace(tick=lambda: None, confirmed=lambda topic: None)  # who is in a room
        self.waiting: Any = None

    def receive(self, topic: str, message: PreparedMessage, key: str | None) -> None:
        self.got.append(number_of(message))
        if self.waiting is not None:
            gevent.get_hub().loop.run_callback(self.waiting)
            self.waiting = None

    def receive_at(self, topic: str, position: Any, message: PreparedMessage, key: str | None, ticket: Any) -> None:
        self.receive(topic, message, key)

    def fill(self, topic: str, position: Any, messages: list[tuple[float, PreparedMessage]]) -> None:
        self.got += [number_of(message) for _, message in messages]

    def lost(self, topic: str) -> None:
        self.gaps += 1

    def tell_bus(self, is_up: bool) -> None:
        pass


class Pair:
    """Two buses: one publishes, the other one is subscribed."""

    def __init__(self, url: str, rule: Rule | None, topic: str = "room") -> None:
        self.sink, self.rule, self.topic = Sink(), rule, topic
        self.out, self.into = RedisBus(url, "bench:"), RedisBus(url, "bench:")
        self.out.start(Sink())
        self.into.start(self.sink)
        self.into.subscribe(topic, rule)
        if rule is not None:
            self.into.read(topic, rule)
        gevent.sleep(0.3)

    def publish(self, text: str) -> None:
        self.out.publish(self.topic, PreparedMessage(text), None, self.rule, None)

    def send_one(self) -> None:
        """Publish a message, and wait until it has arrived."""
        self.sink.waiting = gevent.getcurrent().switch
        self.publish(MESSAGE)
        gevent.get_hub().switch()

    def close(self) -> None:
        self.out.close(1)
        self.into.close(1)


class RedisPy:
    """The same by redis-py alone, whose sockets gevent has patched."""

    def __init__(self, port: int) -> None:
        self.client = redis.Redis(port=port)
        self.pubsub = self.client.pubsub(ignore_subscribe_messages=True)
        self.pubsub.subscribe("theirs")
        self.arrived = Event()
        self.listening = gevent.spawn(self._listen)
        gevent.sleep(0.1)

    def _listen(self) -> None:
        for _ in self.pubsub.listen():
            self.arrived.set()

    def send_one(self) -> None:
        self.arrived.clear()
        self.client.publish("theirs", MESSAGE)
        self.arrived.wait()

    def close(self) -> None:
        self.listening.kill()
        self.pubsub.close()
        self.client.close()


class Bare:
    """What Redis itself takes: a command of the bus's over one blocking socket, and its message over another."""

    def __init__(self, port: int, topic: str, rule: Rule | None) -> None:
        make: Any = get_original("socket", "create_connection")
        self.asking, self.hearing = make(("127.0.0.1", port)), make(("127.0.0.1", port))
        self.topic, self.rule, self.number = topic, rule, 0
        self.hearing.sendall(pack(b"SUBSCRIBE", topic.encode()))
        self.hearing.recv(1000)

    def send_one(self) -> None:
        self.number += 1
        channel, data = self.topic.encode(), pack_message(b"the-node", self.number, PreparedMessage(MESSAGE), None)
        keys = (b"meta-" + channel, b"stream-" + channel)
        command = pack(b"PUBLISH", channel, data) if self.rule is None else pack_write(
            keys, channel, b"the-node", self.number, self.rule, data)  # fmt: skip
        self.asking.sendall(command)
        self.hearing.recv(10_000)
        self.asking.recv(1000)

    def close(self) -> None:
        self.asking.close()
        self.hearing.close()
