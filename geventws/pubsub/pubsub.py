"""PubSub: topics, their subscribers, and what is published to them. Each loop has a branch; a bus has the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..engine.options import takes
from ..engine.published.deliveries import CLOSE, POLICIES, Limits
from ..protocol.prepared import prepare
from ..websocket import get_connection
from .branches.loops import Branches
from .broadcast import find_outlet, resolve
from .interface import JOIN, make_formed
from .presence.presence import Presence
from .rooms.endpoint import ROOMS_DEFAULTS, RoomsOptions, make_endpoint
from .store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from typing_extensions import Unpack

    from ..protocol.prepared import Message, PreparedMessage
    from ..websocket import BaseWebSocket
    from .bus.bus import RedisBus
    from .history import Found, Recovered
    from .interface import Bus, BusStats, Event, Form, Formed
    from .rooms.endpoint import Authorize, FindMember, RoomsEndpoint

__all__ = ["PubSub", "Stats"]


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
    bus: BusStats | None = None
    """What went to other processes and came from them; None where there is no bus."""


class PubSub:
    """Rooms: connections subscribe to topics, and a message that is published to a topic goes to all its subscribers.

    `publish` never blocks, and a subscriber that is slow delays no other: what waits for it is bounded, and its policy
    says what happens then. A message is encoded and compressed once for all. A subscription ends with its connection.

    On each connection, what is published and what is sent leaves in the order of the calls. What is published in one
    turn of the loop leaves together at its end.

    Any kind of connection may subscribe, to any number of PubSubs. A forked child begins without subscribers.

    With the URL of a Redis or Valkey, it reaches the subscribers of all processes that have the same: see
    docs/scaling.rst. Without, those of its own process.

    Args:
        url: `redis://`, `rediss://` (TLS), `unix://`, `valkey://` or `valkeys://`, as redis-py has them; by default
            None. Redis Cluster and Sentinel are not supported.
        prefix: what all channels and keys there begin with: "gws:" by default.
        history: of which topics the last messages are kept, so that one who comes back gets what it has missed: a dict
            of `(messages, seconds)` by the topic, or by what it begins with and a `*`, as `{"room:*": (100, 300)}`. The
            first that matches holds. By default nothing is kept.
        max_queue_bytes: bytes that may wait for one subscriber, besides what the kernel holds: 64 KB by default. One
            message may always wait.
        max_queue: messages that may wait for one subscriber: 256 by default.
        max_topics: topics that one connection may be subscribed to: 1,024 by default.
        max_topic_length: characters of a topic: 256 by default.
        presence_grace: for how many seconds a member stays whose last connection has ended, so that one who reconnects
            has not left: 5 by default.

    Raises:
        ValueError: `history` keeps less than one message, or no time, or has a `*` elsewhere than at the end; or the
            URL is none of Redis's.
        ImportError: there is a URL, and redis-py is not installed.

    Attributes:
        on_gap: a function that is called with a topic where subscribers in this process miss messages of it, though its
            history is kept; None for none. Called in the hub, or by whoever publishes: it must not block. Once for each
            loop with subscribers.
        on_bus: a function that is called with True when Redis can be reached, and with False when it cannot, whenever
            that changes; None for none. Called in a greenlet of its own; it may block.
        on_join: a function that is called with a topic, a member, and what is told of it, when it joins, and when that
            is something else; None for none. It must not block, either.
        on_leave: the same when it leaves.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        prefix: str = "gws:",
        history: Mapping[str, tuple[int, float]] | None = None,
        max_queue_bytes: int = 64 * 1024,
        max_queue: int = 256,
        max_topics: int = 1024,
        max_topic_length: int = 256,
        presence_grace: float = 5.0,
    ) -> None:
        self._max_topic_length = max_topic_length
        self._branches = Branches(Limits(max_queue_bytes, max_queue), max_topics, self)
        self._store = Store(history or {}, self._branches, self)
        self._presence = Presence(self._store, self._branches, self, presence_grace, max_topics)
        self.on_gap: Callable[[str], object] | None = None
        self.on_bus: Callable[[bool], object] | None = None
        self.on_join: Callable[[str, str, Any], object] | None = None
        self.on_leave: Callable[[str, str, Any], object] | None = None
        self._bus: RedisBus | None = None
        if url is not None:
            self._bus = _make_bus(url, prefix)
            self.use(self._bus)

    def subscribe(
        self, ws: BaseWebSocket, topic: str, policy: str = CLOSE, since: str | None = None
    ) -> Recovered:
        """Subscribe a connection to a topic, until it ends. To be called in the connection's thread.

        Does not block, unless the topic has a history over a bus: at its first use in a process it waits for Redis, for
        5 seconds at the most, and goes on with a gap. A second call for the same connection changes the policy. What is
        published from now on is sent; what was missed, which this returns, is for the caller to send.

        Args:
            ws: the connection.
            topic: the topic; it needs no other preparation.
            policy: what happens to a message when this connection's queue is full. "close" closes it, with
                1013. "drop_newest" drops the message. "drop_oldest" drops the oldest that wait, as far as their policy
                allows. "latest" first drops the one that waits with the same topic and key, and then does the same.
            since: the position up to which its client has the messages; "" for all that is kept; None for one that
                comes for the first time, and wants none.

        Returns:
            What was published after `since`, as far as it is kept: each message is either in here, or is sent. Without
            `since` there are no messages, only the position. For a topic without history the position is None, and to
            give `since` is a gap.

        Raises:
            ConnectionClosed: the connection is over, or has begun to close.
            ValueError: the topic is empty or too long (`max_topic_length`), the connection has as many as it may
                (`max_topics`), or there is no such policy.
            TypeError: the topic is no `str`, or `ws` no connection.
            ConcurrencyError: this is another thread than that of the connection.
        """
        found = self._join(ws, topic, policy, since, None)
        return found.recover()

    def subscribe_as(
        self, ws: BaseWebSocket, topic: str, form: Form, policy: str = CLOSE, since: str | None = None
    ) -> Formed:
        """Do the same for a connection that gets the messages in a form, and is told of events."""
        found = self._join(ws, topic, policy, since, form)
        return make_formed(found, topic, form)

    def history(self, topic: str, since: str | None = None, limit: int | None = None) -> Recovered:
        """Return what was published to a topic lately. Any thread may call it; it waits as `subscribe` does.

        Args:
            topic: the topic.
            since: return the messages after this position, or all with ""; without it, the last ones.
            limit: how many at the most: the oldest after `since`, so that one goes on from the position that is
                returned; without `since`, the latest. None for all that is kept.

        Raises:
            ValueError: the topic is empty or too long, or the limit is negative.
            TypeError: the topic is no `str`.
        """
        found = self._look(topic, since, limit)
        return found.recover()

    def history_as(self, topic: str, form: Form, since: str | None = None, limit: int | None = None) -> Formed:
        """Do the same in a form."""
        found = self._look(topic, since, limit)
        return make_formed(found, topic, form)

    def unsubscribe(self, ws: BaseWebSocket, topic: str) -> bool:
        """End a subscription; return whether there was one. Does not block; to be called in the connection's thread.

        What was published before is still sent.

        Raises:
            TypeError: `ws` is no connection.
            ConcurrencyError: this is another thread than that of the connection.
        """
        outlet = find_outlet(ws)
        return self._branches.get().unsubscribe(outlet, topic)

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
            How many subscribers it has in this process.

        Raises:
            TypeError: the message is of another type, or `exclude` no connection; or the topic is no `str`.
            ValueError: the topic is empty or too long (`max_topic_length`).
        """
        self._check_topic(topic)
        prepared = prepare(message)
        excluded = get_connection(resolve(exclude)).outlet if exclude is not None else None
        return self._store.publish(topic, prepared, excluded, key)

    def track(self, ws: BaseWebSocket, topic: str, member: str, info: Any = None) -> None:
        """Note that a connection is a member's, who joins a topic with the first of its connections.

        It leaves with the last, when that has ended and `presence_grace` is over. The connection need not be
        subscribed. It is one member in a topic: under another name it joins anew, and the first leaves. Does not block;
        to be called in the connection's thread.

        Args:
            ws: the connection.
            topic: the topic.
            member: the name of the member: 1 to 256 characters.
            info: what is told of it to others: anything that is JSON, of 4,096 bytes at the most. The last counts.

        Raises:
            ConnectionClosed: the connection is over, or has begun to close.
            ValueError: the topic, the name or the info is too long, or the connection is in as many topics as it may be
                (`max_topics`).
            TypeError: the topic or the name is no `str`, the info not JSON, or `ws` no connection.
            ConcurrencyError: this is another thread than that of the connection.
        """
        self._check_topic(topic)
        outlet = find_outlet(ws)
        if outlet.connection.closed:
            raise outlet.connection.closed_error()
        self._presence.track(outlet, topic, member, info)

    def untrack(self, ws: BaseWebSocket, topic: str, at_once: bool = True) -> bool:
        """Note that a connection is no member of a topic any more; return whether it was one.

        Does not block; to be called in the connection's thread.

        Args:
            ws: the connection.
            topic: the topic.
            at_once: whether the member leaves at once if this was its last connection, or after `presence_grace`.

        Raises:
            ConcurrencyError: this is another thread than that of the connection.
        """
        return self._presence.untrack(find_outlet(ws), topic, at_once)

    def presence(self, topic: str) -> dict[str, Any]:
        """Return the members that are in a topic, the first to join first, and what is told of each.

        Does not block, but over a bus: then it may wait 5 seconds for the members of other processes, and returns those
        of this one if there is no answer. Any thread may call it.
        """
        return self._presence.find(topic)

    @takes(ROOMS_DEFAULTS, RoomsOptions)
    def endpoint(
        self,
        authorize: Authorize | None = None,
        *,
        member: FindMember | None = None,
        **options: Unpack[RoomsOptions],
    ) -> RoomsEndpoint:
        """Return a WSGI application for clients that subscribe and publish by themselves: see docs/rooms-protocol.rst.

        The functions get the environ of the handshake. They may block: only what this client asks for next waits for
        them. One that raises is an error to the client, and a line in the log.

        Args:
            authorize: called with environ, an action and a topic; returns whether this client may do that. The actions
                are "subscribe", "publish" and "presence": to see who is there, and be shown. None allows nothing.
            member: called with environ; returns the name under which others see this client, or the name and an info
                that JSON can express; None for nobody, as is the default. So a client cannot say who it is.
            options: by their names.

        Raises:
            TypeError, ValueError: as `WebSocketWSGI`.
        """
        return make_endpoint(self, (authorize, member, self._max_topic_length), options)

    def subscribers(self, topic: str) -> list[BaseWebSocket]:
        """Return the connections that are subscribed to a topic. Does not block."""
        outlets = [outlet for found in self._branches.find(topic) for outlet in found]
        handles = [outlet.handle() for outlet in outlets]
        return [ws for ws in handles if ws is not None]

    def count(self, topic: str) -> int:
        """Return how many connections are subscribed to a topic. Does not block; any thread may call it."""
        return sum(map(len, self._branches.find(topic)))

    def topics(self, ws: BaseWebSocket) -> list[str]:
        """Return the topics that a connection is subscribed to, the oldest subscription first. Does not block."""
        outlet = get_connection(resolve(ws)).outlet
        return [name for branch in self._branches.all() for name in branch.topics.names(outlet)]

    @property
    def stats(self) -> Stats:
        """What became of what was published, and how many topics and subscriptions there are."""
        total, branches = self._branches.stats, self._branches.all()
        names = {name for branch in branches for name in branch.topics}
        subscriptions = sum([branch.topics.count for branch in branches])
        counts = (total.published, total.sent, total.queued, total.dropped, total.abandoned)
        bus = self._bus.stats if self._bus is not None else None
        return Stats(*counts, len(names), subscriptions, bus)

    def flush(self, timeout: float = 2.0) -> bool:
        """Block until Redis has answered for all that was published; return whether it has.

        A program does that by itself when it ends. Call it where a process ends otherwise, as by `os._exit`.

        Args:
            timeout: seconds after which it returns False.
        """
        return self._bus is None or self._bus.flush(timeout)

    def close(self, timeout: float = 2.0) -> bool:
        """Do the same, and disconnect from Redis. Whoever subscribes or publishes later connects again."""
        return self._bus is None or self._bus.close(timeout)

    def use(self, bus: Bus) -> None:
        """Reach other processes over a bus, from the beginning: for itself."""
        self._presence.use(bus)
        self._store.use(bus, self._presence)

    def note_topic(self, topic: str, begun: bool) -> None:
        """Note that a loop has its first subscriber of a topic, or that its last has left: for itself."""
        self._store.note_topic(topic, begun)
        self._presence.note_topic(topic, begun)

    def tell_bus(self, is_up: bool) -> None:
        """Tell the application that the bus is connected, or is not any more: for itself."""
        if self.on_bus is not None:
            self.on_bus(is_up)

    def tell_presence(self, topic: str, event: Event) -> None:
        """Tell the application who has joined or left: for itself."""
        function = self.on_join if event.kind == JOIN else self.on_leave
        if function is not None and event.member is not None:
            function(topic, event.member, event.info)

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
        outlet = find_outlet(ws)
        if outlet.connection.closed:
            raise outlet.connection.closed_error()
        return self._store.subscribe(outlet, topic, policy, form, since)

    def _look(self, topic: str, since: str | None, limit: int | None) -> Found:
        self._check_topic(topic)
        if limit is not None and limit < 0:
            raise ValueError(f"a limit is none or more, not {limit}")
        return self._store.find(topic, since, limit)

    def _check_topic(self, topic: str) -> None:
        if not isinstance(topic, str):
            raise TypeError(f"a topic is str, not {type(topic).__name__}")
        if not 0 < len(topic) <= self._max_topic_length:
            most = self._max_topic_length
            raise ValueError(f"a topic has 1 to {most} characters (max_topic_length), not {len(topic)}")


def _make_bus(url: str, prefix: str) -> RedisBus:
    try:
        from .bus.bus import RedisBus
    except ImportError as error:
        raise ImportError(f"PubSub over Redis needs redis-py: pip install 'geventws[redis]' ({error})") from error
    return RedisBus(url, prefix)
