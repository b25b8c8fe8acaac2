"""Home: the one loop of a process in which its connections to Redis live, whichever thread uses them.

In a server, that is the first loop in which a greenlet subscribes or publishes. A job may have no loop at all, and the
main greenlet of a program may never let its loop run; for these, the bus starts a native thread with a loop of its own.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import gevent
from gevent._hub_local import get_hub_if_exists
from gevent.monkey import get_original

from ...engine.loop.forks import register, unregister
from ...engine.loop.poller import get_poller, get_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...engine.loop.poller import Poller

IMPORTED = ("format_context", "loop", "resolver", "threadpool")
"""Settings of gevent's that import the parts of a hub when they are first read."""

allocate_lock: Any = get_original("_thread", "allocate_lock")
RLock: Any = get_original("_thread", "RLock")
start_thread: Any = get_original("_thread", "start_new_thread")


class Guest(Protocol):
    """What lives in a home. All methods are called in the home's thread."""

    def move_in(self, poller: Poller) -> None:
        """Start the connections and greenlets."""

    def move_out(self) -> None:
        """End the connections and greenlets."""

    def lose_loop(self) -> None:
        """Give up all that is at work, as the loop has no turn any more. Must not raise."""

    def forked(self) -> None:
        """Leave the connections and greenlets to the parent, in a forked child. Must not block."""


def is_served() -> bool:
    """Whether this thread's loop is sure to run: the caller is one of its greenlets, or the hub itself."""
    hub = get_hub_if_exists()
    return hub is not None and gevent.getcurrent().parent is not None


class Home:
    """One loop with its guest.

    Args:
        guest: what lives there.
        ended: called in the loop's thread when the loop ends, unless the guest has moved out. Must not raise.

    Attributes:
        loop: gevent's; None until it is known, in the thread of its own.
        is_rented: whether a thread was started for the home.
    """

    def __init__(self, guest: Guest, ended: Callable[[], object]) -> None:
        self.loop: Any = None
        self.is_rented: bool = False
        self._guest = guest
        self._ended = ended
        self._poller: Any = None  # the loop's
        self._thread: Any = None  # the ident of the loop's thread, once that is known
        self._calls: deque[tuple[Any, ...]] = deque()  # calls by other threads: function and arguments
        self._lock = RLock()  # protects the calls and the loop
        self._is_left = False  # whether the guest has moved out
        self._living = allocate_lock()  # held while the thread of its own runs
        self._leave: Any = None  # the watcher that ends the thread of its own

    @property
    def closed(self) -> bool:
        """Whether nothing can be called here any more: the guest has moved out, or the loop was destroyed."""
        return self._is_left or (self._poller is not None and self._poller.closed)

    @property
    def is_here(self) -> bool:
        """Whether the caller is in the loop's thread."""
        return bool(self._thread == get_thread())

    def settle(self) -> None:
        """Live in the loop of this thread."""
        self._thread = get_thread()
        self._poller = get_poller()
        self._poller.turns.ends.append(self._end)
        register(self)
        self._guest.move_in(self._poller)
        with self._lock:
            self.loop = self._poller.loop
            if self._calls:
                self.loop.run_callback(self._run_calls)

    def rent(self) -> None:
        """Live in a thread of its own. Does not block until that runs."""
        self.is_rented = True
        for name in IMPORTED:  # now: two hubs that import at the same time deadlock in a monkey-patched process
            getattr(gevent.config, name)
        self._living.acquire()
        start_thread(self._live, ())

    def join(self, timeout: float) -> None:
        """Block the whole thread until the thread of its own has ended, if there is one: `timeout` seconds at most."""
        if self._living.acquire(timeout=timeout):
            self._living.release()

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function in the loop's thread: at once if the caller is there, or else soon. Never blocks."""
        if self.is_here:
            function(*arguments)
            return
        with self._lock:
            is_first = not self._calls  # otherwise the loop has been told already
            self._calls.append((function, *arguments))
            loop = self.loop
        if is_first and loop is not None and not self.closed:
            loop.run_callback_threadsafe(self._run_calls)

    def leave(self) -> None:
        """Have the guest move out, and end the thread of its own. To be called in the loop's thread."""
        if not self._is_left:
            self._is_left = True
            self._poller.turns.ends.remove(self._end)
            unregister(self)
            self._guest.move_out()
            if self._leave is not None:
                self._leave.send()

    def take_calls(self) -> list[tuple[Any, ...]]:
        """Remove and return the calls that were not made before the loop ended: functions and arguments."""
        with self._lock:
            calls = list(self._calls)
            self._calls.clear()
        return calls

    def _end(self) -> None:
        self._is_left = True
        unregister(self)
        self._guest.lose_loop()
        self._ended()

    def forked(self) -> None:
        """Leave everything to the parent, in a forked child."""
        self._is_left = True
        self._lock = RLock()
        self._calls.clear()
        self._guest.forked()

    def _run_calls(self) -> None:
        """Make the calls of other threads, until the loop's turn is over. Never raises."""
        while self._calls:
            with self._lock:
                function, *arguments = self._calls.popleft()
            try:
                function(*arguments)
            except BaseException:  # out of memory, say
                self._poller.report(None)
            if self._calls and self._poller.turns.is_over():
                self._poller.turns.later(self._run_calls)
                return

    def _live(self) -> None:
        """Run a loop, in a thread of its own, until the guest has moved out."""
        try:
            hub = gevent.get_hub()
            self._leave = hub.loop.async_()  # a loop without a watcher ends at once
            self.settle()
            hub.wait(self._leave)
            gevent.sleep(0)  # for the greenlets that end
            self._leave.close()
            hub.destroy(destroy_loop=True)
        finally:
            self._living.release()
