"""Turns: how long one loop may be kept from its other work, and who goes on later.

A loop serves everybody only as long as each gives it back. Whoever may have more to do than TURN allows counts what it
does (`spend`), and waits for the next turn when this one is over. The clock is looked at once for many small things.
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

UNIT_SIZE = 16 * 1024
"""Bytes whose sending takes about a unit."""


class Turns:
    """The turns of one loop.

    Args:
        hub: the loop's.
        clock: the loop's.
        polled: returns when the loop was last known to ask for what is ready, by that clock.
        may_block: whether the code that runs may wait for its turn: callbacks may not.
    """

    def __init__(self, hub: Any, clock: Clock, polled: Callable[[], float], may_block: Callable[[], bool]) -> None:
        self._hub = hub
        self._now = clock.monotonic  # tells the time
        self._polled = polled
        self._may_block = may_block
        self._began = 0.0  # when the loop last had its turn, as far as we know
        self._left = UNITS  # until the next look at the clock
        self._waiting: deque[Any] = deque()  # greenlets, and callbacks of the hub, that go on in the next turn
        self._timer = clock.timer(0)  # libev and libuv ask for what is ready before they call it

    def is_over(self) -> bool:
        """Whether it is the loop's turn."""
        return self._now() - max(self._began, self._polled()) >= TURN

    def spend(self, units: int) -> None:
        """Count work that was done; where it has been too much, block this greenlet until the loop has had its turn."""
        self._left -= units
        if self._left < 0:
            self.look()

    def look(self) -> None:
        """Block this greenlet until the loop has had its turn, if that is due. Callbacks do not wait."""
        self._left = UNITS
        if self.is_over() and self._may_block():
            self._wait()

    def _wait(self) -> None:
        go_on = getcurrent().switch
        self.later(go_on)
        try:
            greenlet.switch(self._hub)
        finally:
            if go_on in self._waiting:  # somebody has thrown something into it
                self._waiting.remove(go_on)

    def later(self, callback: Callable[[], object]) -> None:
        """Have the hub call this in the next turn."""
        if not self._waiting:
            self._timer.start(self._next)
        self._waiting.append(callback)

    def leave(self) -> None:
        """Let those that wait do so for good, in a forked child: what they are about is its parent's."""
        keep(*self._waiting)
        self._waiting.clear()

    def _next(self) -> None:
        """Let those go on that wait, as far as this turn reaches: at least one. Never raises."""
        waiting = self._waiting
        self._began = self._now()
        while waiting:
            try:
                waiting.popleft()()
            except HubDestroyed:
                raise
            except BaseException:  # of a greenlet that leaves its errors to the hub
                gevent.spawn(self._hub.handle_error, self, *sys.exc_info())
            if self.is_over():
                break
        if waiting:
            self._timer.start(self._next)
