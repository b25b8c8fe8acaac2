"""Presence: which members are in a topic, so that others see who is there.

    Members     who is where, by what connection, on a clock that is given
    Presence    the same for the loops of one process: it tells of joins and leaves

A member is a name that the application gives: a user's, say, who may have several connections. It joins with the first
of them, and leaves with the last: some seconds after that has ended, should it come back by then.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..engine.loop.forks import register
from ..engine.loop.poller import get_poller, get_thread
from ..protocol.json import decode, encode
from .branches.branch import call_out
from .interface import JOIN, LEAVE, Event

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from ..engine.loop.poller import Poller
    from ..engine.published.outlet import Outlet
    from .branches.loops import Branches

MOST_LENGTH = 256
"""Characters of a member's name."""

MOST_INFO = 4096
"""Bytes of what is told of a member, as JSON."""


class Change(NamedTuple):
    """What is to be told of a topic."""

    topic: str
    event: Event


class _Member:
    """A member of one topic: what is told of it, its connections, and when it leaves if it has none."""

    __slots__ = ("connections", "info", "until")

    def __init__(self) -> None:
        self.info: Any = None
        self.connections: set[Hashable] = set()
        self.until: float | None = None


class Members:
    """Who is where. No I/O.

    Args:
        clock: returns the seconds since some moment.
        grace: how many seconds a member stays whose last connection has ended.
        max_topics: in how many topics one connection may be.
    """

    def __init__(self, clock: Callable[[], float], grace: float, max_topics: int) -> None:
        self._clock = clock
        self._grace = grace
        self._max_topics = max_topics
        self._topics: dict[str, dict[str, _Member]] = {}
        self._connections: dict[Hashable, dict[str, str]] = {}  # the members that they are, by topic
        self._leaving: deque[tuple[float, str, str]] = deque()  # whom to look at, and when; the first in time first

    def clear(self) -> None:
        """Forget everybody."""
        self._topics.clear()
        self._connections.clear()
        self._leaving.clear()

    @property
    def due(self) -> float | None:
        """In how many seconds `expire` has something to do; None if never."""
        return max(self._leaving[0][0] - self._clock(), 0.0) if self._leaving else None

    def find(self, topic: str) -> dict[str, Any]:
        """Return the members of a topic, in the order in which they joined, and what is told of them."""
        now = self._clock()
        members = self._topics.get(topic, {}).items()
        return {name: member.info for name, member in members if member.until is None or member.until > now}

    def is_member(self, connection: Hashable, topic: str) -> bool:
        """Whether a connection is a member's."""
        return topic in self._connections.get(connection, ())

    def track(self, connection: Hashable, topic: str, name: str, info: Any) -> list[Change]:
        """Note that a connection is a member's; return what is to be told.

        Raises:
            ValueError: it is in as many topics as it may.
        """
        topics = self._connections.get(connection, {})
        changes = []
        if topics.get(topic, name) != name:
            changes = self.untrack(connection, topic)
        elif topic not in topics and len(topics) >= self._max_topics:
            raise ValueError(f"a connection may be in {self._max_topics} topics (max_topics)")
        self._connections.setdefault(connection, topics)[topic] = name
        members = self._topics.setdefault(topic, {})
        is_new = name not in members
        member = members.setdefault(name, _Member())
        if is_new or member.info != info:
            changes.append(Change(topic, Event(JOIN, None, name, info)))
        member.info, member.until = info, None
        member.connections.add(connection)
        return changes

    def untrack(self, connection: Hashable, topic: str) -> list[Change]:
        """Note that a connection is no member of a topic any more, for good; return what is to be told."""
        name = self._forget(connection, topic)
        if name is None or self._topics[topic][name].connections:
            return []
        return [self._remove(topic, name)]

    def leave(self, connection: Hashable) -> None:
        """Note that a connection has ended: it may come back."""
        for topic in list(self._connections.get(connection, ())):
            self.release(connection, topic)

    def release(self, connection: Hashable, topic: str) -> None:
        """Note that a connection is no member of a topic any more, but may be again soon."""
        name = self._forget(connection, topic)
        member = self._topics[topic][name] if name is not None else None
        if name is not None and member is not None and not member.connections:
            member.until = self._clock() + self._grace
            self._leaving.append((member.until, topic, name))

    def expire(self) -> list[Change]:
        """Remove those who have not come back; return what is to be told."""
        now, changes = self._clock(), []
        while self._leaving and self._leaving[0][0] <= now:
            _, topic, name = self._leaving.popleft()
            member = self._topics.get(topic, {}).get(name)
            if member is not None and member.until is not None and member.until <= now:
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
        members = self._topics[topic]
        member = members.pop(name)
        if not members:
            del self._topics[topic]
        return Change(topic, Event(LEAVE, None, name, member.info))


class Owner(Protocol):
    """The PubSub."""

    def tell_presence(self, topic: str, event: Event) -> None:
        """Tell the application."""


class Locked(Protocol):
    """Who has the lock of a PubSub.

    Attributes:
        lock: the lock; another one in a forked child.
    """

    lock: Any


class Presence:
    """The members of one PubSub's topics. Any thread may call it.

    Args:
        store: whose lock it takes.
        branches: the subscribers, who hear of it.
        owner: the PubSub.
        grace: see `Members`.
        max_topics: see `Members`.

    Attributes:
        loop: None: it belongs to no loop.
    """

    def __init__(self, store: Locked, branches: Branches, owner: Owner, grace: float, max_topics: int) -> None:
        self.loop: Any = None
        self._store = store
        self._branches = branches
        self._owner = owner
        self._members = Members(time.monotonic, grace, max_topics)  # who is where
        self._waking: Poller | None = None  # whose loop has a timer for those who leave
        self._timer: Any = None  # that one
        register(self)

    def forked(self) -> None:
        """Forget everybody, in a forked child: they are the parent's."""
        self._members.clear()
        self._waking = self._timer = None

    def find(self, topic: str) -> dict[str, Any]:
        """Return the members of a topic, and what is told of them."""
        with self._store.lock:
            return self._members.find(topic)

    def track(self, outlet: Outlet, topic: str, name: str, info: Any) -> None:
        """Note that a connection is a member's."""
        copy = _check_member(name, info)
        with self._store.lock:
            changes = self._members.track(outlet, topic, name, copy)
            outlet.join(self)
            self._tell(changes)

    def untrack(self, outlet: Outlet, topic: str, at_once: bool) -> bool:
        """Note that a connection is no member of a topic any more; return whether it was one."""
        with self._store.lock:
            is_member = self._members.is_member(outlet, topic)
            if at_once:
                self._tell(self._members.untrack(outlet, topic))
            else:
                self._members.release(outlet, topic)
                self._wake_later()
        return is_member

    def leave(self, outlet: Outlet) -> None:
        """Note that a connection has ended. Called in the hub, too; never raises."""
        if outlet.connection.stream.poller.closed:
            return  # a forked child has forgotten everybody
        with self._store.lock:
            self._members.leave(outlet)
            self._wake_later()

    def _wake_later(self) -> None:
        """Have this thread's loop see to those who leave, unless another does."""
        due = self._members.due
        if due is not None and (self._waking is None or self._waking.closed):
            self._waking = get_poller()
            self._timer = self._waking.clock.timer(due)
            self._timer.start(self._expire)

    def _expire(self) -> None:
        with self._store.lock:
            poller, self._waking, self._timer = get_poller(), None, None
            try:
                self._tell(self._members.expire())
            except BaseException:  # as for want of memory
                poller.report(None)
            self._wake_later()

    def _tell(self, changes: list[Change]) -> None:
        """Tell of changes, in their order."""
        thread = get_thread()
        for change in changes:
            for branch in self._branches.all():
                is_here = branch.poller.thread == thread
                (branch.tell if is_here else branch.tell_later)(change.topic, change.event)
            call_out(get_poller(), self._owner.tell_presence, *change)


def _check_member(name: str, info: Any) -> Any:
    """Return a copy of what is told of a member, as JSON has it.

    Raises:
        TypeError: the name is no `str`, or the info no JSON.
        ValueError: either is too long, or the info no JSON.
    """
    if not isinstance(name, str):
        raise TypeError(f"a member is str, not {type(name).__name__}")
    if not 0 < len(name) <= MOST_LENGTH:
        raise ValueError(f"a member has 1 to {MOST_LENGTH} characters, not {len(name)}")
    if info is None:
        return None
    text = encode(info)
    size = len(text.encode())
    if size > MOST_INFO:
        raise ValueError(f"what is told of a member takes {MOST_INFO} bytes of JSON at the most, not {size}")
    return decode(text)
