"""Messages that were published to one connection and wait until it takes more: how many may wait, and what is dropped.

    Tally       counts what became of the messages of one publisher
    Delivery    one message on its way to one connection
    Queue       the deliveries that wait for one connection, from all publishers

Nothing here does I/O, and nothing blocks. The bytes wait in the stream's backlog, in order with those of `send`; the
queue knows which of them may be dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

CLOSE, DROP_NEWEST, DROP_OLDEST, LATEST = "close", "drop_newest", "drop_oldest", "latest"
POLICIES = (CLOSE, DROP_NEWEST, DROP_OLDEST, LATEST)
"""What happens to a message for which the queue has no room: see `PubSub.subscribe`."""

MAKES_ROOM = (DROP_OLDEST, LATEST)
"""Policies under which a new message may displace older ones."""


class Limits(NamedTuple):
    """How much may wait for one connection, besides what the kernel holds."""

    max_bytes: int = 64 * 1024
    max_messages: int = 256


class Tally:
    """What became of messages. Each counts once for each connection that it was sent to.

    published = sent + queued + dropped + abandoned, at every moment.

    Attributes:
        published: all messages.
        sent: messages that the kernel has accepted whole.
        queued: messages that wait for the kernel.
        dropped: messages for which there was no room, or that were dropped to make room for others.
        abandoned: messages whose connection ended before they were sent.
    """

    __slots__ = ("abandoned", "dropped", "published", "queued", "sent")

    def __init__(self) -> None:
        self.published: int = 0
        self.sent: int = 0
        self.queued: int = 0
        self.dropped: int = 0
        self.abandoned: int = 0

    def add(self, other: Tally) -> None:
        """Add the counts of another tally."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Delivery:
    """One message on its way to one connection. Its tally counts it as queued.

    Attributes:
        rest: the bytes of its frame that are left to send.
        size: the bytes of the whole frame.
        queue: the queue in which it waits, or None.
        tally: where it is counted.
        policy: what happens if the queue has no room for it.
        key: with the policy LATEST, it replaces a waiting delivery with the same key; None replaces none.
        begun: whether a part was sent, so that the rest has to follow.
    """

    __slots__ = ("begun", "key", "policy", "queue", "rest", "size", "tally")

    def __init__(self, frame: bytes, tally: Tally, policy: str, key: Hashable) -> None:
        self.set_frame(frame)
        self.queue: Queue | None = None
        self.tally: Tally = tally
        self.policy: str = policy
        self.key: Hashable | None = key if policy == LATEST else None
        self.begun: bool = False

    def __len__(self) -> int:
        return len(self.rest)

    def set_frame(self, frame: bytes) -> None:
        """Set the frame, before any of it is sent."""
        self.rest: bytes | memoryview = frame
        self.size: int = len(frame)

    def advance(self, sent: int) -> None:
        """Note that it has begun, and that so many more bytes were sent, but not all; 0 if TLS wants them again."""
        self.begun = True
        self.rest = memoryview(self.rest)[sent:]

    def finish(self) -> None:
        """Count it as sent."""
        self._leave()
        self.tally.sent += 1

    def drop(self) -> None:
        """Count it as dropped."""
        self._leave()
        self.tally.dropped += 1

    def abandon(self) -> None:
        """Count it as abandoned: its connection has ended."""
        self._leave()
        self.tally.abandoned += 1

    def _leave(self) -> None:
        self.tally.queued -= 1
        if self.queue is not None:
            self.queue.remove(self)


class Queue:
    """The deliveries that wait for one connection, the oldest first.

    Attributes:
        size: the bytes of their frames.
    """

    __slots__ = ("_latest", "_waiting", "size")

    def __init__(self) -> None:
        self.size: int = 0
        self._waiting: dict[Delivery, None] = {}  # in the order in which they go out
        self._latest: dict[Hashable, Delivery] = {}  # the deliveries with a key, by key

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Delivery]:
        return iter(self._waiting)

    def make_room(self, new: Delivery, limits: Limits) -> list[Delivery]:
        """Drop deliveries to make room for a new one, and return them. `fits` tells whether there is room then."""
        dropped = []
        for old in self._find_victims(new, limits):
            old.drop()
            dropped.append(old)
        return dropped

    def _find_victims(self, new: Delivery, limits: Limits) -> Iterator[Delivery]:
        """Yield deliveries to drop, one after the other, until there is enough room."""
        former = self._latest.get(new.key)
        if former is not None and not former.begun:
            yield former
        if new.policy in MAKES_ROOM:
            for old in list(self._waiting):
                if self.fits(new, limits):
                    return
                if old.policy in MAKES_ROOM and not old.begun:
                    yield old

    def fits(self, new: Delivery, limits: Limits) -> bool:
        """Whether there is room for a delivery. In an empty queue there always is, however large it is."""
        waiting = self._waiting
        return not waiting or (len(waiting) < limits.max_messages and self.size + new.size <= limits.max_bytes)

    def append(self, delivery: Delivery) -> None:
        """Add a delivery at the end."""
        self._waiting[delivery] = None
        delivery.queue = self
        self.size += delivery.size
        if delivery.key is not None:
            self._latest[delivery.key] = delivery

    def remove(self, delivery: Delivery) -> None:
        """Take a delivery out: it was sent, or will not be."""
        del self._waiting[delivery]
        delivery.queue = None
        self.size -= delivery.size
        if delivery.key is not None and self._latest.get(delivery.key) is delivery:
            del self._latest[delivery.key]
