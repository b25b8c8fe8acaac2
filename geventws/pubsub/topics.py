"""Who is subscribed to what, in one loop. No I/O.

    Topics    topics by name, and each subscriber's
    Topic     its subscribers, in groups
    Group     those of them who get the same bytes
    Seat      a subscriber, and what is done when it is slow

Built for many: a subscription is a place in its group's dict and one in its subscriber's list, 60 bytes together where
a connection has a hundred of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator


class Subscriber(Protocol):
    """A connection, as topics see it.

    Attributes:
        fileno: returns the descriptor of its socket: always the same object, by which it is known.
        sharing: equal for all who get the same bytes for a message; None for those who have their own.
    """

    fileno: Callable[[], int]
    sharing: Hashable

    @property
    def extension(self) -> Any:
        """What the messages of all with this `sharing` are compressed with, or None."""


class Seat(NamedTuple):
    """A subscriber and its policy."""

    subscriber: Any
    policy: str


class Group:
    """Those subscribers of a topic who get the same bytes.

    Attributes:
        extension: what messages are compressed with for all of them, or None.
        members: their seats, by the subscribers' `fileno`.
    """

    __slots__ = ("extension", "members")

    def __init__(self, extension: Any) -> None:
        self.extension: Any = extension
        self.members: dict[Callable[[], int], Seat] = {}


class Topic:
    """One topic.

    Attributes:
        name: its name.
        groups: by the `sharing` of their members; none is empty.
    """

    __slots__ = ("groups", "name")

    def __init__(self, name: str) -> None:
        self.name: str = name
        self.groups: dict[Hashable, Group] = {}

    def __len__(self) -> int:
        return sum([len(group.members) for group in self.groups.values()])

    def __iter__(self) -> Iterator[Any]:
        for group in self.groups.values():
            yield from [seat.subscriber for seat in group.members.values()]


class _Subscriptions:
    """Those of one subscriber: the topics, in their order, and its seats by policy."""

    __slots__ = ("seats", "topics")

    def __init__(self) -> None:
        self.seats: dict[str, Seat] = {}
        self.topics: list[Topic] = []


class Topics:
    """All topics of one loop that have subscribers.

    Args:
        max_topics: how many one subscriber may be subscribed to.
    """

    def __init__(self, max_topics: int) -> None:
        self._max_topics = max_topics
        self._topics: dict[str, Topic] = {}
        self._subscriptions: dict[Any, _Subscriptions] = {}
        self.get: Callable[[str], Topic | None] = self._topics.get  # a topic by its name, or None

    def __len__(self) -> int:
        return len(self._topics)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._topics))

    @property
    def count(self) -> int:
        """How many subscriptions there are."""
        return sum([len(each.topics) for each in list(self._subscriptions.values())])

    def names(self, subscriber: Any) -> list[str]:
        """Return the names of a subscriber's topics, the oldest subscription first."""
        subscriptions = self._subscriptions.get(subscriber)
        return [topic.name for topic in subscriptions.topics] if subscriptions is not None else []

    def subscribe(self, subscriber: Subscriber, name: str, policy: str) -> None:
        """Subscribe, or change the policy of a subscription.

        Raises:
            ValueError: the subscriber has as many topics as it may.
        """
        subscriptions = self._subscriptions.get(subscriber) or _Subscriptions()
        topic = self._topics.get(name) or Topic(name)
        sharing = subscriber.sharing
        group = topic.groups.get(sharing) or Group(subscriber.extension if sharing is not None else None)
        if subscriber.fileno not in group.members:
            if len(subscriptions.topics) >= self._max_topics:
                raise ValueError(f"a connection may subscribe to {self._max_topics} topics (max_topics)")
            subscriptions.topics.append(topic)
        seats = subscriptions.seats
        group.members[subscriber.fileno] = seats.setdefault(policy, Seat(subscriber, policy))
        topic.groups[sharing] = group
        self._topics[name] = topic
        self._subscriptions[subscriber] = subscriptions

    def unsubscribe(self, subscriber: Subscriber, name: str) -> bool:
        """End a subscription; return whether there was one."""
        topic = self._topics.get(name)
        if topic is None or not self._leave(subscriber, topic):
            return False
        subscriptions = self._subscriptions[subscriber]
        subscriptions.topics.remove(topic)
        if not subscriptions.topics:
            del self._subscriptions[subscriber]
        return True

    def leave(self, subscriber: Subscriber) -> None:
        """End all subscriptions of a subscriber."""
        subscriptions = self._subscriptions.pop(subscriber, None)
        for topic in subscriptions.topics if subscriptions is not None else ():
            self._leave(subscriber, topic)

    def _leave(self, subscriber: Subscriber, topic: Topic) -> bool:
        group = topic.groups.get(subscriber.sharing)
        if group is None or group.members.pop(subscriber.fileno, None) is None:
            return False
        if not group.members:
            del topic.groups[subscriber.sharing]
            if not topic.groups:
                del self._topics[topic.name]
        return True
