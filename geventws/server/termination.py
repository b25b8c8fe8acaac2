"""SIGTERM for a server that drains: it is noticed at once, and no handler can delay the end beyond the timeout.

The loop notices no signal while a handler computes, but Python runs a Python signal handler even then. So that handler
notes the time, and a thread does the rest: if the loop does not move when the time is up, the thread sends SIGTERM
again, and then the signal handler raises `GreenletExit` in the greenlet that holds up the loop.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

from gevent import GreenletExit, get_hub, getcurrent
from gevent.monkey import get_original

from ..engine.loop.forks import register, unregister

LOOK = 0.1
"""Seconds within which a loop that is not held up shows that it moves."""

_start_thread = get_original("_thread", "start_new_thread")
_make_lock = get_original("_thread", "allocate_lock")
_get_ident = get_original("threading", "get_ident")


class Termination:
    """A context in which SIGTERM calls `stop`, unless the program has a handler of its own. For the main thread.

    Args:
        stop: called in the hub; must not block.
        timeout: seconds after the signal, after which no greenlet may hold up the loop any more.
    """

    def __init__(self, stop: Callable[[], object], timeout: float) -> None:
        self._stop = stop
        self._timeout = timeout
        self.loop: Any = get_hub().loop  # calls `stop`
        self._thread = _get_ident()  # the main thread
        self._came: float | None = None  # when the first signal came
        self._overdue = False  # whether the time is up, and the loop is held up
        self._over = _make_lock()  # held until the end; the thread waits for it
        self._before: Any = None  # the previous handler of SIGTERM

    def __enter__(self) -> Termination:
        self._over.acquire()
        self._before = signal.signal(signal.SIGTERM, self._hear)
        register(self)
        return self

    def __exit__(self, *_error: object) -> None:
        unregister(self)
        signal.signal(signal.SIGTERM, self._before)
        self._over.release()

    def forked(self) -> None:
        """In a forked child: restore the previous handler of SIGTERM. The child drains nothing."""
        unregister(self)
        if signal.getsignal(signal.SIGTERM) == self._hear:
            signal.signal(signal.SIGTERM, self._before)

    def get_time_left(self) -> float:
        """Return how many seconds of the timeout are left: all of them if no signal came."""
        return self._timeout if self._came is None else max(self._came + self._timeout - time.monotonic(), 0)

    def _hear(self, _number: int, _frame: object) -> None:
        """Handle the signal. Python runs this, anywhere in the main thread."""
        if self._came is None:
            self._came = time.monotonic()
            self.loop.run_callback_threadsafe(self._stop)
            _start_thread(self._watch, ())
        elif self._overdue and getcurrent() is not get_hub():
            self._overdue = False
            raise GreenletExit("the server stops, and this greenlet holds it up (stop_timeout)")

    def _watch(self) -> None:
        """End the greenlet that holds up the loop past the timeout. Runs in a thread of its own."""
        timeout = self._timeout
        while not self._over.acquire(timeout=timeout):
            self._overdue = True
            self.loop.run_callback_threadsafe(self._move)
            if self._over.acquire(timeout=LOOK):
                break
            if self._overdue:
                signal.pthread_kill(self._thread, signal.SIGTERM)
            timeout = LOOK
        self._over.release()

    def _move(self) -> None:
        """Show that the loop moves."""
        self._overdue = False
