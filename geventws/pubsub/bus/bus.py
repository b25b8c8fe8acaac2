"""RedisBus: the way from a PubSub to other processes. It passes each call, from whatever thread, to its core."""

from __future__ import annotations

import atexit
import time
from contextlib import suppress
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

import gevent
from gevent._hub_local import get_hub_if_exists
from gevent.monkey import get_original

from ...engine.loop.forks import register
from ...engine.loop.waiters import Answer
from ...text import quoted
from ..interface import BusStats
from .connection import Address
from .core import Core, Counts
from .home import Home, RLock, is_served
from .wire.messages import Names

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...protocol.prepared import PreparedMessage
    from ..history import Rule
    from ..interface import Receiver

MOST_WAITING = 10_000
"""Messages of other threads that may wait for the core's loop; further ones are dropped and counted."""

MOST_WAITING_BYTES = 4 * 1024 * 1024
"""Bytes of these messages; one message may always wait."""

AT_EXIT = 2.0
"""Seconds that a program waits at its exit until Redis has answered for what it has published."""

JOIN = 1.0
"""Seconds to wait until a thread of the bus's own has ended."""

PAUSE = 0.002
"""Seconds between two looks at whether Redis has answered."""

READ_TIMEOUT = 5.0
"""Seconds to wait for the history of a topic."""

_sleep: Any = get_original("time", "sleep")


class _Lodging(NamedTuple):
    """A core, and the loop in which it lives."""

    core: Core
    home: Home


class RedisBus:
    """The bus of one PubSub. Any thread may call any method.

    Args:
        url: where Redis is.
        prefix: the beginning of all channels and keys.

    Raises:
        ValueError: the URL's scheme, or an option in it, is unknown.

    Attributes:
        loop: None: it belongs to no loop.
        nodes: the names of this process.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self.loop: Any = None
        self._address = Address(url)  # where Redis is
        self._names = Names(prefix)  # of channels and keys
        self._receiver: Any = None  # the PubSub
        self._lodging: _Lodging | None = None  # the core and its loop; None until it is needed
        self.nodes: set[bytes] = set()
        self._watched: dict[str, Rule | None] = {}  # topics with subscribers here, and how much of them is kept
        self._past: list[_Lodging] = []  # earlier ones that have not moved out yet
        self._counts = Counts()  # of those that have
        self._waiting = 0  # messages of other threads that wait for the core's loop
        self._waiting_bytes = 0  # the bytes of these messages
        self._overflow = 0  # messages dropped because too many waited there
        # protects all these; reentrant, as the garbage collector may end a connection, which takes it, while it is held
        self._lock = RLock()
        register(self)
        _buses.add(self)

    def forked(self) -> None:
        """Start afresh, in a forked child."""
        self._lodging = None
        self.nodes = set()
        self._watched.clear()
        self._past.clear()
        self._counts = Counts()
        self._waiting = self._waiting_bytes = self._overflow = 0
        self._lock = RLock()

    def start(self, receiver: Receiver) -> None:
        """Set the PubSub. Called before every other method."""
        self._receiver = receiver

    # Topics

    def subscribe(self, topic: str, rule: Rule | None) -> None:
        """Receive what others publish to a topic, which has its first subscriber, or a reader, here.

        Args:
            topic: the topic.
            rule: how much of it is kept; None for nothing.
        """
        with self._lock:
            core, home = self._lodge(will_receive=not self._watched)
            self._watched[topic] = rule
        home.call(self._sync, core, topic)

    def unsubscribe(self, topic: str) -> None:
        """Stop receiving a topic, whose last subscriber here has left."""
        with self._lock:
            self._watched.pop(topic, None)
            lodging = self._lodging
        if lodging is not None:
            lodging.home.call(self._sync, lodging.core, topic)

    def _sync(self, core: Core, topic: str, missed: bool = False) -> None:
        if topic in self._watched:
            core.watch(topic, self._watched[topic], missed)
        else:
            core.unwatch(topic)

    # Messages

    def publish(
        self, topic: str, message: PreparedMessage, key: str | None, rule: Rule | None, ticket: int | None
    ) -> bool:
        """Publish a message: see `Bus.publish`.

        Raises:
            RuntimeError: the server is a Redis Cluster or a Sentinel, which are not supported.
        """
        core, home = self._lodge()
        if home.is_here:
            return core.publish(topic, message, key, rule, ticket)
        size = len(message.payload)
        with self._lock:
            if self._waiting and (self._waiting >= MOST_WAITING or self._waiting_bytes + size > MOST_WAITING_BYTES):
                self._overflow += 1
                return False
            self._waiting += 1
            self._waiting_bytes += size
        home.call(self._publish_there, core, topic, message, key, rule, ticket)
        return True

    def _publish_there(self, core: Core, topic: str, message: PreparedMessage, *rest: Any) -> None:
        with self._lock:
            self._waiting -= 1
            self._waiting_bytes -= len(message.payload)
        core.publish(topic, message, *rest)

    def read(self, topic: str, rule: Rule) -> None:
        """Block until the PubSub has what is kept of a topic that it is subscribed to: 5 seconds at most.

        Raises:
            TimeoutError: there is no connection, no answer in time, or the caller must not block.
        """
        core, home = self._lodge()
        answer = Answer()
        home.call(core.read, topic, answer.set)
        if not answer.wait(READ_TIMEOUT):
            raise TimeoutError(f"the history of {quoted(topic)} cannot be read")

    def ask(self, command: Callable[[Names, bytes], bytes], done: Callable[[Any], object]) -> None:
        """Send a command to Redis.

        Args:
            command: builds the command from the names of keys and the name of this process.
            done: called in the core's loop with the answer, or with None if there is none. It must not raise.
        """
        core, home = self._lodge()
        home.call(core.ask, command, done)

    # The core, and where it lives

    def _lodge(self, will_receive: bool = False) -> _Lodging:
        """Return the core and its loop. Make a core if there is none, if its loop is gone, or if it should move.

        Args:
            will_receive: whether this loop has the first subscribers: a core in a thread of its own then moves here.

        Raises:
            RuntimeError: the server is a Redis Cluster or a Sentinel, which are not supported.
        """
        lodging = self._lodging
        if lodging is not None and lodging.core.error is not None:
            raise lodging.core.error
        is_free = lodging is None or lodging.home.closed
        if lodging is not None and not is_free and not (will_receive and lodging.home.is_rented and is_served()):
            return lodging
        with self._lock:
            if self._lodging is lodging:
                self._lodging = self._move(lodging)
            return self._lodging  # type: ignore[return-value]

    def _move(self, before: _Lodging | None, is_ending: bool = False) -> _Lodging:
        """Make a core, in this thread's loop if that is sure to run.

        Args:
            before: the one whose place it takes. Topics that are watched there have a gap.
            is_ending: whether this thread's loop ends.
        """
        core = Core(self._address, self._names, self._receiver, self.nodes)
        home = Home(core, self._go_on)
        if is_served() and not is_ending:
            home.settle()
        else:
            home.rent()
        for topic in list(self._watched):
            home.call(self._sync, core, topic, True)
        if before is not None and before.home.closed:
            for function, _, *arguments in before.home.take_calls():
                if function == self._publish_there:
                    home.call(function, core, *arguments)
        elif before is not None:
            before.home.call(before.core.finish, before.home.leave)
        self._note_past(before)
        return _Lodging(core, home)

    def _go_on(self) -> None:
        """Move to another thread if there are subscribers: the loop has ended. Called in its thread."""
        with self._lock, suppress(RuntimeError):  # no thread can be started when the program ends
            lodging = self._lodging
            if lodging is not None and lodging.home.closed and self._watched:
                self._lodging = self._move(lodging, is_ending=True)

    def _note_past(self, latest: _Lodging | None = None) -> None:
        """Add up the counts of the cores that have moved out. What Redis has not answered there is dropped."""
        past = [*self._past, latest] if latest is not None else self._past
        self._past = [one for one in past if not one.home.closed]
        for core in [one.core for one in past if one not in self._past]:
            counts = core.counts
            counts = counts._replace(dropped=counts.published - counts.sent)
            self._counts = Counts(*map(add, self._counts, counts))

    def _find_cores(self) -> list[Core]:
        """Return the cores whose counts may still change."""
        self._note_past()
        return [one.core for one in (*self._past, self._lodging) if one is not None]

    @property
    def queued(self) -> int:
        """How many messages Redis has not answered yet."""
        with self._lock:
            return self._waiting + sum([core.queued for core in self._find_cores()])

    @property
    def stats(self) -> BusStats:
        """The counts of messages, and whether Redis can be reached."""
        with self._lock:
            lodging = self._lodging
            counts = [core.counts for core in self._find_cores()]
            total = Counts(*map(sum, zip(self._counts, *counts, strict=True)))
            published, dropped = total.published + self._waiting + self._overflow, total.dropped + self._overflow
        queued = published - total.sent - dropped
        is_up = lodging is not None and lodging.core.is_up
        return BusStats(is_up, published, total.sent, queued, dropped, *total[3:])

    def flush(self, timeout: float) -> bool:
        """Block until Redis has answered for all published messages, or the time is up; return whether it has."""
        deadline = time.monotonic() + timeout
        while self.queued:
            hub = get_hub_if_exists()
            if time.monotonic() > deadline or hub is gevent.getcurrent():
                return False
            (_sleep if hub is None else gevent.sleep)(PAUSE)
        return True

    def close(self, timeout: float) -> bool:
        """Do the same, and close the connections. A later `subscribe` or `publish` opens new ones."""
        is_flushed = self.flush(timeout)
        with self._lock:
            lodging, self._lodging = self._lodging, None
            self._note_past(lodging)
        if lodging is not None:
            lodging.home.call(lodging.home.leave)
            lodging.home.join(JOIN)
        return is_flushed


_buses: WeakSet[RedisBus] = WeakSet()


def _close_all() -> None:
    """Close all buses at exit: so messages published last are not lost, and no thread outlives the interpreter."""
    for bus in list(_buses):
        bus.close(AT_EXIT)


atexit.register(_close_all)
