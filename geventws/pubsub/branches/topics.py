"""The subscriptions of one loop. No I/O.

    Topics    the topics by name, and the topics of each subscriber
    Topic     the subscribers of one topic, in groups
    Group     the subscribers of a topic that get the same bytes
    Seat      a subscriber, and the policy for when it is slow

Built for many subscriptions: each is an entry in its group's dict and one in its subscriber's list, which takes 60
bytes for a connection with a hundred of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from ..history import Position
    from ..interface import Form


class Subscriber(Protocol):
    """A connection, as topics see it.

    Attributes:
        fileno: returns the descriptor of its socket. It is always the same object, which identifies the connection.
        sharing: equal for all connections that get the same bytes for a message; None if it gets bytes of its own.
    """

    fileno: Callable[[], int]
    sharing: Hashable

    @property
    def extension(self) -> Any:
        """The extension that compresses messages for all with this `sharing`, or None."""


class Seat(NamedTuple):
    """A subscriber and its policy."""

    subscriber: Any
    policy: str


class Group:
    """The subscribers of a topic that get the same bytes.

    Attributes:
        extension: the extension that compresses messages for all of them, or None.
        form: the form in which they get messages; None for the messages themselves.
        members: their seats, by the subscribers' `fileno`.
    """

    __slots__ = ("extension", "form", "members")

    def __init__(self, extension: Any, form: Form | None = None) -> None:
        self.extension: Any = extension
        self.form: Form | None = form
        self.members: dict[Callable[[], int], Seat] = {}


class Topic:
    """One topic.

    Attributes:
        name: its name.
        groups: its groups, by the `sharing` of their members and their form, if they have one; none is empty.
        position: the position of the last message published here; None if the topic has no history.
    """

    __slots__ = ("groups", "name", "position")

    def __init__(self, name: str) -> None:
        self.name: str = name
        self.groups: dict[Hashable, Group] = {}
        self.position: Position | None = None

    def __len__(self) -> int:
        return sum([len(group.members) for group in self.groups.values()])

    def __iter__(self) -> Iterator[Any]:
        for group in self.groups.values():
            yield from [seat.subscriber for seat in group.members.values()]

    def move(self, position: Position) -> bool:
        """Move on to a position; return False if the topic was there already."""
        if self.position is not None and not position.is_after(self.position):
            return False
        self.position = position
        return True

    def leave(self, subscriber: Subscriber) -> bool:
        """Remove a subscriber from its group; return whether it was in one."""
        group = self.groups.get(subscriber.sharing)
        if group is not None and self._remove(subscriber.sharing, group, subscriber):
            return True
        return any([self._remove(key, group, subscriber) for key, group in list(self.groups.items()) if group.form])

    def _remove(self, key: Hashable, group: Group, subscriber: Subscriber) -> bool:
        if group.members.pop(subscriber.fileno, None) is None:
            return False
        if not group.members:
            del self.groups[key]
        return True


class _Subscriptions:
    """The subscriptions of one subscriber: its topics, the oldest first, and its seats by policy."""

    __slots__ = ("seats", "topics")

    def __init__(self) -> None:
        self.seats: dict[str, Seat] = {}
        self.topics: list[Topic] = []


class Topics:
    """All topics of one loop that have subscribers.

    Args:
        max_topics: how many one subscriber may be subscribed to.
        changed: called with a topic's name, and True for its first subscriber, False when the last has left.
    """

    def __init__(self, max_topics: int, changed: Callable[[str, bool], object]) -> None:
        self._max_topics = max_topics
        self._changed = changed
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

    def subscribe(self, subscriber: Subscriber, name: str, policy: str, form: Form | None = None) -> Topic:
        """Subscribe, or change the policy and the form of a subscription; return the topic.

        Raises:
            ValueError: the subscriber has too many topics.
        """
        subscriptions = self._subscriptions.get(subscriber) or _Subscriptions()
        is_new = name not in self._topics
        topic = Topic(name) if is_new else self._topics[name]
        sharing = subscriber.sharing
        key = sharing if form is None else (sharing, form)
        group = topic.groups.get(key) or Group(subscriber.extension if sharing is not None else None, form)
        if subscriber.fileno not in group.members and not topic.leave(subscriber):
            if len(subscriptions.topics) >= self._max_topics:
                raise ValueError(f"a connection may subscribe to at most {self._max_topics} topics (max_topics)")
            subscriptions.topics.append(topic)
        seats = subscriptions.seats
        group.members[subscriber.fileno] = seats.setdefault(policy, Seat(subscriber, policy))
        topic.groups[key] = group
        self._subscriptions[subscriber] = subscriptions
        if is_new:
            self._topics[name] = topic
            self._changed(name, True)
        return topic

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
        if not topic.leave(subscriber):
            return False
        if not topic.groups:
            del self._topics[topic.name]
            self._changed(topic.name, False)
        return True
