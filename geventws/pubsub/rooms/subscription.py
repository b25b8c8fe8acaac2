"""What a client of rooms keeps from one connection to the next: its subscriptions, and the events not taken yet."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gevent.event import Event

from .messages import Gap, Join, Leave, RoomMessage, Subscribe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...exceptions import RoomsError
    from .messages import Event as RoomEvent
    from .messages import Subscribed

ENOUGH = 4 * 1024 * 1024
"""Bytes in the inbox beyond which the client stops reading from the connection."""

TOO_MUCH = 4 * ENOUGH
"""Bytes beyond which it closes the connection. The inbox grows so far only while a request waits for its answer."""

COST = 200
"""Bytes that an item takes besides its data."""


class Subscription:
    """A subscription to a topic.

    Args:
        topic: see below.
        since: the position to begin after; "" for all that the server has, None for what comes from now on.
        presence: whether to see the members.

    Attributes:
        topic: the topic.
        members: the members and their infos.
    """

    def __init__(self, topic: str, since: str | None, presence: bool) -> None:
        self.topic: str = topic
        self.members: dict[str, Any] = {}
        self._position = since  # the position to resume from
        self._presence = presence
        self._confirmed = False  # whether the server has ever confirmed it

    def request(self, number: int) -> Subscribe:
        """Return the request that subscribes, for the first time or again."""
        return Subscribe(number, self.topic, self._position, self._presence)

    def note(self, event: RoomEvent) -> None:
        """Update the position, or the members, after an event."""
        if isinstance(event, (RoomMessage, Gap)) and event.position is not None:
            self._position = event.position
        elif isinstance(event, Join):
            self.members[event.member] = event.info
        elif isinstance(event, Leave):
            self.members.pop(event.member, None)

    def confirm(self, answer: Subscribed) -> list[RoomEvent]:
        """Take the server's confirmation, the first one or a later one; return the events that happened meanwhile."""
        again, self._confirmed = self._confirmed, True
        self._position = answer.position
        now = {one.member: one.info for one in answer.members or ()}
        before, self.members = self.members, now
        if not again:
            return []
        events: list[RoomEvent] = [Gap(self.topic)] if answer.position is None else []
        events += [Leave(self.topic, member) for member in before if member not in now]
        events += [Join(self.topic, *one) for one in now.items() if one not in before.items()]
        return events


class Inbox:
    """The events that nobody has taken yet, the oldest first: each with its subscription, or an error without one."""

    def __init__(self) -> None:
        self._items: deque[tuple[Subscription | None, RoomEvent | RoomsError]] = deque()  # the oldest first
        self._size = 0  # bytes that they take
        self._hurried = 0  # how many requests wait for an answer, so that reading must go on
        self._ended = False  # whether no further item will come
        self._came = Event()  # set if there is an item, or none will come
        self._left = Event()  # set if there may be room

    def put(self, subscription: Subscription | None, happened: RoomEvent | RoomsError) -> None:
        """Add an item. Does not block."""
        self._items.append((subscription, happened))
        self._size += measure(happened)
        self._came.set()

    def take(self, timeout: float | None) -> tuple[Subscription | None, Any] | None:
        """Return the oldest item; None once no further one will come. Blocks until then, or raises TimeoutError."""
        while not self._items:
            if self._ended:
                return None
            self._came.clear()
            if not self._came.wait(timeout):
                raise TimeoutError("no message arrived in time")
        taken = self._items.popleft()
        self._size -= measure(taken[1])
        self._left.set()
        return taken

    def wait_for_room(self) -> None:
        """Block while the inbox is full, unless a request waits for its answer."""
        while self._size > ENOUGH and not self._hurried:
            self._left.clear()
            self._left.wait()

    def has_room(self) -> bool:
        """Block as `wait_for_room` does; return False if the inbox is far too full."""
        self.wait_for_room()
        return self._size <= TOO_MUCH

    @contextmanager
    def hurry(self) -> Iterator[None]:
        """Keep the connection being read within this block, even if the inbox is full."""
        self._hurried += 1
        self._left.set()
        try:
            yield
        finally:
            self._hurried -= 1

    def end(self) -> None:
        """Note that no further item will come."""
        self._ended = True
        self._came.set()


def measure(happened: RoomEvent | RoomsError) -> int:
    """Return roughly how many bytes an item takes."""
    return COST + (len(happened.data) if isinstance(happened, RoomMessage) else 0)
