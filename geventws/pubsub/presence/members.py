"""Members: who is in which topic in this process, by which connections. No I/O, and no clock but the one passed in.

A member is a name that the application gives: a user's, say, who may have several connections. The member joins a topic
with its first connection there. It leaves some seconds after the last has ended, unless a new one comes by then.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from ..interface import JOIN, LEAVE, Event

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator


class Change(NamedTuple):
    """An event of a topic that subscribers and the application are to hear of."""

    topic: str
    event: Event


class _Member:
    """A member of one topic: its info, and its connections."""

    __slots__ = ("connections", "info")

    def __init__(self) -> None:
        self.info: Any = None
        self.connections: set[Hashable] = set()


class Members:
    """The members of all topics in this process.

    Args:
        clock: returns the seconds since some moment.
        grace: the seconds that a member stays after its last connection has ended.
        max_topics: how many topics one connection may be in.
    """

    def __init__(self, clock: Callable[[], float], grace: float, max_topics: int) -> None:
        self._clock = clock
        self._grace = grace
        self._max_topics = max_topics
        self._topics: dict[str, dict[str, _Member]] = {}  # by topic and name
        self._connections: dict[Hashable, dict[str, str]] = {}  # by connection and topic, the member's name
        # topics and names of members without a connection, and when they leave, the next one first
        self._leaving: dict[tuple[str, str], float] = {}

    def clear(self) -> None:
        """Forget everybody."""
        self._topics.clear()
        self._connections.clear()
        self._leaving.clear()

    @property
    def due(self) -> float | None:
        """The seconds until `expire` has something to do; None if nobody is leaving."""
        until = next(iter(self._leaving.values()), None)
        return max(until - self._clock(), 0.0) if until is not None else None

    def __len__(self) -> int:
        return sum(map(len, self._topics.values()))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yield the topic and the name of each member."""
        return iter([(topic, name) for topic, members in self._topics.items() for name in members])

    def find_info(self, topic: str, name: str) -> tuple[Any, bool]:
        """Return a member's info, and whether it is in the topic."""
        member = self._topics.get(topic, {}).get(name)
        return (member.info, True) if member is not None else (None, False)

    def find(self, topic: str) -> dict[str, Any]:
        """Return the members of a topic and their infos, in the order in which they joined."""
        now, leaving = self._clock(), self._leaving
        members = self._topics.get(topic, {}).items()
        return {name: member.info for name, member in members if leaving.get((topic, name), inf) > now}

    def is_member(self, connection: Hashable, topic: str) -> bool:
        """Return whether a connection is a member's in a topic."""
        return topic in self._connections.get(connection, ())

    def track(self, connection: Hashable, topic: str, name: str, info: Any) -> list[Change]:
        """Note that a connection is a member's; return what has changed.

        Raises:
            ValueError: the connection is in too many topics.
        """
        topics = self._connections.get(connection, {})
        changes = []
        if topics.get(topic, name) != name:
            changes = self.untrack(connection, topic)
        elif topic not in topics and len(topics) >= self._max_topics:
            raise ValueError(f"a connection may be in at most {self._max_topics} topics (max_topics)")
        self._connections.setdefault(connection, topics)[topic] = name
        members = self._topics.setdefault(topic, {})
        is_new = name not in members
        member = members.setdefault(name, _Member())
        if is_new or member.info != info:
            changes.append(Change(topic, Event(JOIN, None, name, info)))
        member.info = info
        self._leaving.pop((topic, name), None)
        member.connections.add(connection)
        return changes

    def untrack(self, connection: Hashable, topic: str) -> list[Change]:
        """Note that a connection is no longer a member's in a topic, for good; return what has changed."""
        name = self._forget(connection, topic)
        if name is None or self._topics[topic][name].connections:
            return []
        return [self._remove(topic, name)]

    def leave(self, connection: Hashable) -> None:
        """Note that a connection has ended. Its members leave later, unless they come back."""
        for topic in list(self._connections.get(connection, ())):
            self.release(connection, topic)

    def release(self, connection: Hashable, topic: str) -> None:
        """Note that a connection is no longer a member's in a topic. The member leaves later, unless it comes back."""
        name = self._forget(connection, topic)
        member = self._topics[topic][name] if name is not None else None
        if name is not None and member is not None and not member.connections:
            self._leaving[topic, name] = self._clock() + self._grace

    def expire(self) -> list[Change]:
        """Remove the members that have not come back in time; return what has changed."""
        now, changes = self._clock(), []
        for (topic, name), until in list(self._leaving.items()):
            if until > now:
                break
            changes.append(self._remove(topic, name))
        return changes

    def _forget(self, connection: Hashable, topic: str) -> str | None:
        topics = self._connections.get(connection, {})
        name = topics.pop(topic, None)
        if name is not None:
            self._topics[topic][name].connections.discard(connection)
            if not topics:
                del self._connections[connection]
        return name

    def _remove(self, topic: str, name: str) -> Change:
        self._leaving.pop((topic, name), None)
        members = self._topics[topic]
        member = members.pop(name)
        if not members:
            del self._topics[topic]
        return Change(topic, Event(LEAVE, None, name, member.info))
