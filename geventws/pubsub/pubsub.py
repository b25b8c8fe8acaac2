"""PubSub: topics and their subscribers. Each loop has a branch for its own; a bus reaches those of other processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..engine.options import takes
from ..engine.published.deliveries import CLOSE, POLICIES, Limits
from ..protocol.prepared import prepare
from ..websocket import get_connection
from .branches.loops import Branches
from .broadcast import find_outlet, resolve
from .interface import JOIN, Stats, make_formed
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
    from .interface import Bus, Event, Form, Formed
    from .rooms.endpoint import Authorize, FindMember, RoomsEndpoint

__all__ = ["PubSub"]


class PubSub:
    """Rooms: connections subscribe to topics, and a message published to a topic goes to all its subscribers.

    `publish` never blocks, and a slow subscriber delays no other: a bounded queue holds what waits for it, and its
    policy says what happens when that is full. A message is encoded and compressed once for all subscribers. A
    subscription ends with its connection.

    On each connection, published and sent messages leave in the order of the calls. What is published in one turn of
    the loop leaves together at the end of the turn.

    Any kind of connection may subscribe, to any number of PubSubs. A forked child begins without subscribers.

    With the URL of a Redis or Valkey server, a PubSub reaches the subscribers in all processes that use the same
    server: see docs/scaling.rst. Without a URL, it reaches those of its own process; if the server has several
    (`wsgi.multiprocess`, as gunicorn with workers), the first subscription logs a warning.

    Args:
        url: `redis://`, `rediss://` (TLS), `unix://`, `valkey://` or `valkeys://`, in redis-py's syntax; None, the
            default, for no server. Redis Cluster and Sentinel are not supported.
        prefix: the beginning of all channels and keys there: "gws:" by default.
        history: the topics whose last messages are kept, so that a client that comes back gets what it has missed: a
            dict from a topic, or a prefix and a `*`, to `(messages, seconds)`, as `{"room:*": (100, 300)}`. The first
            pattern that matches applies. By default nothing is kept.
        max_queue_bytes: bytes that may wait for one subscriber, besides what the kernel holds: 64 KB by default. One
            message may always wait.
        max_queue: messages that may wait for one subscriber: 256 by default.
        max_topics: topics that one connection may be subscribed to: 1,024 by default.
        max_topic_length: characters of a topic: 256 by default.
        presence_grace: seconds that a member stays after its last connection has ended, so that a client that
            reconnects does not leave and join again: 5 by default.

    Raises:
        ValueError: `history` keeps less than one message, or no time, or has a `*` before the end; or the URL's scheme
            is none of the above.
        ImportError: there is a URL, but redis-py is not installed.

    Attributes:
        on_gap: called with a topic whose subscribers in this process may have missed messages; None calls nothing.
            Called in the hub, or by whoever publishes, once for each loop with subscribers. It must not block.
        on_bus: called with True when Redis becomes reachable, with False when it no longer is. Called in a greenlet of
            its own; it may block.
        on_join: called with a topic, a member and its info, when the member joins and when its info changes. It must
            not block.
        on_leave: the same when the member leaves.
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

        Does not block, except for the first use of a topic with history over a bus: that waits for Redis for up to 5
        seconds, and then goes on with a gap. A second call for the same connection changes the policy. The PubSub sends
        what is published from now on; the caller sends what was missed, which is returned.

        Args:
            ws: the connection.
            topic: the topic; it need not be created.
            policy: what happens to a message when this connection's queue is full. "close" closes the connection, with
                1013. "drop_newest" drops the message. "drop_oldest" drops the oldest waiting ones, as far as their
                policies allow. "latest" does so, too, but first drops the one with the same topic and key.
            since: the position up to which the client has the messages; "" for all that is kept; None, the default,
                for none, as for a new client.

        Returns:
            What was published after `since`, as far as it is kept: each message is either returned, or sent. Without
            `since` there are no messages, only the position. For a topic without history the position is None, and
            there is a gap if `since` is given.

        Raises:
            ConnectionClosed: the connection is closed or closing.
            ValueError: the topic is empty or too long (`max_topic_length`), the connection has too many topics
                (`max_topics`), or there is no such policy.
            TypeError: the topic is not a `str`, or `ws` is not a connection.
            ConcurrencyError: the connection belongs to another thread.
        """
        found = self._join(ws, topic, policy, since, None)
        return found.recover()

    def subscribe_as(
        self, ws: BaseWebSocket, topic: str, form: Form, policy: str = CLOSE, since: str | None = None
    ) -> Formed:
        """Do the same for a connection that gets the messages, and events, in a form."""
        found = self._join(ws, topic, policy, since, form)
        return make_formed(found, topic, form)

    def history(self, topic: str, since: str | None = None, limit: int | None = None) -> Recovered:
        """Return what was published to a topic lately. Any thread may call it; it blocks as `subscribe` does.

        Args:
            topic: the topic.
            since: return the messages after this position; "" or None for all.
            limit: the number of messages to return at most: with `since`, the oldest, so that the next call can go on
                from the returned position; without `since`, the latest. None for no limit.

        Raises:
            ValueError: the topic is empty or too long, or the limit is negative.
            TypeError: the topic is not a `str`.
        """
        found = self._look(topic, since, limit)
        return found.recover()

    def history_as(self, topic: str, form: Form, since: str | None = None, limit: int | None = None) -> Formed:
        """Do the same, and return the messages in a form."""
        found = self._look(topic, since, limit)
        return make_formed(found, topic, form)

    def unsubscribe(self, ws: BaseWebSocket, topic: str) -> bool:
        """End a subscription; return whether there was one. Does not block; to be called in the connection's thread.

        Messages published before are still sent.

        Raises:
            TypeError: `ws` is not a connection.
            ConcurrencyError: the connection belongs to another thread.
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

        A handler of `signal.signal` may not: it can interrupt any step of ours. One of `gevent.signal_handler` may.

        Args:
            topic: the topic.
            message: `str` for text, bytes-like for binary, or a `PreparedMessage`.
            exclude: a connection that does not get the message: often its author's.
            key: what the message is about: for subscribers with the policy "latest", it replaces the waiting message
                with the same topic and key. Over a bus, a `str`.

        Returns:
            The number of subscribers in this process that the message goes to.

        Raises:
            TypeError: the message is of another type, `exclude` is not a connection, or the topic is not a `str`.
            ValueError: the topic is empty or too long (`max_topic_length`).
        """
        if type(topic) is not str or not 0 < len(topic) <= self._max_topic_length:
            self._check_topic(topic)
        prepared = prepare(message)
        excluded = get_connection(resolve(exclude)).outlet if exclude is not None else None
        return self._store.publish(topic, prepared, excluded, key)

    def track(self, ws: BaseWebSocket, topic: str, member: str, info: Any = None) -> None:
        """Make a connection one of a member's in a topic. The member joins with its first connection there.

        It leaves `presence_grace` seconds after its last connection has ended. The connection need not be subscribed;
        it stands for one member in a topic: a call with another name replaces the first. Does not block; to be called
        in the connection's thread.

        Args:
            ws: the connection.
            topic: the topic.
            member: the name of the member: 1 to 256 characters.
            info: what others see of it besides the name: a JSON value of at most 4,096 bytes. The last one applies.

        Raises:
            ConnectionClosed: the connection is closed or closing.
            ValueError: the topic, the name or the info is too long, or the connection is in too many (`max_topics`).
            TypeError: the topic or the name is not a `str`, the info is not JSON, or `ws` is not a connection.
            ConcurrencyError: the connection belongs to another thread.
        """
        self._check_topic(topic)
        outlet = find_outlet(ws)
        if outlet.connection.closed:
            raise outlet.connection.closed_error()
        self._presence.track(outlet, topic, member, info)

    def untrack(self, ws: BaseWebSocket, topic: str, at_once: bool = True) -> bool:
        """Undo `track` for a connection and a topic; return whether the connection was a member's there.

        Does not block; to be called in the connection's thread.

        Args:
            ws: the connection.
            topic: the topic.
            at_once: if this was the member's last connection, the member leaves at once (True, the default), or after
                `presence_grace` seconds (False).

        Raises:
            TypeError: `ws` is not a connection.
            ConcurrencyError: the connection belongs to another thread.
        """
        return self._presence.untrack(find_outlet(ws), topic, at_once)

    def presence(self, topic: str) -> dict[str, Any]:
        """Return the members of a topic and the info of each, the first to join first.

        Any thread may call it. Does not block without a bus. Over a bus, it may block for up to 5 seconds until Redis
        has told the members of other processes; if it does not answer, only those of this process are returned.
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

        The functions get the environ of the handshake. They may block: only the next request of the same client waits
        for them. If one raises, the client gets an error ("failed"), and the exception is logged.

        Args:
            authorize: called with environ, an action and a topic; returns whether this client may do that. The actions
                are "subscribe", "publish" and "presence" (see the members, and be one). None allows nothing.
            member: called with environ; returns the member that this client is: a name, or a name and an info (a JSON
                value), or None for no member. So a client cannot choose its name. Without it, nobody is a member.
            options: see `RoomsOptions`.

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
        """Return the number of connections subscribed to a topic. Does not block; any thread may call it."""
        return sum(map(len, self._branches.find(topic)))

    def topics(self, ws: BaseWebSocket) -> list[str]:
        """Return the topics that a connection is subscribed to, the oldest subscription first. Does not block."""
        outlet = get_connection(resolve(ws)).outlet
        return [name for branch in self._branches.all() for name in branch.topics.names(outlet)]

    @property
    def stats(self) -> Stats:
        """Counts of messages, topics and subscriptions. Does not block; any thread may read them."""
        total, branches = self._branches.stats, self._branches.all()
        names = {name for branch in branches for name in branch.topics}
        subscriptions = sum([branch.topics.count for branch in branches])
        counts = (total.published, total.sent, total.queued, total.dropped, total.abandoned)
        bus = self._bus.stats if self._bus is not None else None
        return Stats(*counts, len(names), subscriptions, bus)

    def flush(self, timeout: float = 2.0) -> bool:
        """Block until Redis has answered for all published messages; return whether it has.

        Python does this at its normal exit. Call it before a process ends in another way, as by `os._exit`.

        Args:
            timeout: seconds to block at most, after which it returns False: 2 by default.
        """
        return self._bus is None or self._bus.flush(timeout)

    def close(self, timeout: float = 2.0) -> bool:
        """Do the same, and disconnect from Redis. A later `subscribe` or `publish` connects again."""
        return self._bus is None or self._bus.close(timeout)

    def use(self, bus: Bus) -> None:
        """Reach other processes over a bus. Internal; called before anything else."""
        self._presence.use(bus)
        self._store.use(bus, self._presence)

    def note_topic(self, topic: str, begun: bool) -> None:
        """Note that a loop has its first subscriber of a topic, or that its last has left. Internal."""
        self._store.note_topic(topic, begun)
        self._presence.note_topic(topic, begun)

    def tell_bus(self, is_up: bool) -> None:
        """Tell the application that the bus is connected, or no longer is. Internal."""
        if self.on_bus is not None:
            self.on_bus(is_up)

    def tell_presence(self, topic: str, event: Event) -> None:
        """Tell the application who has joined or left. Internal."""
        function = self.on_join if event.kind == JOIN else self.on_leave
        if function is not None and event.member is not None:
            function(topic, event.member, event.info)

    def tell_gap(self, topic: str) -> None:
        """Tell the application that subscribers of a topic miss messages. Internal."""
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
            raise ValueError(f"a limit is 0 or more, not {limit}")
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
