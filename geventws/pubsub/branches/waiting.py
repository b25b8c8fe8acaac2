"""What native threads publish to another thread's loop, until the loop takes it in its next round. No I/O.

The queue is bounded. A message that it has no room for is dropped and counted, and a gap is noted.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from gevent.monkey import get_original

from ...engine.published.deliveries import Tally
from ...protocol.prepared import PreparedMessage
from ..interface import Event

if TYPE_CHECKING:
    from collections.abc import Hashable

    from ..history import Position

RLock: Any = get_original("_thread", "RLock")

MOST_WAITING = 10_000
"""Messages of native threads that may wait for one loop; further ones are dropped, and counted as dropped."""

MOST_WAITING_BYTES = 16 * 1024 * 1024
"""Bytes of such messages; once more wait, further ones are dropped."""


class Item(NamedTuple):
    """A message or an event that waits, with the arguments of `Branch.publish` or `Branch.tell`."""

    topic: str
    message: PreparedMessage | Event
    exclude: Any
    key: Hashable
    position: Position | None

    @property
    def size(self) -> int:
        """The bytes of its payload; 0 for an event."""
        return len(self.message.payload) if isinstance(self.message, PreparedMessage) else 0


class Waiting:
    """What waits for one loop. Any thread may call any method."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()  # the oldest first
        self._size = 0  # bytes of their messages
        self._overflow = Tally()  # messages dropped because too much waited
        self._gaps: dict[str, Position | None] = {}  # by topic, the last position dropped; None without history
        self._lock = RLock()  # protects these four; the garbage collector may call here while it is held

    def __len__(self) -> int:
        return len(self._items)

    @property
    def overflow(self) -> Tally:
        """The counts of messages dropped because too much waited."""
        total = Tally()
        with self._lock:
            total.add(self._overflow)
        return total

    def put(self, item: Item, count: int) -> bool | None:
        """Add an item for `count` subscribers.

        Returns:
            True if it is the only one, so that the loop has to be told; False if others wait; None if it is dropped.
        """
        size = item.size
        with self._lock:
            if len(self._items) >= MOST_WAITING or self._size > MOST_WAITING_BYTES:
                self._overflow.published += count
                self._overflow.dropped += count
                if item.position is not None or isinstance(item.message, Event):
                    self._gaps[item.topic] = item.position
                return None
            self._items.append(item)
            self._size += size
            return len(self._items) == 1

    def take(self) -> Item:
        """Remove the oldest item and return it. There has to be one."""
        with self._lock:
            item = self._items.popleft()
            size = item.size
            self._size -= size
            return item

    def take_of(self, topic: str, until: Position | None = None) -> list[Item]:
        """Remove the items that wait for a topic with history, up to a position or all, and return them."""
        taken: list[Item] = []
        with self._lock:
            items = tuple(self._items)
            if any([item.topic == topic for item in items]):
                left: deque[Item] = deque()
                for item in items:
                    at = item.position if item.topic == topic else None
                    (taken if at is not None and (until is None or not at.is_after(until)) else left).append(item)
                left.extend(islice(self._items, len(items), None))  # what a finalizer has added meanwhile
                self._items = left
                size = sum([item.size for item in taken])
                self._size -= size
        return taken

    def take_gaps(self) -> dict[str, Position | None]:
        """Return the positions of the last messages dropped, by topic, and forget them."""
        with self._lock:
            gaps, self._gaps = self._gaps, {}
            return gaps

    def clear(self) -> None:
        """Forget everything, in a forked child. The lock is new: a thread that no longer runs may have held the old."""
        self._items.clear()
        self._gaps.clear()
        self._size, self._overflow, self._lock = 0, Tally(), RLock()
