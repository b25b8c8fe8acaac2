"""Core: the connections of one process to Redis. It lives in one loop: see home.py."""

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
"""Seconds between two looks at what has waited for too long."""

FINISH = 0.05
"""Seconds between two looks at whether a core that is to end may do so."""


class Counts(NamedTuple):
    """What became of what a process has published, and what it has got: see `BusStats`."""

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
        receiver: the PubSub, which is told of what comes.
        nodes: the names of this process, to which the core adds its own.
    """

    def __init__(self, address: Address, names: Names, receiver: Receiver, nodes: set[bytes]) -> None:
        self._node = os.urandom(NODE_SIZE)  # the name of this process, while this core lives
        self._nodes = nodes
        self._address = address
        self._names = names
        self._receiver = receiver
        self._number = 0  # of the last message
        self._poller: Any = None  # of its home; this and the next three are there once it has moved in
        self._state: Any = None  # whether Redis is there
        self._asker: Any = None  # which publishes
        self._arrivals: Any = None  # what comes
        self._channels: Any = None  # what receives; made at the first topic
        self._ticker: Any = None  # a greenlet
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

    def finish(self, leave: Callable[[], object]) -> None:
        """Wait in a greenlet until Redis has answered for what was published, and then call `leave`."""

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
            except BaseException:  # for lack of memory, say: the next look is not to be missed
                self._poller.report(None)

    def _look(self) -> None:
        """Drop what has waited for too long, and see whether Redis is there."""
        self._asker.expire()
        if self._channels is not None:
            self._channels.check()
        for link in self._state.links:
            link.check()
        self._receiver.register.tick()

    # What is known of it: any thread may ask

    @property
    def is_up(self) -> bool:
        """Whether Redis is there, as far as is known."""
        return self._state is not None and self._state.is_up is True

    @property
    def error(self) -> Exception | None:
        """Why there is no bus, and will be none; None unless that is so."""
        return self._state.error if self._state is not None else None

    @property
    def queued(self) -> int:
        """How many messages Redis has not answered yet."""
        return self._asker.queued if self._asker is not None else 0

    @property
    def counts(self) -> Counts:
        """What there was."""
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
        """Publish a message, as `Bus.publish` describes it."""
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
        """Send a command, made of the names and that of this process; call `done` with the answer, or None."""
        self._asker.ask(command(self._names, self._node), done)

    def send_probe(self) -> None:
        """Publish something to the own channel."""
        self._asker.ask(pack(b"PUBLISH", self._names.probes(self._node), b""))

    # Topics

    def watch(self, topic: str, rule: Rule | None) -> None:
        """Get what is published to a topic; where it is kept, read it, unless it is here still."""
        if self._channels is None:
            names = self._names
            own = names.probes(self._node)
            self._channels = Channels(self._address, self._poller, self, names.channel, own)
            self._start(self._channels)
        is_subscribed = self._channels.watch(topic)
        if rule is not None:
            self._arrivals.streams.watch(topic, rule, is_subscribed)

    def unwatch(self, topic: str) -> None:
        """Get it no more, some time later."""
        if self._channels is not None:
            self._channels.unwatch(topic)

    def read(self, topic: str, done: Callable[[bool], None]) -> None:
        """Have a topic with history read, if it is not; call `done` with whether it was."""
        self._arrivals.streams.when_read(topic, done)

    def _read(self, stream: Stream, done: Callable[[Any], None]) -> None:
        self._asker.ask(pack_read(self._names.keys(stream.topic), stream.rule, stream.position), done)

    # In

    def take(self, topic: str, data: bytes) -> None:
        """Take a message of a topic."""
        self._arrivals.take(topic, data)

    def leave(self, topic: str) -> None:
        """Note that a topic is subscribed no more."""
        self._arrivals.streams.unwatch(topic)

    def confirm(self, topic: str, missed: bool) -> None:
        """Note that a topic is subscribed now."""
        self._arrivals.confirm(topic, missed)

    def link_up(self) -> None:
        """Note that a link is connected."""
        self._state.note_up()
        self._arrivals.streams.retry()

    def link_down(self, error: Exception) -> None:
        """Note that a link is lost, or that an attempt to connect has failed."""
        self._state.note_down(error)
