"""PubSub: topics, their subscribers, and what is published to them. One process; each loop has a branch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..endpoints.middleware import RequestWebSocket
from ..engine.fragments import check_thread
from ..engine.loop.poller import get_poller
from ..engine.published.deliveries import CLOSE, POLICIES, Limits, Tally
from ..engine.published.outlet import get_outlet
from ..protocol.prepared import PreparedMessage, prepare
from ..websocket import BaseWebSocket, get_connection
from .branch import Branch, Publication, put_in
from .history import Position, Recovered
from .store import Store
from .topics import Group, Seat

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from ..engine.loop.poller import Poller
    from ..engine.published.outlet import Outlet
    from ..protocol.prepared import Message
    from .history import Found
    from .interface import Bus, Form
    from .topics import Topic

__all__ = ["PubSub", "Recovered", "Stats", "broadcast"]


class Stats(NamedTuple):
    """What became of what was published, each message counted once for each subscriber it was for.

    published = sent + queued + dropped + abandoned, at every moment.
    """

    published: int
    """Messages that were to be sent."""
    sent: int
    """Those that the kernel has taken."""
    queued: int
    """Those that are on their way to it."""
    dropped: int
    """Those that found no room, or gave theirs to others, as the policy says."""
    abandoned: int
    """Those whose connection ended before they were sent."""
    topics: int
    """Topics that have subscribers."""
    subscriptions: int
    """Subscriptions."""


class Formed(NamedTuple):
    """What `Recovered` is, in a form."""

    messages: list[PreparedMessage]
    position: str | None
    gap: bool


class PubSub:
    """Rooms: connections subscribe to topics, and a message that is published to a topic goes to all its subscribers.

    `publish` never blocks, and a subscriber that is slow delays no other: what waits for it is bounded, and its policy
    says what happens then. A message is encoded and compressed once for all. A subscription ends with its connection.

    On each connection, what is published and what is sent leaves in the order of the calls. What is published in one
    turn of the loop leaves together at its end.

    Any kind of connection may subscribe, to any number of PubSubs. A forked child begins without subscribers.

    Args:
        history: of which topics the last messages are kept, so that one who comes back gets what it has missed: a dict
            of `(messages, seconds)` by the topic, or by what it begins with and a `*`, as `{"room:*": (100, 300)}`. The
            first that matches holds. By default nothing is kept.
        max_queue_bytes: bytes that may wait for one subscriber, besides what the kernel holds: 64 KB by default. One
            message may always wait.
        max_queue: messages that may wait for one subscriber: 256 by default.
        max_topics: topics that one connection may be subscribed to: 1,024 by default.
        max_topic_length: characters of a topic: 256 by default.

    Raises:
        ValueError: `history` keeps less than one message, or no time, or has a `*` elsewhere than at the end.

    Attributes:
        on_gap: a function that is called with a topic where subscribers in this process miss messages of it, though its
            history is kept; None for none. Called in the hub, or by whoever publishes: it must not block. Once for each
            loop with subscribers.
    """

    def __init__(
        self,
        *,
        history: Mapping[str, tuple[int, float]] | None = None,
        max_queue_bytes: int = 64 * 1024,
        max_queue: int = 256,
        max_topics: int = 1024,
        max_topic_length: int = 256,
    ) -> None:
        self._limits = Limits(max_queue_bytes, max_queue)
        self._max_topics = max_topics
        self._max_topic_length = max_topic_length
        self._branches: dict[Poller, Branch] = {}
        self._past: list[Tally] = []  # those of loops that are no more
        self._store = Store(history or {}, self)
        self.on_gap: Callable[[str], object] | None = None
        self.on_bus: Callable[[bool], object] | None = None

    def subscribe(
        self, ws: BaseWebSocket, topic: str, policy: str = CLOSE, since: str | None = None
    ) -> Recovered:
        """Subscribe a connection to a topic, until it ends. Does not block; to be called in the connection's thread.

        For one that is subscribed already, it changes the policy. What is published from now on is sent to it; what it
        has missed, which this returns, is for the caller to send.

        Args:
            ws: the connection.
            topic: the topic; it needs no other preparation.
            policy: what happens to a message when as much waits for this connection as may. "close" closes it, with
                1013. "drop_newest" drops the message. "drop_oldest" drops the oldest that wait, as far as their policy
                allows. "latest" first drops the one that waits with the same topic and key, and then does the same.
            since: the position up to which its client has the messages; None for one that comes for the first time.

        Returns:
            What was published after `since`, as far as it is kept: each message is either in here, or is sent. Without
            `since` it is no message, but the position. Where no history is kept, the position is None, and whoever
            gives one has a gap.

        Raises:
            ConnectionClosed: the connection is over, or has begun to close.
            ValueError: the topic is empty or too long (`max_topic_length`), the connection has as many as it may
                (`max_topics`), or there is no such policy.
            TypeError: the topic is no `str`, or `ws` no connection.
            ConcurrencyError: this is another thread than that of the connection.
        """
        found = self._join(ws, topic, policy, since, None)
        return _recover(found)

    def subscribe_as(
        self, ws: BaseWebSocket, topic: str, form: Form, policy: str = CLOSE, since: str | None = None
    ) -> Formed:
        """Do the same for a connection that gets the messages in a form, and is told of events."""
        found = self._join(ws, topic, policy, since, form)
        return _form(topic, form, found)

    def history(self, topic: str, since: str | None = None, limit: int | None = None) -> Recovered:
        """Return what was published to a topic lately. Does not block; any thread may call it.

        Args:
            topic: the topic.
            since: return the messages after this position; without it, the last ones.
            limit: how many at the most: the oldest after `since`, so that one goes on from the position that is
                returned; without `since`, the latest. None for all that is kept.

        Raises:
            ValueError: the topic is empty or too long, or the limit is negative.
            TypeError: the topic is no `str`.
        """
        found = self._look(topic, since, limit)
        return _recover(found)

    def history_as(self, topic: str, form: Form, since: str | None = None, limit: int | None = None) -> Formed:
        """Do the same in a form."""
        found = self._look(topic, since, limit)
        return _form(topic, form, found)

    def unsubscribe(self, ws: BaseWebSocket, topic: str) -> bool:
        """End a subscription; return whether there was one. Does not block; to be called in the connection's thread.

        What was published before is still sent.

        Raises:
            TypeError: `ws` is no connection.
            ConcurrencyError: this is another thread than that of the connection.
        """
        outlet = _find_outlet(ws)
        return self._get_branch().unsubscribe(outlet, topic)

    def publish(
        self,
        topic: str,
        message: Message | PreparedMessage,
        exclude: BaseWebSocket | None = None,
        key: Hashable = None,
    ) -> int:
        """Publish a message to the subscribers of a topic. Never blocks; any greenlet and native thread may call it.

        Args:
            topic: the topic.
            message: `str` for text, bytes-like for binary, or a `PreparedMessage`.
            exclude: a connection that does not get it: often its author's.
            key: what the message is about: for subscribers with the policy "latest", it takes the place of one that
                waits with this topic and key.

        Returns:
            For how many subscribers it is on its way.

        Raises:
            TypeError: the message is of another type, or `exclude` no connection.
        """
        prepared = prepare(message)
        excluded = get_connection(_resolve(exclude)).outlet if exclude is not None else None
        return self._store.publish(topic, prepared, excluded, key)

    def subscribers(self, topic: str) -> list[BaseWebSocket]:
        """Return the connections that are subscribed to a topic. Does not block."""
        outlets = [outlet for found in self._find(topic) for outlet in found]
        handles = [outlet.handle() for outlet in outlets]
        return [ws for ws in handles if ws is not None]

    def count(self, topic: str) -> int:
        """Return how many connections are subscribed to a topic. Does not block; any thread may call it."""
        return sum(map(len, self._find(topic)))

    def topics(self, ws: BaseWebSocket) -> list[str]:
        """Return the topics that a connection is subscribed to, the oldest subscription first. Does not block."""
        outlet = get_connection(_resolve(ws)).outlet
        return [name for branch in self.get_branches() for name in branch.topics.names(outlet)]

    @property
    def stats(self) -> Stats:
        """What became of what was published, and how many topics and subscriptions there are."""
        total, branches = Tally(), self.get_branches()
        for tally in [*self._past, *[branch.stats for branch in branches]]:
            total.add(tally)
        names = {name for branch in branches for name in branch.topics}
        subscriptions = sum([branch.topics.count for branch in branches])
        counts = (total.published, total.sent, total.queued, total.dropped, total.abandoned)
        return Stats(*counts, len(names), subscriptions)

    def drop(self, branch: Branch) -> None:
        """Know the branch of a loop no more that is destroyed, or a parent process's: for itself."""
        if self._branches.pop(branch.poller, None) is not None:
            self._past.append(branch.stats)

    def use(self, bus: Bus) -> None:
        """Reach other processes over a bus, from the beginning: for itself."""
        self._store.use(bus)

    def note_topic(self, topic: str, begun: bool) -> None:
        """Note that a loop has its first subscriber of a topic, or that its last has left: for itself."""
        self._store.note_topic(topic, begun)

    def tell_bus(self, is_up: bool) -> None:
        """Tell the application that the bus is connected, or is not any more: for itself."""
        if self.on_bus is not None:
            self.on_bus(is_up)

    def tell_gap(self, topic: str) -> None:
        """Tell the application that subscribers of a topic miss messages: for itself."""
        if self.on_gap is not None:
            self.on_gap(topic)

    def _join(
        self, ws: BaseWebSocket, topic: str, policy: str, since: str | None, form: Form | None
    ) -> Found:
        """Subscribe, and return what was published after a position."""
        self._check_topic(topic)
        if policy not in POLICIES:
            raise ValueError(f"a policy is one of {', '.join(POLICIES)}, not {policy!r}")
        outlet = _find_outlet(ws)
        if outlet.connection.closed:
            raise outlet.connection.closed_error()
        return self._store.subscribe(self._get_branch(), outlet, topic, policy, form, since)

    def _look(self, topic: str, since: str | None, limit: int | None) -> Found:
        self._check_topic(topic)
        if limit is not None and limit < 0:
            raise ValueError(f"a limit is none or more, not {limit}")
        return self._store.find(topic, since, limit)

    def get_branches(self) -> list[Branch]:
        """Return the branches, without those of loops that were destroyed meanwhile: for itself."""
        branches = list(self._branches.values())
        for branch in branches:
            if branch.closed:
                self.drop(branch)
                for topic in branch.topics:
                    self.note_topic(topic, False)
        return [branch for branch in branches if not branch.closed]

    def _find(self, name: str) -> list[Topic]:
        """Return what the branches have of a topic."""
        found = [branch.topics.get(name) for branch in self.get_branches()]
        return [topic for topic in found if topic is not None]

    def _get_branch(self) -> Branch:
        """Return the branch in this thread's loop, made when first asked for."""
        poller = get_poller()
        branch = self._branches.get(poller)
        if branch is None:
            branch = self._branches[poller] = Branch(poller, self._limits, self._max_topics, self)
        return branch

    def _check_topic(self, topic: str) -> None:
        if not isinstance(topic, str):
            raise TypeError(f"a topic is str, not {type(topic).__name__}")
        if not 0 < len(topic) <= self._max_topic_length:
            most = self._max_topic_length
            raise ValueError(f"a topic has 1 to {most} characters (max_topic_length), not {len(topic)}")


def broadcast(sockets: Iterable[BaseWebSocket], message: Message | PreparedMessage) -> int:
    """Send a message to many connections. Does not block, and waits for none of them.

    It is encoded and compressed once for all. A connection for which 64 KB or 256 messages wait already is closed with
    1013; one that is over, or has begun to close, is left out. To be called in the connections' thread.

    Args:
        sockets: the connections.
        message: `str` for text, bytes-like for binary, or a `PreparedMessage`.

    Returns:
        For how many connections it is on its way.

    Raises:
        TypeError: the message is of another type, or what stands in `sockets` no connection. Nothing is sent.
        ConcurrencyError: a connection is another thread's. Nothing is sent.
    """
    prepared, tally = prepare(message), Tally()
    groups: dict[Hashable, Group] = {}
    for outlet in [_find_outlet(ws) for ws in sockets]:
        if not outlet.connection.closed:
            shared = outlet.extension if outlet.sharing is not None else None
            group = groups.setdefault(outlet.sharing, Group(shared))
            group.members[outlet.fileno] = Seat(outlet, CLOSE)
    poller = get_poller()
    poller.outbox.flush_corked()
    for group in groups.values():
        publication = Publication(prepared, group, None, tally, Limits(), None)
        put_in(poller.outbox, publication, prepared, group)
    return tally.published


def _recover(found: Found) -> Recovered:
    """Return the messages that were found."""
    position = str(found.position) if found.position is not None else None
    return Recovered([kept.message for kept in found.kept], position, found.gap)


def _form(topic: str, form: Form, found: Found) -> Formed:
    """Return in a form what was found."""
    if found.position is None:
        return Formed([], None, found.gap)
    epoch, last = found.position
    first = last - len(found.kept) + 1
    messages = [
        form.message(topic, PreparedMessage(kept.message), str(Position(epoch, first + number)))
        for number, kept in enumerate(found.kept)
    ]
    return Formed(messages, str(found.position), found.gap)


def _resolve(ws: Any) -> BaseWebSocket:
    """Return the WebSocket of a connection: also of one that a middleware's view has, which connects by that."""
    if isinstance(ws, RequestWebSocket):
        ws = ws.accept()
    if not isinstance(ws, BaseWebSocket):
        raise TypeError(f"a connection is a WebSocket, not {type(ws).__name__}")
    return ws


def _find_outlet(ws: BaseWebSocket) -> Outlet:
    ws = _resolve(ws)
    connection = get_connection(ws)
    check_thread(connection)
    return get_outlet(connection, ws)
