"""Channels: the Redis channels that a process is subscribed to, and what it receives over them.

There is one connection for all topics. The process subscribes to a topic's channel when the topic has its first local
subscriber, and unsubscribes some seconds after the last has left, so that clients that reload a page cause no traffic.
Many channels at once are subscribed in batches: the next batch follows when most of the last are confirmed.

A connection may seem healthy and yet be deaf: it answers pings, but receives no messages, as after a failover hidden by
a proxy. So when no message has arrived for a while, the process publishes a probe to a channel of its own.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from .link import Link
from .wire.resp import Refusal, pack

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...engine.loop.poller import Poller
    from .connection import Address

BATCH = 500
"""Channels in one command."""

LINGER = 5.0
"""Seconds for which a channel stays subscribed after the last local subscriber has left."""

PROBE_INTERVAL = 30.0
"""Seconds without a message after which a probe is published."""

PROBE_TIMEOUT = 10.0
"""Seconds that a probe may take to arrive."""

PING = pack(b"PING")


class Owner(Protocol):
    """The core. None of these blocks."""

    def link_up(self) -> None:
        """Note that a link is connected, and that Redis has confirmed the first channel."""

    def link_down(self, error: Exception) -> None:
        """Note that a link is lost, or that an attempt to connect has failed."""

    def take(self, topic: str, data: bytes) -> None:
        """Take a message of a topic."""

    def confirm(self, topic: str, missed: bool) -> None:
        """Note that Redis has confirmed the subscription to a topic.

        Args:
            topic: the topic.
            missed: whether messages may have been missed: it had subscribers while there was no connection.
        """

    def leave(self, topic: str) -> None:
        """Note that a topic's channel is no longer subscribed."""

    def send_probe(self) -> None:
        """Publish something to this process's own channel."""


class Channels:
    """The channels of one process.

    Args:
        address: where Redis is.
        poller: the loop's.
        owner: takes what is received.
        channel: returns the channel of a topic.
        own: the process's own channel.

    Attributes:
        link: the connection for channels.
    """

    def __init__(
        self, address: Address, poller: Poller, owner: Owner, channel: Callable[[str], bytes], own: bytes
    ) -> None:
        self.link: Link = Link(address, poller, self)
        self._poller = poller
        self._now = poller.clock.monotonic  # returns the time in seconds
        self._owner = owner
        self._channel = channel
        self._own = own
        self._topics: dict[bytes, str] = {}  # by channel: the topics that are, or are to be, subscribed
        self._missing: set[str] = set()  # topics of which messages may be missed until they are confirmed
        self._is_broken = False  # whether the connection was lost, or could not be opened, and is not back yet
        self._leaving: dict[str, float] = {}  # topics without subscribers, and the times when the last left
        self._joining: deque[bytes] = deque()  # channels that wait to be subscribed
        self._unconfirmed = 0  # channels in commands that Redis has not confirmed
        self._will_join = False  # whether `_join` is scheduled for the end of the turn
        self._received = 0.0  # when the last message arrived
        self._probed = 0.0  # when the last probe was published

    # Topics

    def watch(self, topic: str, missed: bool = False) -> bool:
        """Subscribe to a topic. Return True if it still is subscribed, so that no confirmation follows.

        Args:
            topic: the topic.
            missed: whether messages may have been missed already.
        """
        if self._leaving.pop(topic, None) is not None:
            return self.link.up
        channel = self._channel(topic)
        self._topics[channel] = topic
        if self.link.up:
            self._joining.append(channel)
            if not self._will_join:
                self._will_join = True
                self._poller.later(self._join)
        if missed or (self._is_broken and not self.link.up):
            self._missing.add(topic)
        return False

    def unwatch(self, topic: str) -> None:
        """Leave a topic some time later."""
        self._leaving[topic] = self._now()

    def check(self) -> None:
        """Unsubscribe what is due, and probe a connection that may be deaf. To be called about once a second."""
        now = self._now()
        self._leave(now - LINGER)
        if not self.link.up or now - self._received < PROBE_INTERVAL:
            return
        if self._probed <= self._received:
            self._probed = now
            self._owner.send_probe()
        elif now - self._probed >= PROBE_TIMEOUT:
            self.link.abort("Redis does not deliver what is published")

    def _leave(self, limit: float) -> None:
        due = [topic for topic, since in self._leaving.items() if since <= limit]
        for topic in due:
            del self._leaving[topic]
            self._missing.discard(topic)
            self._owner.leave(topic)
        channels = [self._channel(topic) for topic in due]
        for channel in channels:
            del self._topics[channel]
        for start in range(0, len(channels), BATCH):
            self.link.send(pack(b"UNSUBSCRIBE", *channels[start : start + BATCH]))

    def _join(self) -> None:
        """Subscribe to the next batch, unless many are not confirmed yet."""
        self._will_join = False
        if self._unconfirmed >= BATCH:
            return
        batch = [self._joining.popleft() for _ in range(min(BATCH, len(self._joining)))]
        wanted = [channel for channel in batch if channel in self._topics or channel == self._own]
        if wanted:
            self._unconfirmed += len(wanted)
            self.link.send(pack(b"SUBSCRIBE", *wanted))

    # The link

    def connected(self) -> None:
        """Subscribe to all channels."""
        self._received = self._probed = self._now()
        self._unconfirmed = 0
        self._is_broken = False
        self._joining = deque([self._own, *self._topics])
        self._join()

    def receive(self, reply: Any) -> None:
        """Take a reply, or a message."""
        if isinstance(reply, Refusal):  # no permission to subscribe, say
            self.link.abort(str(reply))
        elif reply[0] == b"message":
            self._received = self._now()
            topic = self._topics.get(reply[1])
            if topic is not None:
                self._owner.take(topic, reply[2])
        elif reply[0] == b"subscribe":
            self._confirm(reply[1])

    def _confirm(self, channel: bytes) -> None:
        self._unconfirmed -= 1
        if channel == self._own:  # the first: this user may subscribe
            self._owner.link_up()
        topic = self._topics.get(channel)
        if topic is not None:
            missed = topic in self._missing
            self._missing.discard(topic)
            self._owner.confirm(topic, missed)
        if self._joining and self._unconfirmed < BATCH:
            self._join()

    def ping(self) -> None:
        """Ask Redis for a sign of life."""
        self.link.send(PING)

    def lost(self, error: Exception) -> None:
        """Note that messages may be missed until the next connection is there."""
        self._joining.clear()
        self._miss()
        self._owner.link_down(error)

    def failed(self, error: Exception) -> None:
        """Note that Redis cannot be reached."""
        self._miss()
        self._owner.link_down(error)

    def _miss(self) -> None:
        if not self._is_broken:
            self._is_broken = True
            self._missing.update(self._topics.values())
