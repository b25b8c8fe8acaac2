"""What native threads publish to a loop that is not theirs, until the loop takes it in its next round. No I/O.

It is bounded. What finds no room is dropped, and counted; that there is a gap is noted.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from gevent.monkey import get_original

from ...engine.published.deliveries import Tally
from ...protocol.prepared import PreparedMessage
from ..interface import Event

if TYPE_CHECKING:
    from collections.abc import Hashable

    from ..history import Position

allocate_lock: Any = get_original("_thread", "allocate_lock")

MOST_WAITING = 10_000
"""Messages of native threads that wait for one loop at the most; further ones are dropped, and counted as that."""

MOST_WAITING_BYTES = 16 * 1024 * 1024
"""Bytes of such messages past which no further one is taken."""


class Item(NamedTuple):
    """A message that waits, or an event: what `Branch.publish` wants to know, or `Branch.tell`."""

    topic: str
    message: PreparedMessage | Event
    exclude: Any
    key: Hashable
    position: Position | None

    @property
    def size(self) -> int:
        """The bytes that it takes, besides what any takes."""
        return len(self.message.payload) if isinstance(self.message, PreparedMessage) else 0


class Waiting:
    """What waits for one loop. Any thread may call everything."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()  # the oldest first
        self._size = 0  # bytes of their messages
        self._overflow = Tally()  # what was published for nothing, as too much waits
        self._gaps: dict[str, Position | None] = {}  # the last position of that, by topic; None where nothing is kept
        self._lock = allocate_lock()  # of these four

    def __len__(self) -> int:
        return len(self._items)

    @property
    def overflow(self) -> Tally:
        """What was published for nothing, as too much waits."""
        total = Tally()
        with self._lock:
            total.add(self._overflow)
        return total

    def put(self, item: Item, count: int) -> bool | None:
        """Have a message wait that is for `count` subscribers.

        Returns:
            Whether it is the only one, so that the loop has to be told; None where it is dropped.
        """
        with self._lock:
            if len(self._items) >= MOST_WAITING or self._size > MOST_WAITING_BYTES:
                self._overflow.published += count
                self._overflow.dropped += count
                if item.position is not None or isinstance(item.message, Event):
                    self._gaps[item.topic] = item.position
                return None
            self._items.append(item)
            self._size += item.size
            return len(self._items) == 1

    def take(self) -> Item:
        """Return the oldest, which waits no more. There has to be one."""
        with self._lock:
            item = self._items.popleft()
            self._size -= item.size
            return item

    def find(self, topic: str, until: Position | None = None) -> list[Item]:
        """Return what waits of a topic whose history is kept, up to a position, or all of it."""
        with self._lock:
            items = [(item, item.position) for item in self._items if item.topic == topic]
        return [item for item, at in items if at is not None and (until is None or not at.is_after(until))]

    def take_gaps(self) -> dict[str, Position | None]:
        """Return the last positions of what was dropped, by topic, once."""
        with self._lock:
            gaps, self._gaps = self._gaps, {}
            return gaps

    def clear(self) -> None:
        """Forget everything, in a forked child, in which no other thread runs; but one may have held the lock."""
        self._items.clear()
        self._gaps.clear()
        self._size, self._overflow, self._lock = 0, Tally(), allocate_lock()
