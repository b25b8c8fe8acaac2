"""Core: the two connections of one process to Redis. It lives in one loop: see home.py."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import gevent

from .arrivals import Arrivals
from .asker import Asker
from .channels import Channels
from .state import State
from .wire.members import MEMBER_SCRIPTS
from .wire.messages import NODE_SIZE, pack_message
from .wire.resp import pack
from .wire.scripts import SCRIPTS, pack_read, pack_write

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...engine.loop.poller import Poller
    from ...protocol.prepared import PreparedMessage
    from ..history import Rule
    from ..interface import Receiver
    from .connection import Address
    from .streams import Stream
    from .wire.messages import Names

TICK = 1.0
"""Seconds between two checks of deadlines and heartbeats."""

FINISH = 0.05
"""Seconds between two looks at whether a core that is to end has had all answers."""


class Counts(NamedTuple):
    """Counts of published and received messages: see `BusStats`."""

    published: int = 0
    sent: int = 0
    dropped: int = 0
    received: int = 0
    repeated: int = 0
    skipped: int = 0
    gaps: int = 0
    reconnects: int = 0


class Core:
    """The connections, in one loop.

    Args:
        address: where Redis is.
        names: of channels and keys.
        receiver: the PubSub, which gets what arrives.
        nodes: the names of this process; the core adds its own.
    """

    def __init__(self, address: Address, names: Names, receiver: Receiver, nodes: set[bytes]) -> None:
        self._node = os.urandom(NODE_SIZE)  # the name of this process, while this core lives
        self._nodes = nodes
        self._address = address
        self._names = names
        self._receiver = receiver
        self._number = 0  # of the last message published
        self._poller: Any = None  # its home's; this and the next three are set once it has moved in
        self._state: Any = None  # whether Redis can be reached
        self._asker: Any = None  # publishes, and asks
        self._arrivals: Any = None  # takes what is received
        self._channels: Any = None  # receives; made for the first topic
        self._ticker: Any = None  # the greenlet that checks deadlines
        nodes.add(self._node)

    # Its home

    def move_in(self, poller: Poller) -> None:
        """Connect."""
        self._poller = poller
        self._state = State(poller, self._address.text, self._receiver.tell_bus)
        self._arrivals = Arrivals(poller, self._receiver, self._nodes, self._read)
        self._asker = Asker(self._address, poller, self, (*SCRIPTS, *MEMBER_SCRIPTS))
        self._start(self._asker)
        self._ticker = gevent.spawn(self._tick)

    def _start(self, end: Asker | Channels) -> None:
        self._state.links.append(end.link)
        end.link.start()

    def move_out(self) -> None:
        """Disconnect."""
        self._ticker.kill(block=False)
        for link in self._state.links:
            link.close()

    def lose_loop(self) -> None:
        """Disconnect at once, as the loop has no turn any more."""
        for link in self._state.links:
            link.drop()

    def finish(self, leave: Callable[[], object]) -> None:
        """Stop receiving. Call `leave` in a greenlet, once Redis has answered for all messages. Does not block."""
        if self._channels is not None:
            self._channels.link.close()

        def wait() -> None:
            while self.queued:
                gevent.sleep(FINISH)
            leave()

        gevent.spawn(wait)

    def forked(self) -> None:
        """Leave the connections to the parent, in a forked child."""
        for link in self._state.links:
            link.closed = True

    def _tick(self) -> None:
        while not self._poller.closed:
            gevent.sleep(TICK)
            try:  # nothing in it waits
                self._look()
            except BaseException:  # out of memory, say: the next look must come nevertheless
                self._poller.report(None)

    def _look(self) -> None:
        """Drop what has waited too long, and check whether Redis still answers."""
        self._asker.expire()
        if self._channels is not None:
            self._channels.check()
        for link in self._state.links:
            link.check()
        self._receiver.register.tick()

    # Its state: any thread may read these

    @property
    def is_up(self) -> bool:
        """Whether Redis can be reached, as far as is known."""
        return self._state is not None and self._state.is_up is True

    @property
    def error(self) -> Exception | None:
        """The error because of which the bus has given up for good; None if it has not."""
        return self._state.error if self._state is not None else None

    @property
    def queued(self) -> int:
        """How many messages Redis has not answered yet."""
        return self._asker.queued if self._asker is not None else 0

    @property
    def counts(self) -> Counts:
        """The counts of messages so far."""
        if self._asker is None:
            return Counts()
        asker, arrivals = self._asker, self._arrivals
        reconnects = sum(max(link.connects - 1, 0) for link in self._state.links)
        repeated = arrivals.repeated + arrivals.streams.repeated
        heard = (arrivals.received, repeated, arrivals.skipped, arrivals.gaps, reconnects)
        return Counts(asker.published, asker.sent, asker.dropped, *heard)

    # Out

    def publish(
        self, topic: str, message: PreparedMessage, key: str | None, rule: Rule | None, ticket: int | None
    ) -> bool:
        """Publish a message: see `Bus.publish`."""
        self._number += 1
        names, number = self._names, self._number
        data = pack_message(self._node, number, message, key)
        channel = names.channel(topic)
        if rule is None:
            command = pack(b"PUBLISH", channel, data)
        else:
            if ticket is not None and self._arrivals.streams.get(topic) is not None:
                self._arrivals.keep_ticket(self._node, number, ticket)
            command = pack_write(names.keys(topic), channel, self._node, number, rule, data)
        return bool(self._asker.publish(command))

    def ask(self, command: Callable[[Names, bytes], bytes], done: Callable[[Any], object]) -> None:
        """Send the command that `command` builds; call `done` with the answer: see `Bus.ask`."""
        self._asker.ask(command(self._names, self._node), done)

    def send_probe(self) -> None:
        """Publish an empty message to this process's own channel."""
        self._asker.ask(pack(b"PUBLISH", self._names.probes(self._node), b""))

    # Topics

    def watch(self, topic: str, rule: Rule | None, missed: bool = False) -> None:
        """Receive what is published to a topic. If it has a history that is not here yet, read that.

        Args:
            topic: the topic.
            rule: how much of it is kept; None for nothing.
            missed: whether messages may have been missed already.
        """
        if self._channels is None:
            names = self._names
            own = names.probes(self._node)
            self._channels = Channels(self._address, self._poller, self, names.channel, own)
            self._start(self._channels)
        is_subscribed = self._channels.watch(topic, missed)
        if rule is not None:
            self._arrivals.streams.watch(topic, rule, is_subscribed)

    def unwatch(self, topic: str) -> None:
        """Stop receiving a topic, some seconds later."""
        if self._channels is not None:
            self._channels.unwatch(topic)

    def read(self, topic: str, done: Callable[[bool], None]) -> None:
        """Read a topic with history, unless that was done; call `done` with True, or with False if it cannot be."""
        self._arrivals.streams.when_read(topic, done)

    def _read(self, stream: Stream, done: Callable[[Any], None]) -> None:
        self._asker.ask(pack_read(self._names.keys(stream.topic), stream.rule, stream.position), done)

    # In

    def take(self, topic: str, data: bytes) -> None:
        """Take a message of a topic."""
        self._arrivals.take(topic, data)

    def leave(self, topic: str) -> None:
        """Note that a topic's channel is no longer subscribed."""
        self._arrivals.streams.unwatch(topic)

    def confirm(self, topic: str, missed: bool) -> None:
        """Note that Redis has confirmed the subscription to a topic."""
        self._arrivals.confirm(topic, missed)

    def link_up(self) -> None:
        """Note that a link is connected."""
        self._state.note_up()
        self._arrivals.streams.retry()

    def link_down(self, error: Exception) -> None:
        """Note that a link is lost, or that an attempt to connect has failed."""
        self._state.note_down(error)
