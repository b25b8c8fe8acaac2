"""Deadlines that are fair after something has held the loop up: what arrived in time is read before they count.

A loop that was held up finds its timers due and its sockets readable at once, and runs the timers first. So a timer
that is due here looks, or waits, before it strikes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gevent import Timeout, getcurrent

from .poller import get_poller

if TYPE_CHECKING:
    from collections.abc import Callable

    from .system import Clock

TURNS = 64
"""Turns of the loop at the most in which what has come is read, before a deadline counts that is past."""

SLOP = 0.01
"""Seconds by which a timer may be late though nothing has held the loop up."""


class Deadline:
    """Calls back, in the hub, once: when the time is up, and nothing that has come is left to be read.

    Args:
        clock: the loop's.
        seconds: from now.
        has_input: whether something has come that nobody has received.
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
        self._turns = TURNS  # how often it may still be put off
        self._timer: Any = clock.timer(seconds)  # or the callback that is due in its place
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
        """Give up unless there is still something to be read, which may have its turn then."""
        if self._has_input():
            self._timer = self._clock.timer(0)
            self._timer.start(self._expire)
        else:
            self._callback(*self._arguments)


class FairTimeout(Timeout):  # type: ignore[misc]
    """A `gevent.Timeout` that gives back the time by which it strikes late: for several steps, as those of a handshake.

    It does so for up to as many seconds as it has.
    """

    timer: Any

    def start(self) -> None:
        """Schedule the timeout; nothing where it has no seconds."""
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
