"""Store: takes what is published, keeps the history, and passes each message to the loops of the process and the bus.

Without a bus, a message to a topic with history is kept and passed to each loop under one lock, so all loops get the
messages in the same order. A subscriber reads the history and subscribes under the same lock, so it gets each message
once. A forked child begins with no history, and with new epochs.

Over a bus, a message to a topic with history goes to the bus only; it is kept and delivered here when it comes back
with its position. So the ring of a topic is a copy of what the bus has, as long as somebody here is subscribed or reads
it (`Ring.live`); clients that come back meanwhile are served from it, without the bus. A message to a topic without
history is delivered here at once.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from itertools import count
from logging import WARNING
from typing import TYPE_CHECKING, Any, Protocol

from gevent.monkey import get_original

from ..engine.loop.forks import register as register_heir
from ..engine.loop.poller import get_thread
from .finalizers import is_finalizer
from .history import Found, History, Position
from .interface import GAP, Event

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

    from ..engine.published.outlet import Outlet
    from ..protocol.prepared import PreparedMessage
    from .branches.loops import Branches
    from .history import Rule
    from .interface import Bus, Form, Register

RLock: Any = get_original("_thread", "RLock")

MOST_EXCLUDED = 10_000
"""Messages on their way over a bus for which an excluded connection is remembered; the oldest are forgotten."""


class Owner(Protocol):
    """The PubSub."""

    def tell_bus(self, is_up: bool) -> None:
        """Tell the application that the bus is connected, or no longer is."""


class Store:
    """The messages of a PubSub: their way to the subscribers, and the history. Any thread may call it.

    It is the `Receiver` of the bus.

    Args:
        rules: see `History`.
        branches: the subscribers.
        owner: the PubSub.

    Attributes:
        loop: None: it belongs to no loop.
        bus: the bus; None if there is none.
        register: what the bus calls with changes of members.
        lock: the one lock for everything that a PubSub's loops and threads share: a single one cannot deadlock with
            another. It is reentrant, as the garbage collector may end a connection, which takes it, while it is held.
    """

    def __init__(self, rules: Mapping[str, tuple[int, float]], branches: Branches, owner: Owner) -> None:
        self.loop: Any = None
        self.bus: Bus | None = None
        self.register: Any = None
        self._owner = owner
        self._branches = branches
        self._watchers: dict[str, int] = {}  # by topic: how many loops have subscribers, and readers of its history
        self._history = History(rules, time.monotonic, self._watchers)  # what is kept
        self._excluded: dict[int | None, Outlet] = {}  # over a bus: who does not get a message, by its ticket
        self._tickets: Iterator[int] = count()  # the next tickets
        self._is_used = False  # whether anybody has ever subscribed
        self.lock: Any = RLock()
        register_heir(self)

    def forked(self) -> None:
        """Forget everything, in a forked child: the published messages are the parent's."""
        self._history.clear()
        self._watchers.clear()
        self._excluded.clear()
        self.lock = RLock()

    def use(self, bus: Bus, register: Register) -> None:
        """Reach other processes over a bus. Called before anything else."""
        self.bus, self.register = bus, register
        self._history.live = False
        bus.start(self)

    # Called by the PubSub

    def publish(self, topic: str, message: PreparedMessage, exclude: Outlet | None, key: Hashable) -> int:
        """Publish a message to the subscribers of a topic; return how many there are in this process.

        Raises:
            TypeError: `key` is neither a `str` nor None, and there is a bus.
        """
        bus = self.bus
        if bus is not None and not (key is None or isinstance(key, str)):
            raise TypeError(f"over a bus, a key is str, not {type(key).__name__}")
        if is_finalizer() and (branches := self._branches.all()):
            branches[0].loop.run_callback_threadsafe(self.publish, topic, message, exclude, key)
            return sum(map(len, self._branches.find(topic)))
        rule = self._history.find_rule(topic) if self._history.rules else None
        if bus is None:
            if rule is None:
                return self._branches.publish(topic, message, exclude, key)
            return self._publish_here(topic, rule, message, exclude, key)
        assert key is None or isinstance(key, str)
        if rule is None:
            reached = self._branches.publish(topic, message, exclude, key)
            bus.publish(topic, message, key, None, None)
            return reached
        return self._publish_kept(bus, topic, rule, message, exclude, key)

    def _publish_here(
        self, topic: str, rule: Rule, message: PreparedMessage, exclude: Outlet | None, key: Hashable
    ) -> int:
        """Keep a message, and publish it in each loop of this process."""
        thread, reached = get_thread(), 0
        mine = []
        with self.lock:
            position = self._history.append(topic, rule, message)
            for branch in self._branches.all():
                if branch.poller.thread == thread:
                    mine.append(branch)
                else:
                    reached += branch.publish_later(topic, message, exclude, key, position)
        for branch in mine:
            reached += branch.publish(topic, message, exclude, key, position)
        return reached

    def _publish_kept(
        self, bus: Bus, topic: str, rule: Rule, message: PreparedMessage, exclude: Outlet | None, key: str | None
    ) -> int:
        ticket = self._exclude(exclude) if exclude is not None else None
        if not bus.publish(topic, message, key, rule, ticket):
            self._excluded.pop(ticket, None)
            return 0
        return sum(map(len, self._branches.find(topic)))

    def _exclude(self, outlet: Outlet) -> int:
        """Note which connection does not get a message when it comes back from the bus; return the message's ticket."""
        with self.lock:
            ticket = next(self._tickets)
            self._excluded[ticket] = outlet
            if len(self._excluded) > MOST_EXCLUDED:
                del self._excluded[next(iter(self._excluded))]
        return ticket

    def subscribe(
        self, outlet: Outlet, topic: str, policy: str, form: Form | None, since: str | None
    ) -> Found:
        """Subscribe; return what was published after a position.

        Raises:
            ConnectionClosed: the connection is closed or closing.
            ValueError: the connection has too many topics.
        """
        if self.bus is None and not self._is_used:
            _warn_if_alone(outlet)
        self._is_used = True
        rule = self._history.find_rule(topic)
        if rule is None:
            found = Found([], None, since is not None)
            self._branches.get().subscribe(outlet, topic, policy, form)
            return found
        with self._read(topic, rule), self.lock:
            found = self._find(topic, rule, since, None if since is not None else 0)
            self._branches.get().subscribe(outlet, topic, policy, form, found.position)
        return found

    def find(self, topic: str, since: str | None, limit: int | None) -> Found:
        """Return what was published after a position."""
        rule = self._history.find_rule(topic)
        if rule is None:
            return Found([], None, since is not None)
        with self._read(topic, rule), self.lock:
            return self._find(topic, rule, since, limit)

    @contextmanager
    def _read(self, topic: str, rule: Rule) -> Iterator[None]:
        """Fill the topic's ring from the bus, if that can be reached, and keep it up to date within the block."""
        if self.bus is None:
            yield
            return
        self.note_topic(topic, True)
        try:
            with self.lock:
                is_live = self._history.use(topic, rule).live
            if not is_live:
                with suppress(TimeoutError):
                    self.bus.read(topic, rule)
                    with self.lock:  # not before, at the first part passed to `fill`: other readers need all parts
                        self._history.use(topic, rule).live = True
            yield
        finally:
            self.note_topic(topic, False)

    def _find(self, topic: str, rule: Rule, since: str | None, limit: int | None) -> Found:
        ring = self._history.use(topic, rule)
        return ring.find(since, limit) if ring.live else Found([], None, True)

    def note_topic(self, topic: str, begun: bool) -> None:
        """Note that a loop has its first subscriber of a topic, or that its last has left. A reader counts as one."""
        rule, bus = self._history.find_rule(topic), self.bus
        if rule is None and bus is None:
            return
        with self.lock:
            before = self._watchers.get(topic, 0)
            self._watchers[topic] = before + (1 if begun else -1)
            ring = self._history.use(topic, rule) if rule is not None else None
            if not self._watchers[topic]:
                del self._watchers[topic]
                if bus is not None:
                    bus.unsubscribe(topic)
                    if ring is not None:
                        ring.live = False
            elif not before and bus is not None:
                bus.subscribe(topic, rule)

    # Called by the bus

    def receive(self, topic: str, message: PreparedMessage, key: str | None) -> None:
        """Take a message from another process, published to a topic without history."""
        self._branches.publish(topic, message, None, key)

    def receive_at(
        self, topic: str, position: Position, message: PreparedMessage, key: str | None, ticket: int | None
    ) -> None:
        """Take a message published to a topic with history. Drop a known one; tell subscribers of a gap before it."""
        rule = self._history.find_rule(topic)
        if rule is None:
            return  # another process has a rule for this topic, this one has none
        with self.lock:
            exclude = self._excluded.pop(ticket, None)
            last = self._history.use(topic, rule).position
            if position.is_after(last):
                if not position.follows(last):
                    self._history.begin(topic, rule, position.before())
                self._publish_here(topic, rule, message, exclude, key)

    def fill(self, topic: str, position: Position, messages: list[tuple[float, PreparedMessage]]) -> None:
        """Take what is kept of a topic. Publish what is new here, unless the ring was not live: then nobody waits."""
        rule = self._history.find_rule(topic)
        if rule is None:
            return
        with self.lock:
            ring = self._history.use(topic, rule)
            begin = Position(position.epoch, position.offset - len(messages))
            if begin.epoch != ring.position.epoch or begin.offset > ring.position.offset:
                self._history.begin(topic, rule, begin)
            branches = self._branches.all()
            for age, message in messages[ring.position.offset - begin.offset :]:
                place = self._history.append(topic, rule, message, age)
                for branch in branches if ring.live else ():
                    branch.publish_later(topic, message, None, None, place)
            for branch in branches:
                branch.tell_later(topic, Event(GAP, str(position)), position)

    def lost(self, topic: str) -> None:
        """Note that messages of a topic without history may have been missed."""
        for branch in self._branches.all():
            branch.tell_later(topic, Event(GAP))

    def tell_bus(self, is_up: bool) -> None:
        """Note that the bus is connected, or no longer is."""
        self._owner.tell_bus(is_up)


def _warn_if_alone(outlet: Outlet) -> None:
    """Log that subscribers in other processes hear nothing, if this subscriber's server has other processes."""
    environ = getattr(outlet.handle(), "environ", {})  # callbacks have it until on_open returns
    if environ.get("wsgi.multiprocess"):
        outlet.connection.stream.poller.log.tell(
            WARNING,
            "the server has several processes, and a PubSub without a URL reaches only the subscribers in its own: "
            "for all of them, use PubSub('redis://...')",
        )
