"""Greenlets that wait for an event of a connection, such as its end. Each has a condition of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from .forks import keep

if TYPE_CHECKING:
    from collections.abc import Callable

    from .poller import Poller


class Waiters:
    """The greenlets that wait for one connection. Made when the first one comes: most connections have none.

    Args:
        poller: the loop's poller.
    """

    __slots__ = ("_greenlets", "_poller")

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._greenlets: list[tuple[Any, Callable[[], bool]]] = []  # each with its condition, in order

    def wait_until(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Block this greenlet until `done()` is true, or the time is up.

        Args:
            done: the condition; called after each `wake_soon`.
            timeout: seconds to block at most; None for no limit.
        """
        waiter = (getcurrent(), done)
        timer = None if timeout is None else self._poller.clock.timer(timeout)

        def expire() -> None:
            if waiter in self._greenlets:
                self._greenlets.remove(waiter)
                waiter[0].switch()

        self._greenlets.append(waiter)
        if timer is not None:
            timer.start(expire, update=True)
        try:
            self._poller.hub.switch()
        finally:
            if timer is not None:
                timer.close()
            if waiter in self._greenlets:
                self._greenlets.remove(waiter)

    def wake_soon(self) -> None:
        """Have the loop run the greenlets whose condition is true by now. Does not block."""
        if self._greenlets:
            self._poller.later(self._wake)

    def leave(self) -> None:
        """In a forked child: let them wait for good, as the connection is the parent's."""
        keep(*self._greenlets)
        self._greenlets.clear()

    def _wake(self) -> None:
        for waiter in tuple(self._greenlets):
            if waiter in self._greenlets and waiter[1]():
                self._greenlets.remove(waiter)
                waiter[0].switch()
