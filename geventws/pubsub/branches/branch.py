"""Branch: the subscribers of a PubSub that belong to one loop, and what is published to them there.

A native thread that publishes leaves the message with each branch, whose loop takes it in its next round. Of a topic
whose history is kept, a branch publishes in the order of the positions: what waits from other threads goes before what
its own thread publishes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ...engine.loop.forks import register
from ...engine.loop.waves import count_units
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
    """Tell the application something, which must not block. Never raises."""
    try:
        poller.call_out(function, *arguments)
    except BaseException:
        poller.report(None)


class Owner(Protocol):
    """Who has all branches."""

    def drop(self, branch: Branch) -> None:
        """Know a branch no more, but for what it has counted."""


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
        max_topics: how many topics one may have.
        owner: who is told of its end.
        audience: who is told of the rest.

    Attributes:
        poller: as above.
        loop: gevent's.
        tally: what became of the messages.
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
        poller.turns.note(0)  # from now on, handlers may publish
        register(self)

    @property
    def closed(self) -> bool:
        """Whether there is nobody to publish to any more: the loop was destroyed, or is a parent process's."""
        return self.poller.closed

    @property
    def stats(self) -> Tally:
        """What became of all messages."""
        total = self._waiting.overflow
        total.add(self.tally)
        return total

    def forked(self) -> None:
        """Forget everything, in a forked child: its connections leave by themselves."""
        self._waiting.clear()
        self.tally = Tally()
        self._owner.drop(self)

    # Subscriptions: whatever was published before goes to those who were there before

    def subscribe(
        self, outlet: Outlet, topic: str, policy: str, form: Form | None = None, position: Position | None = None
    ) -> None:
        """Subscribe a connection. Raises ValueError where it has as many topics as it may.

        Args:
            outlet: the connection's.
            topic: the topic.
            policy: what is done when it is slow.
            form: in what form it gets the messages; None for as they are.
            position: that of the last message that was published, where a history is kept. What waits here of the
                messages before goes out first: it is not for the new subscriber.
        """
        if position is not None:
            self._catch_up(topic, position)
        self.poller.outbox.settle(outlet.connection.stream)
        self.topics.subscribe(outlet, topic, policy, form).position = position
        outlet.join(self)

    def unsubscribe(self, outlet: Outlet, topic: str) -> bool:
        """End a subscription; return whether there was one."""
        self._catch_up(topic)
        self.poller.outbox.settle(outlet.connection.stream)
        return self.topics.unsubscribe(outlet, topic)

    def leave(self, outlet: Outlet) -> None:
        """End all subscriptions of a connection that is over."""
        self.poller.outbox.settle(outlet.connection.stream)
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
        self.poller.outbox.flush_corked()
        count = 0
        formed: dict[Form, PreparedMessage] = {}
        for group in list(topic.groups.values()):  # who is too slow leaves at once
            message, form = prepared, group.form
            if form is not None:
                place = str(position) if position is not None else None
                message = formed.get(form) or formed.setdefault(form, form.message(name, prepared, place))
            publication = Publication(message, group, exclude, self.tally, self._limits, (name, key))
            if publication.count:
                put_in(self.poller.outbox, publication, message, group)
                count += publication.count
        self.poller.turns.note(1 + count_units(count, len(prepared.payload)) // 2)
        return count

    def tell(self, name: str, event: Event, position: Position | None = None) -> None:
        """Tell of an event those subscribers of a topic who get messages in a form, in the thread of the loop.

        Args:
            name: the topic.
            event: what is told. The application is told of a gap, too.
            position: that of a gap, where a history is kept: it is told unless the topic has got as far.
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
        self.poller.outbox.flush_corked()
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
        """Tell of an event in the loop's next round, from any thread; after what was published before."""
        if self.topics.get(name) is not None:
            self._leave_waiting(Item(name, event, None, None, position), 0)

    def _leave_waiting(self, item: Item, count: int) -> bool:
        is_first = self._waiting.put(item, count)
        if is_first:  # or else the loop knows that something waits
            self.loop.run_callback_threadsafe(self._publish_waiting)
        return is_first is not None

    def _publish_waiting(self) -> None:
        """Publish what native threads have left, as far as the loop's turn reaches. Never raises."""
        while self._waiting:
            try:
                self._take(self._waiting.take())
            except BaseException:  # as for want of memory
                self.poller.report(None)
            if self._waiting and self.poller.turns.is_over():
                self.poller.turns.later(self._publish_waiting)
                return
        for name, position in self._waiting.take_gaps().items():  # what nothing has followed
            self._tell_gap(name, position)

    def _take(self, item: Item) -> None:
        if isinstance(item.message, Event):
            self.tell(item.topic, item.message, item.position)
        else:
            self.publish(item.topic, item.message, item.exclude, item.key, item.position)

    # The order of what is kept: each subscriber gets each message once, or is told of a gap

    def _is_next(self, topic: Topic, position: Position) -> bool:
        """Move a topic on to a message, before it is published; return whether it was not published before."""
        if topic.position is None or not position.follows(topic.position):
            self._catch_up(topic.name, position.before())
            if topic.position is not None and not position.follows(topic.position):
                self._tell_gap(topic.name, position.before())
        return topic.move(position)

    def _catch_up(self, name: str, position: Position | None = None) -> None:
        """Publish now what native threads have left of a topic whose history is kept, up to a position or all of it."""
        for item in self._waiting.find(name, position):
            self._take(item)

    def _tell_gap(self, name: str, position: Position | None) -> None:
        self.tell(name, Event(GAP, str(position) if position is not None else None), position)
