"""Who waits: greenlets for an event of a connection, such as its end; and a thread for the answer of another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gevent._hub_local import get_hub_if_exists
from gevent.event import Event
from gevent.monkey import get_original
from greenlet import getcurrent

from .forks import keep
from .poller import get_poller

if TYPE_CHECKING:
    from collections.abc import Callable

    from .poller import Poller

allocate_lock: Any = get_original("_thread", "allocate_lock")


class Waiters:
    """The greenlets that wait for one connection, each with a condition of its own.

    Made when the first one comes: most connections have none.

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


class Answer:
    """A yes or no that one thread waits for, and another thread, or its own loop, gives.

    Made in the thread that waits.
    """

    def __init__(self) -> None:
        self._value = False  # the answer
        hub = get_hub_if_exists()
        self._poller = get_poller() if hub is not None else None  # the waiting thread's, if it has a loop
        self._event = Event() if hub is not None else None  # set with the answer, for a thread with a loop
        self._gate = allocate_lock()  # locked until the answer is there, for a thread without a loop
        self._gate.acquire()

    def set(self, value: bool) -> None:
        """Give the answer. Any thread may do so, once."""
        self._value = value
        self._gate.release()
        if self._poller is not None and self._event is not None:
            self._poller.loop.run_callback_threadsafe(self._event.set)

    @property
    def may_wait(self) -> bool:
        """Whether the caller may block: it is no callback of a loop."""
        return self._poller is None or self._poller.may_block()

    def wait(self, timeout: float) -> bool:
        """Block until the answer is there; return it; False after `timeout` seconds, or if the caller may not block."""
        if self._event is None:
            self._gate.acquire(timeout=timeout)
        elif self._gate.locked() and self.may_wait:
            self._event.wait(timeout)
        return self._value
