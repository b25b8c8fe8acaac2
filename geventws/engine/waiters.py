"""Who waits for the end of a connection: greenlets, each with the question it asks, and whatever waits for an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gevent.event import Event
from greenlet import getcurrent

from .loop.forks import keep

if TYPE_CHECKING:
    from collections.abc import Callable

    from .loop.poller import Poller


class Waiters:
    """Those who wait for one connection. Made when the first comes, as most connections have none.

    Args:
        poller: the loop's poller.
    """

    __slots__ = ("_event", "_greenlets", "_poller")

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._greenlets: list[tuple[Any, Callable[[], bool]]] = []  # each with what it waits for, the first first
        self._event: Event | None = None  # set when nothing more will be received; made when asked for

    def get_event(self, over: bool) -> Event:
        """Return the event, made at the first call; `over` is whether it is set then."""
        if self._event is None:
            self._event = Event()
            if over:
                self._event.set()
        return self._event

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
        """The connection is over: have the loop run those for whom it is so. Does not block."""
        if self._event is not None:
            self._event.set()
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
