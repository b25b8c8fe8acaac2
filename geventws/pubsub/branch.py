"""Branch: the subscribers of a PubSub that belong to one loop, and what is published to them there.

    A publication is one message for all members of one group: one frame in the loop's outbox, and one count. Only what
    the kernel refuses becomes a `Delivery` of its own.

A native thread that publishes leaves the message with each branch, whose loop takes it in its next round.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from gevent.monkey import get_original

from ..engine.loop.forks import register
from ..engine.published.deliveries import Delivery, Limits, Tally
from .topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from ..engine.loop.poller import Poller
    from ..engine.published.outlet import Outlet
    from ..protocol.prepared import PreparedMessage
    from .topics import Group, Seat

allocate_lock: Any = get_original("_thread", "allocate_lock")

MOST_WAITING = 10_000
"""Messages of native threads that wait for one loop at the most; further ones are dropped, and counted as that."""

MOST_WAITING_BYTES = 16 * 1024 * 1024
"""Bytes of such messages past which no further one is taken."""


class Publication:
    """One message on its way to the members of one group: what the outbox needs to know, and the counts.

    Args:
        prepared: the message.
        group: to whom.
        exclude: who does not get it, should it be a member; None for nobody.
        tally: where it is counted.
        limits: how much may wait for one of them.
        key: which others it takes the place of where the policy is `latest`.
    """

    __slots__ = ("_key", "_limits", "_prepared", "_tally", "count", "excepted", "members")

    def __init__(
        self,
        prepared: PreparedMessage,
        group: Group,
        exclude: Outlet | None,
        tally: Tally,
        limits: Limits,
        key: Hashable,
    ) -> None:
        self.members: dict[Callable[[], int], Seat] = group.members
        self.excepted: Callable[[], int] | None = None
        if exclude is not None and exclude.fileno in group.members:
            self.excepted = exclude.fileno
        self._prepared = prepared
        self._tally = tally
        self._limits = limits
        self._key = key
        self.count: int = len(group.members) - (self.excepted is not None)  # how many get it
        tally.published += self.count
        tally.queued += self.count

    def finish(self) -> None:
        """Count it as sent to all."""
        self._tally.queued -= self.count
        self._tally.sent += self.count

    def refuse(self, channel: Any, frame: bytes, error: int, sent: int) -> None:
        """Take it back from one who has not got it, and see what is to be done there."""
        self._tally.sent -= 1
        self._tally.queued += 1
        outlet: Outlet | None = channel.outlet if channel is not None else None
        seat = self.members.get(outlet.fileno) if outlet is not None else None
        if outlet is None or seat is None:  # somebody has closed its socket
            Delivery(frame, self._tally, "", None).abandon()
        else:
            delivery = Delivery(frame, self._tally, seat.policy, self._key)
            outlet.deliver(self._prepared, delivery, self._limits, error, sent)


class Owner(Protocol):
    """The PubSub."""

    def drop(self, branch: Branch) -> None:
        """Know a branch no more, but for what it has counted."""


class Branch:
    """The branch in one loop.

    Args:
        poller: the loop's.
        limits: how much may wait for one subscriber.
        max_topics: how many topics one may have.
        owner: who is told of its end.

    Attributes:
        poller: as above.
        loop: gevent's.
        tally: what became of the messages.
        topics: the subscriptions.
    """

    def __init__(self, poller: Poller, limits: Limits, max_topics: int, owner: Owner) -> None:
        self.poller = poller
        self.loop: Any = poller.loop
        self.tally: Tally = Tally()
        self.topics: Topics = Topics(max_topics)
        self._limits = limits
        self._owner = owner
        self._waiting: deque[tuple[Any, ...]] = deque()  # what native threads have published
        self._waiting_bytes = 0  # of these messages
        self._overflow = Tally()  # what they have published for nothing, as too much waits
        self._lock = allocate_lock()  # of these three, which any thread changes
        register(self)

    @property
    def closed(self) -> bool:
        """Whether there is nobody to publish to any more: the loop was destroyed, or is a parent process's."""
        return self.poller.closed

    @property
    def stats(self) -> Tally:
        """What became of all messages."""
        total = Tally()
        total.add(self.tally)
        with self._lock:
            total.add(self._overflow)
        return total

    def forked(self) -> None:
        """Forget everything, in a forked child: its connections leave by themselves."""
        self._waiting.clear()
        self._waiting_bytes = 0
        self.tally, self._overflow, self._lock = Tally(), Tally(), allocate_lock()
        self._owner.drop(self)

    # Subscriptions: whatever was published before goes to those who were there before

    def subscribe(self, outlet: Outlet, topic: str, policy: str) -> None:
        """Subscribe a connection. Raises ValueError where it has as many topics as it may."""
        self.poller.outbox.flush()
        self.topics.subscribe(outlet, topic, policy)
        outlet.join(self)

    def unsubscribe(self, outlet: Outlet, topic: str) -> bool:
        """End a subscription; return whether there was one."""
        self.poller.outbox.flush()
        return self.topics.unsubscribe(outlet, topic)

    def leave(self, outlet: Outlet) -> None:
        """End all subscriptions of a connection that is over."""
        self.poller.outbox.flush()
        self.topics.leave(outlet)

    # Publishing

    def publish(self, name: str, prepared: PreparedMessage, exclude: Outlet | None, key: Hashable) -> int:
        """Publish a message to the subscribers of a topic, in the thread of the loop; return how many there are."""
        topic = self.topics.get(name)
        if topic is None:
            return 0
        self.poller.outbox.flush_corked()
        count = 0
        for group in list(topic.groups.values()):  # who is too slow leaves at once
            publication = Publication(prepared, group, exclude, self.tally, self._limits, (name, key))
            if publication.count:
                self.poller.outbox.publish(publication, prepared.encode(group.extension))
                count += publication.count
        return count

    def publish_later(self, name: str, prepared: PreparedMessage, exclude: Outlet | None, key: Hashable) -> int:
        """Do the same from any other thread, in the loop's next round."""
        topic = self.topics.get(name)
        count = len(topic) if topic is not None else 0
        if not count:
            return 0
        with self._lock:
            if len(self._waiting) >= MOST_WAITING or self._waiting_bytes > MOST_WAITING_BYTES:
                self._overflow.published += count
                self._overflow.dropped += count
                return 0
            is_first = not self._waiting  # or else the loop knows that something waits
            self._waiting.append((name, prepared, exclude, key))
            self._waiting_bytes += len(prepared.payload)
        if is_first:
            self.loop.run_callback_threadsafe(self._publish_waiting)
        return count

    def _publish_waiting(self) -> None:
        """Publish what native threads have left, as far as the loop's turn reaches. Never raises."""
        while self._waiting:
            with self._lock:
                name, prepared, exclude, key = self._waiting.popleft()
                self._waiting_bytes -= len(prepared.payload)
            try:
                self.publish(name, prepared, exclude, key)
            except BaseException:  # as for want of memory
                self.poller.report(None)
            if self._waiting and self.poller.turns.is_over():
                self.poller.turns.later(self._publish_waiting)
                return
