"""Branch: the subscribers of a PubSub that belong to one loop, and what is published to them there.

A native thread that publishes leaves the message with each branch, and the branch's loop takes it in its next round. A
branch publishes the messages of a topic with history in the order of their positions: messages from other threads that
still wait go before a later one of its own thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ...engine.loop.forks import register
from ...engine.published.deliveries import Tally
from ..interface import GAP, Event
from .publication import Publication, put_in
from .topics import Topics
from .waiting import Item, Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from ...engine.loop.poller import Poller
    from ...engine.published.deliveries import Limits
    from ...engine.published.outlet import Outlet
    from ...protocol.prepared import PreparedMessage
    from ..history import Position
    from ..interface import Form
    from .topics import Group, Topic


def call_out(poller: Poller, function: Callable[..., object], *arguments: Any) -> None:
    """Call a function of the application, which must not block. Never raises."""
    try:
        poller.call_out(function, *arguments)
    except BaseException:
        poller.report(None)


class Owner(Protocol):
    """The object that has all branches."""

    def drop(self, branch: Branch) -> None:
        """Forget a branch, except for its counts."""


class Audience(Protocol):
    """The PubSub."""

    def note_topic(self, topic: str, begun: bool) -> None:
        """Note that a loop has its first subscriber of a topic, or that its last has left."""

    def tell_gap(self, topic: str) -> None:
        """Tell the application that subscribers of a topic miss messages."""


class Branch:
    """The branch in one loop.

    Args:
        poller: the loop's.
        limits: how much may wait for one subscriber.
        max_topics: how many topics one subscriber may have.
        owner: notified when the branch ends.
        audience: notified of topics and gaps.

    Attributes:
        poller: as above.
        loop: gevent's.
        tally: the counts of messages.
        topics: the subscriptions.
    """

    def __init__(self, poller: Poller, limits: Limits, max_topics: int, owner: Owner, audience: Audience) -> None:
        self.poller = poller
        self.loop: Any = poller.loop
        self.tally: Tally = Tally()
        self.topics: Topics = Topics(max_topics, self._note_topic)
        self._limits = limits
        self._owner = owner
        self._audience = audience
        self._waiting: Waiting = Waiting()  # what native threads have published
        poller.turns.note(0, 0)  # from now on, handlers may publish
        register(self)

    @property
    def closed(self) -> bool:
        """Whether nothing can be published here any more: the loop was destroyed, or belongs to a parent process."""
        return self.poller.closed

    @property
    def stats(self) -> Tally:
        """The counts of all messages."""
        total = self._waiting.overflow
        total.add(self.tally)
        return total

    def forked(self) -> None:
        """Forget everything, in a forked child. The connections unsubscribe themselves."""
        self._waiting.clear()
        self.tally = Tally()
        self._owner.drop(self)

    # Subscriptions: what was published before a change goes to those who were subscribed before it

    def subscribe(
        self, outlet: Outlet, topic: str, policy: str, form: Form | None = None, position: Position | None = None
    ) -> None:
        """Subscribe a connection. Raises ValueError if it has too many topics.

        Args:
            outlet: the connection's.
            topic: the topic.
            policy: what happens to messages when the connection is slow.
            form: the form in which it gets the messages; None for the messages themselves.
            position: the position of the last published message, if the topic has a history. Messages up to it that
                wait here are published first, as they are not for the new subscriber.
        """
        if position is not None:
            self._catch_up(topic, position)
        self.poller.outbox.settle(outlet.connection.stream)
        if outlet.connection.closed:  # it was too slow for what was published before
            raise outlet.connection.closed_error()
        self.topics.subscribe(outlet, topic, policy, form).position = position
        outlet.join(self)

    def unsubscribe(self, outlet: Outlet, topic: str) -> bool:
        """End a subscription; return whether there was one."""
        self._catch_up(topic)
        self.poller.outbox.settle(outlet.connection.stream)
        return self.topics.unsubscribe(outlet, topic)

    def leave(self, outlet: Outlet) -> None:
        """End all subscriptions of a connection that is over. What was published to it has gone out."""
        self.topics.leave(outlet)

    def _note_topic(self, name: str, begun: bool) -> None:
        if not self.closed:
            self._audience.note_topic(name, begun)

    # Publishing

    def publish(
        self,
        name: str,
        prepared: PreparedMessage,
        exclude: Outlet | None,
        key: Hashable,
        position: Position | None = None,
    ) -> int:
        """Publish a message to the subscribers of a topic, in the thread of the loop; return how many there are."""
        topic = self.topics.get(name)
        if topic is None or (position is not None and not self._is_next(topic, position)):
            return 0
        count, poller = 0, self.poller
        formed: dict[Form, PreparedMessage] = {}
        for group in list(topic.groups.values()):  # a copy: a subscriber that is too slow leaves within the loop
            message, form = prepared, group.form
            if form is not None:
                place = str(position) if position is not None else None
                message = formed.get(form) or formed.setdefault(form, form.message(name, prepared, place))
            publication = Publication(message, group, exclude, self.tally, self._limits, (name, key))
            if publication.count:
                count += publication.count  # before any of them leaves
                put_in(poller.outbox, publication, message, group)
        poller.turns.note(count, len(prepared.payload))
        return count

    def tell(self, name: str, event: Event, position: Position | None = None) -> None:
        """Send an event to those subscribers of a topic that get messages in a form. Called in the loop's thread.

        Args:
            name: the topic.
            event: the event. The application hears of a gap, too.
            position: the position of a gap, if the topic has a history. Nothing is sent if the topic is there already.
        """
        topic = self.topics.get(name)
        if topic is None or (position is not None and not topic.move(position)):
            return
        if event.kind == GAP:
            call_out(self.poller, self._audience.tell_gap, name)
        told: dict[Form, PreparedMessage | None] = {}
        for group in list(topic.groups.values()):
            form = group.form
            if form is not None:
                if form not in told:
                    told[form] = form.event(name, event)
                message = told[form]
                if message is not None:
                    self._send(message, group)

    def _send(self, message: PreparedMessage, group: Group) -> None:
        publication = Publication(message, group, None, self.tally, self._limits, None)
        put_in(self.poller.outbox, publication, message, group)

    def publish_later(
        self,
        name: str,
        prepared: PreparedMessage,
        exclude: Outlet | None,
        key: Hashable,
        position: Position | None = None,
    ) -> int:
        """Do the same from any other thread, in the loop's next round."""
        topic = self.topics.get(name)
        count = len(topic) if topic is not None else 0
        if not count:
            return 0
        return count if self._leave_waiting(Item(name, prepared, exclude, key, position), count) else 0

    def tell_later(self, name: str, event: Event, position: Position | None = None) -> None:
        """Send an event in the loop's next round, after what was published before. Any thread may call it."""
        if self.topics.get(name) is not None:
            self._leave_waiting(Item(name, event, None, None, position), 0)

    def _leave_waiting(self, item: Item, count: int) -> bool:
        is_first = self._waiting.put(item, count)
        if is_first:  # otherwise the loop has been told already
            self.loop.run_callback_threadsafe(self._publish_waiting)
        return is_first is not None

    def _publish_waiting(self) -> None:
        """Publish what native threads have left, until the loop's turn is over. Never raises."""
        while self._waiting:
            try:
                self._take(self._waiting.take())
            except BaseException:  # out of memory, say
                self.poller.report(None)
            if self._waiting and self.poller.turns.is_over():
                self.poller.turns.later(self._publish_waiting)
                return
        for name, position in self._waiting.take_gaps().items():  # gaps after the last message
            self._tell_gap(name, position)

    def _take(self, item: Item) -> None:
        if isinstance(item.message, Event):
            self.tell(item.topic, item.message, item.position)
        else:
            self.publish(item.topic, item.message, item.exclude, item.key, item.position)

    # The order of topics with history: each subscriber gets each message once, or is told of a gap

    def _is_next(self, topic: Topic, position: Position) -> bool:
        """Move a topic on to a message, before it is published; return False if it was published before."""
        if topic.position is None or not position.follows(topic.position):
            self._catch_up(topic.name, position.before())
            if topic.position is not None and not position.follows(topic.position):
                self._tell_gap(topic.name, position.before())
        return topic.move(position)

    def _catch_up(self, name: str, position: Position | None = None) -> None:
        """Publish now what native threads have left of a topic with history: up to a position, or all of it."""
        for item in self._waiting.take_of(name, position):
            self._take(item)

    def _tell_gap(self, name: str, position: Position | None) -> None:
        self.tell(name, Event(GAP, str(position) if position is not None else None), position)
