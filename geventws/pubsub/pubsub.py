"""PubSub: topics, their subscribers, and what is published to them. One process; each loop has a branch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..endpoints.middleware import RequestWebSocket
from ..engine.fragments import check_thread
from ..engine.loop.poller import get_poller, get_thread
from ..engine.published.deliveries import CLOSE, POLICIES, Limits, Tally
from ..engine.published.outlet import get_outlet
from ..protocol.prepared import prepare
from ..websocket import BaseWebSocket, get_connection
from .branch import Branch, Publication
from .topics import Group, Seat

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from ..engine.loop.poller import Poller
    from ..engine.published.outlet import Outlet
    from ..protocol.prepared import Message, PreparedMessage
    from .topics import Topic

__all__ = ["PubSub", "Stats", "broadcast"]


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


class PubSub:
    """Rooms: connections subscribe to topics, and a message that is published to a topic goes to all its subscribers.

    `publish` never blocks, and a subscriber that is slow delays no other: what waits for it is bounded, and its policy
    says what happens then. A message is encoded and compressed once for all. A subscription ends with its connection.

    On each connection, what is published and what is sent leaves in the order of the calls. What is published in one
    turn of the loop leaves together at its end.

    Any kind of connection may subscribe, to any number of PubSubs. A forked child begins without subscribers.

    Args:
        max_queue_bytes: bytes that may wait for one subscriber, besides what the kernel holds: 64 KB by default. One
            message may always wait.
        max_queue: messages that may wait for one subscriber: 256 by default.
        max_topics: topics that one connection may be subscribed to: 1,024 by default.
        max_topic_length: characters of a topic: 256 by default.
    """

    def __init__(
        self,
        *,
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

    def subscribe(self, ws: BaseWebSocket, topic: str, policy: str = CLOSE) -> None:
        """Subscribe a connection to a topic, until it ends. Does not block; to be called in the connection's thread.

        For one that is subscribed already, it changes the policy.

        Args:
            ws: the connection.
            topic: the topic; it needs no other preparation.
            policy: what happens to a message when as much waits for this connection as may. "close" closes it, with
                1013. "drop_newest" drops the message. "drop_oldest" drops the oldest that wait, as far as their policy
                allows. "latest" first drops the one that waits with the same topic and key, and then does the same.

        Raises:
            ConnectionClosed: the connection is over, or has begun to close.
            ValueError: the topic is empty or too long (`max_topic_length`), the connection has as many as it may
                (`max_topics`), or there is no such policy.
            TypeError: the topic is no `str`, or `ws` no connection.
            ConcurrencyError: this is another thread than that of the connection.
        """
        self._check_topic(topic)
        if policy not in POLICIES:
            raise ValueError(f"a policy is one of {', '.join(POLICIES)}, not {policy!r}")
        outlet = _find_outlet(ws)
        if outlet.connection.closed:
            raise outlet.connection.closed_error()
        self._get_branch().subscribe(outlet, topic, policy)

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
        prepared, count = prepare(message), 0
        excluded = get_connection(_resolve(exclude)).outlet if exclude is not None else None
        for branch in self._get_branches():
            here = branch.poller.thread == get_thread()
            count += (branch.publish if here else branch.publish_later)(topic, prepared, excluded, key)
        return count

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
        return [name for branch in self._get_branches() for name in branch.topics.names(outlet)]

    @property
    def stats(self) -> Stats:
        """What became of what was published, and how many topics and subscriptions there are."""
        total, branches = Tally(), self._get_branches()
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

    def _get_branches(self) -> list[Branch]:
        """Return the branches, without those of loops that were destroyed meanwhile."""
        branches = list(self._branches.values())
        for branch in branches:
            if branch.closed:
                self.drop(branch)
        return [branch for branch in branches if not branch.closed]

    def _find(self, name: str) -> list[Topic]:
        """Return what the branches have of a topic."""
        found = [branch.topics.get(name) for branch in self._get_branches()]
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
        poller.outbox.publish(publication, prepared.encode(group.extension))
    return tally.published


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
