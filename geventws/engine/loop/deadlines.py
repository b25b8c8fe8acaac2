"""Deadlines that are fair after something has held the loop up: what arrived in time is read before a deadline counts.

A loop that was held up finds its timers due and its sockets readable at the same moment, and runs the timers first. So
a timer of this module, when it is due, first looks for input, or gives the loop a little more time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gevent import Timeout, getcurrent

from .poller import get_poller

if TYPE_CHECKING:
    from collections.abc import Callable

    from .system import Clock

TURNS = 64
"""The loop has at most this many turns to read what has come, before a deadline that has passed counts."""

SLOP = 0.01
"""Seconds by which a timer may be late when nothing has held the loop up."""


class Deadline:
    """Calls back once, in the hub: when the time is up, and nothing is left to read.

    Args:
        clock: the loop's.
        seconds: from now.
        has_input: tells whether something has come that was not received yet.
        callback: what to call.
        arguments: with what.
    """

    __slots__ = ("_arguments", "_callback", "_clock", "_has_input", "_timer", "_turns")

    def __init__(
        self,
        clock: Clock,
        seconds: float,
        has_input: Callable[[], bool],
        callback: Callable[..., object],
        *arguments: Any,
    ) -> None:
        self._clock = clock
        self._has_input = has_input
        self._callback = callback
        self._arguments = arguments
        self._turns = TURNS  # how many more turns it may wait for input to be read
        self._timer: Any = clock.timer(seconds)  # or the loop's callback for the next turn
        self._timer.start(self._expire, update=True)

    def close(self) -> None:
        """Never call back. Idempotent."""
        self._timer.close()

    def _expire(self) -> None:
        self._timer.close()
        if self._turns and self._has_input():
            self._turns -= 1
            self._timer = self._clock.run_callback(self._look_again)  # after what is ready in this turn
        else:
            self._callback(*self._arguments)

    def _look_again(self) -> None:
        """Call back, unless something is left to read: then wait for the next turn."""
        if self._has_input():
            self._timer = self._clock.timer(0)
            self._timer.start(self._expire)
        else:
            self._callback(*self._arguments)


class FairTimeout(Timeout):  # type: ignore[misc]
    """A `gevent.Timeout` that waits longer after the loop was held up. For an operation of several steps, a handshake.

    When it is late, it waits again for as many seconds as it was late; for `seconds` more in all, at most.
    """

    timer: Any

    def start(self) -> None:
        """Schedule the timeout, unless `seconds` is None."""
        if self.seconds is not None:
            self._schedule(getcurrent(), self.seconds, self.seconds)

    def _schedule(self, greenlet: Any, seconds: float, left: float) -> None:
        self.timer.close()
        clock = get_poller().clock
        self.timer = clock.timer(seconds)
        self.timer.start(self._strike, clock, greenlet, clock.monotonic() + seconds, left, update=True)

    def _strike(self, clock: Clock, greenlet: Any, due: float, left: float) -> None:
        late = min(clock.monotonic() - due, left)
        if late > SLOP:
            self._schedule(greenlet, late, left - late)
        else:
            greenlet.throw(self if self.exception is None else self.exception)
