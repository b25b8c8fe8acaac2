"""Greenlets that wait for something of a connection: until it has ended, or takes more. Each has its own question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from greenlet import getcurrent

from .forks import keep

if TYPE_CHECKING:
    from collections.abc import Callable

    from .poller import Poller


class Waiters:
    """Those who wait for one connection. Made when the first comes, as most connections have none.

    Args:
        poller: the loop's poller.
    """

    __slots__ = ("_greenlets", "_poller")

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._greenlets: list[tuple[Any, Callable[[], bool]]] = []  # each with what it waits for, the first first

    def wait_until(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Block this greenlet until `done`, which is asked after each `wake_soon`, or the time is up.

        Args:
            done: tells whether to go on.
            timeout: seconds to block at the most; None for no limit.
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
        """Something has happened: have the loop run those whose wait is over. Does not block."""
        if self._greenlets:
            self._poller.later(self._wake)

    def leave(self) -> None:
        """Let them wait for good, in a forked child: the connection is its parent's."""
        keep(*self._greenlets)
        self._greenlets.clear()

    def _wake(self) -> None:
        for waiter in tuple(self._greenlets):
            if waiter in self._greenlets and waiter[1]():
                self._greenlets.remove(waiter)
                waiter[0].switch()
