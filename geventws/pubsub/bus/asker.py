"""Asker: sends the commands of a process to Redis, and takes the answers. Commands publish messages, or ask something.

Commands are sent in the order of the calls, those of one turn of the loop together, and answered in the same order.
What waits is bounded: 10,000 messages, 4 MB, 10,000 questions, and 5 seconds without a connection. A message beyond
that is dropped and counted; a question gets None as its answer.

If a connection is lost before a command is answered, the command is sent again over the next one. Redis may have had it
already; so each message has a number, by which the receivers recognise the second copy.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ...text import one_line
from .link import Link
from .wire.resp import Refusal, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ...engine.loop.poller import Poller
    from .connection import Address

MOST_WAITING = 10_000
"""Messages that may wait for an answer, and as many questions."""

MOST_BYTES = 4 * 1024 * 1024
"""Bytes of these messages; one message may always wait, however large it is."""

MOST_SECONDS = 5.0
"""Seconds that a command waits for a connection at most."""

NOT_NOW = frozenset(("BUSY", "LOADING", "MASTERDOWN", "NOSCRIPT", "READONLY", "TRYAGAIN", "UNKILLABLE"))
"""Codes of temporary errors: the connection is aborted, and the refused command is sent over the next one."""

PING = pack(b"PING")


class Order(NamedTuple):
    """A command that is not answered yet.

    Attributes:
        data: its bytes.
        born: the time when it was given; 0 for scripts, which each connection sends anew.
        is_message: whether it publishes a message.
        done: called with the answer, or with None if there is none; None calls nothing.
    """

    data: bytes
    born: float
    is_message: bool
    done: Callable[[Any], None] | None


class Owner(Protocol):
    """The core."""

    def link_up(self) -> None:
        """Note that a link is connected."""

    def link_down(self, error: Exception) -> None:
        """Note that a link is lost, or that an attempt to connect has failed."""


class Asker:
    """The commands of one process.

    Args:
        address: where Redis is.
        poller: the loop's.
        owner: notified when the link goes up or down.
        scripts: the Lua scripts that commands run by `EVALSHA`.

    Attributes:
        link: the connection for commands.
        published: messages that were to be published.
        sent: messages that Redis has accepted.
        dropped: messages that found the queue full, waited too long for a connection, or were refused.
    """

    def __init__(self, address: Address, poller: Poller, owner: Owner, scripts: Iterable[bytes] = ()) -> None:
        self.link: Link = Link(address, poller, self)
        self.published: int = 0
        self.sent: int = 0
        self.dropped: int = 0
        self._poller = poller
        self._now = poller.clock.monotonic  # returns the time in seconds
        self._owner = owner
        self._scripts = [pack(b"SCRIPT", b"LOAD", script) for script in scripts]  # commands that load them
        self._waiting: deque[Order] = deque()  # commands that wait for a connection
        self._asked: deque[Order] = deque()  # commands that wait for an answer
        self._size = 0  # bytes of the messages in both
        self._is_refused = False  # whether to ignore further answers over this connection
        self._told: set[str] = set()  # codes of the refusals that were logged

    @property
    def queued(self) -> int:
        """How many messages Redis has not answered yet."""
        return self.published - self.sent - self.dropped

    def publish(self, data: bytes) -> bool:
        """Send a command that publishes a message; or drop it, count that, and return False."""
        queued = self.queued
        self.published += 1
        if queued >= MOST_WAITING or (queued and self._size + len(data) > MOST_BYTES):
            self.dropped += 1
            return False
        self._size += len(data)
        self._add(Order(data, self._now(), True, None))
        return True

    def ask(self, data: bytes, done: Callable[[Any], None] | None = None) -> None:
        """Send a command, and call `done` with its answer; with None if too many wait, or it waits too long."""
        if len(self._waiting) + len(self._asked) - self.queued >= MOST_WAITING:
            if done is not None:
                self._poller.later(done, None)
            return
        self._add(Order(data, self._now(), False, done))

    def expire(self) -> None:
        """Drop commands that have waited too long for a connection. To be called about once a second."""
        limit = self._now() - MOST_SECONDS
        while self._waiting and self._waiting[0].born < limit:
            self._give_up(self._waiting.popleft())

    def _add(self, order: Order) -> None:
        if self.link.up:
            self._asked.append(order)
            self.link.send(order.data)
        else:
            self._waiting.append(order)

    def _give_up(self, order: Order) -> None:
        if order.is_message:
            self._size -= len(order.data)
            self.dropped += 1
        elif order.done is not None:
            order.done(None)

    # The link

    def connected(self) -> None:
        """Load the scripts, and send the commands that wait."""
        self._is_refused = False
        for script in self._scripts:
            self._add(Order(script, 0.0, False, None))
        self.expire()
        waiting, self._waiting = self._waiting, deque()
        for order in waiting:
            self._add(order)
        self._owner.link_up()

    def receive(self, reply: Any) -> None:
        """Take an answer."""
        if self._is_refused:
            return
        order = self._asked.popleft()
        if isinstance(reply, Refusal):
            self._take_refusal(order, reply)
            return
        if order.is_message:
            self.sent += 1
            self._size -= len(order.data)
        if order.done is not None:
            order.done(reply)

    def _take_refusal(self, order: Order, refusal: Refusal) -> None:
        if refusal.code in NOT_NOW:
            self._is_refused = True
            self._asked.appendleft(order)
            self.link.abort(str(refusal))
            return
        if refusal.code not in self._told:
            self._told.add(refusal.code)
            self._poller.log.tell(logging.ERROR, "Redis has refused a command: %s", one_line(str(refusal)))
        self._give_up(order)

    def ping(self) -> None:
        """Ask Redis for a sign of life."""
        self._add(Order(PING, self._now(), False, None))

    def lost(self, error: Exception) -> None:
        """Keep the commands without an answer for the next connection."""
        self._waiting.extendleft(order for order in reversed(self._asked) if order.born)
        self._asked.clear()
        self._owner.link_down(error)

    def failed(self, error: Exception) -> None:
        """Note that Redis cannot be reached."""
        self._owner.link_down(error)
