"""Turns: how long one piece of work may hold up the loop, and who goes on in a later turn.

A loop serves everybody only if nobody holds it up for long. Code that may have more to do than TURN allows counts its
work (`spend`), and waits for the next turn when this one is over. The clock is read only once for many small pieces of
work.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Any

import gevent
from gevent.exceptions import HubDestroyed
from greenlet import getcurrent, greenlet

from .forks import keep

if TYPE_CHECKING:
    from collections.abc import Callable

    from .system import Clock

TURN = 0.005
"""Seconds of work after which the loop has its turn."""

UNITS = 64
"""Units of work, some ten microseconds each, between two looks at the clock."""

MANY_UNITS = 16
"""Units after which `note` looks at the clock at once."""

MOST_BATCHES = 64
"""Batches of messages that are remembered, besides those that are not yet done with."""

UNIT_SIZE = 16 * 1024
"""Bytes whose sending takes about a unit."""


def count_units(members: int, size: int) -> int:
    """Return the units of work that it takes to send `size` bytes to so many connections."""
    return members * (1 + size // UNIT_SIZE)


class Turns:
    """The turns of one loop.

    Args:
        hub: the loop's.
        clock: the loop's.
        polled: returns the time, by that clock, when the loop last asked which sockets are ready, as far as is known.
        may_block: returns whether the running code may wait for its turn: callbacks may not.

    Attributes:
        ends: functions that are called in the loop's thread when there will be no turn any more: the hub is about to be
            destroyed, or the thread ends without that. They must not raise.
        overdue: whether `note`, which does not wait itself, has found that this turn is over.
        notes: whether `note` was ever called.
    """

    def __init__(self, hub: Any, clock: Clock, polled: Callable[[], float], may_block: Callable[[], bool]) -> None:
        self.ends: list[Callable[[], object]] = []
        self._hub = hub
        self._now = clock.monotonic  # returns the time in seconds
        self._polled = polled
        self._may_block = may_block
        self._began = 0.0  # when the loop last had its turn, as far as is known here
        self.overdue: bool = False
        self.notes: bool = False
        self._batches: list[tuple[Any, Any]] = []  # for each taker of messages: the list they came from, and its own
        self._left = UNITS  # until the next look at the clock
        self._waiting: deque[Any] = deque()  # greenlets, and callbacks of the hub, that go on in the next turn
        self._timer = clock.timer(0)  # before libev and libuv call it, they ask for what is ready

    def is_over(self) -> bool:
        """Return whether this turn has lasted long enough, so that the loop should go on."""
        return self._now() - max(self._began, self._polled()) >= TURN

    def spend(self, units: int) -> None:
        """Count work that was done; after too much of it, block this greenlet until the loop has had its turn."""
        self._left -= units
        if self._left < 0:
            self.look()

    def note(self, members: int, size: int) -> None:
        """Count a message that a call that never blocks publishes. After too much of it, return the handlers' pending
        messages.

        A handler that publishes for each message would otherwise go on until it has no message left: now it waits for
        the next turn when it takes the next one.

        Args:
            members: how many connections get the message.
            size: its bytes.
        """
        self.notes = True
        units = 1 + count_units(members, size) // 2
        self._left -= units
        if self._left < 0 or units > MANY_UNITS:
            self._left = UNITS
            if self.is_over():
                self.overdue = True
                for inbox, pending in self._batches:
                    inbox[:0] = pending[::-1]
                    pending.clear()
                self._batches.clear()

    def remember(self, inbox: Any, pending: Any) -> None:
        """Note whose messages were taken from `inbox` to `pending`, the newest first: see `note`.

        To be called once `notes` is set.
        """
        if len(self._batches) >= MOST_BATCHES:
            self._batches = [batch for batch in self._batches if batch[1]]
        self._batches.append((inbox, pending))

    def look(self) -> None:
        """Block this greenlet until the loop has had its turn, if that is due. Callbacks do not wait."""
        self._left = UNITS
        if not self.is_over():
            self.overdue = False
        elif self._may_block():
            self._wait()

    def _wait(self) -> None:
        go_on = getcurrent().switch
        self.later(go_on)
        try:
            greenlet.switch(self._hub)
        finally:
            if go_on in self._waiting:  # an exception was thrown into this greenlet
                self._waiting.remove(go_on)

    def later(self, callback: Callable[[], object]) -> None:
        """Have the hub call this in the next turn."""
        if not self._waiting:
            self._timer.start(self._next)
        self._waiting.append(callback)

    def leave(self) -> None:
        """In a forked child: let greenlets wait for good, as their connections are the parent's."""
        keep(*self._waiting)
        self._waiting.clear()

    def end(self) -> None:
        """Note that there will be no turn any more."""
        ends, self.ends = self.ends, []
        for end in ends:
            end()

    def _next(self) -> None:
        """Let those that wait go on: at least one, and more until this turn is over. Never raises."""
        waiting = self._waiting
        self._began, self.overdue = self._now(), False
        while waiting:
            try:
                waiting.popleft()()
            except HubDestroyed:
                raise
            except BaseException:  # from a greenlet that leaves its errors to the hub
                gevent.spawn(self._hub.handle_error, self, *sys.exc_info())
            if self.is_over():
                break
        if waiting:
            self._timer.start(self._next)
