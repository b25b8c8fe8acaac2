"""Arrivals: takes what arrives over the channels, and passes it on.

A message carries the name of the process that has published it, and a number that rises with each message there. By the
name, a process recognises its own messages: those without history it has delivered already. By the number, it
recognises a message that was sent twice, because a connection was lost before Redis had answered. A message to a topic
with history has a position instead: see streams.py.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ...text import quoted
from .streams import Streams
from .wire.members import MEMBER, unpack_stay
from .wire.messages import VERSION, BadMessage, get_node, unpack_message, unpack_placed

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ...engine.loop.poller import Poller
    from ...protocol.prepared import PreparedMessage
    from ..history import Position
    from ..interface import Receiver
    from .streams import Stream
    from .wire.messages import Parcel

MOST_NODES = 10_000
"""Processes whose last number is remembered; beyond that, the one first heard of is forgotten."""

MOST_TICKETS = 20_000
"""Messages of this process whose tickets are remembered until they come back; the oldest are forgotten."""


class Arrivals:
    """What arrives in one process.

    Args:
        poller: the loop's.
        receiver: the PubSub, which delivers it.
        nodes: the names of this process.
        ask: reads a topic with history: see `streams.Owner`.

    Attributes:
        streams: the topics with history.
        received: messages that were delivered.
        repeated: messages without history that arrived twice.
        skipped: messages that are not geventws's, or are of another version of its format.
        gaps: how often messages of a topic without history may have been missed.
        ask: as above.
    """

    def __init__(
        self,
        poller: Poller,
        receiver: Receiver,
        nodes: set[bytes],
        ask: Callable[[Stream, Callable[[Any], None]], None],
    ) -> None:
        self.streams: Streams = Streams(poller, self)
        self.received: int = 0
        self.repeated: int = 0
        self.skipped: int = 0
        self.gaps: int = 0
        self.ask = ask
        self._log = poller.log  # for skipped messages
        self._receiver = receiver
        self._nodes = nodes
        self._numbers: dict[bytes, int] = {}  # by node: the number of the last message received from there
        self._tickets: dict[tuple[bytes, int], int] = {}  # tickets of messages of this process, by node and number
        self._has_told = False  # whether a skipped message was logged

    def keep_ticket(self, node: bytes, number: int, ticket: int) -> None:
        """Remember the ticket of a message of this process until it comes back."""
        if len(self._tickets) >= MOST_TICKETS:
            del self._tickets[next(iter(self._tickets))]
        self._tickets[node, number] = ticket

    def take(self, topic: str, data: bytes) -> None:
        """Take a message that has arrived over a topic's channel."""
        try:
            placed, stream = unpack_placed(data), self.streams.get(topic)
            if placed is None:
                self._take_plain(topic, data)
            elif stream is None:  # the process that has published it keeps a history, and this one does not
                self._take_plain(topic, placed.data)
            else:
                self.streams.take(stream, placed)
        except BadMessage as error:
            self.skip(topic, error)

    def _take_plain(self, topic: str, data: bytes) -> None:
        node = get_node(data)
        if node in self._nodes:
            return
        if len(data) > 1 and data[0] == VERSION and data[1] & MEMBER:
            self._receiver.register.receive_stay(topic, unpack_stay(data))
            return
        parcel = unpack_message(data)
        if parcel.number <= self._numbers.get(node, 0):
            self.repeated += 1
            return
        if node not in self._numbers and len(self._numbers) >= MOST_NODES:
            del self._numbers[next(iter(self._numbers))]
        self._numbers[node] = parcel.number
        self.received += 1
        self._receiver.receive(topic, parcel.message, parcel.key)

    def confirm(self, topic: str, missed: bool) -> None:
        """Note that Redis has confirmed the subscription to a topic: see `channels.Owner`."""
        self._receiver.register.confirmed(topic)
        stream = self.streams.get(topic)
        if stream is not None:
            self.streams.read(stream)
        elif missed:
            self.gaps += 1
            self._receiver.lost(topic)

    # Called by streams

    def deliver(self, stream: Stream, parcel: Parcel) -> None:
        """Deliver the message at a stream's position."""
        assert stream.position is not None
        self.received += 1
        ticket = self._tickets.pop((parcel.node, parcel.number), None)
        self._receiver.receive_at(stream.topic, stream.position, parcel.message, parcel.key, ticket)

    def fill(self, topic: str, position: Position, messages: list[tuple[float, PreparedMessage]]) -> None:
        """Pass on what a stream has, up to a position."""
        self._receiver.fill(topic, position, messages)

    def skip(self, topic: str, error: BadMessage) -> None:
        """Count a message that is not in the known format, and log the first one."""
        self.skipped += 1
        if not self._has_told:
            self._has_told = True
            name, why = quoted(topic), str(error)
            self._log.tell(
                logging.WARNING, "a message to topic %s was skipped: %s; further ones are only counted", name, why
            )
