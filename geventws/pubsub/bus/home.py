"""Home: the one loop of a process in which its connections to Redis are, whoever uses them.

In a process that serves, that is a loop that serves: the first one in which a greenlet subscribes or publishes.
Whoever does that elsewhere, as in a job that has no loop at all, or in the main greenlet of a program, which may never
give its loop a turn, has it done in a native thread, which is started for that and has a loop of its own.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import gevent
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event
from gevent.monkey import get_original

from ...engine.loop.forks import register, unregister
from ...engine.loop.poller import get_poller, get_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...engine.loop.poller import Poller

IMPORTED = ("format_context", "loop", "resolver", "threadpool")
"""What a hub is made of, and gevent imports when it is first asked for."""

allocate_lock: Any = get_original("_thread", "allocate_lock")
RLock: Any = get_original("_thread", "RLock")
start_thread: Any = get_original("_thread", "start_new_thread")


class Guest(Protocol):
    """What lives there. All is called in the home's thread."""

    def move_in(self, poller: Poller) -> None:
        """Begin."""

    def move_out(self) -> None:
        """End all that is at work."""

    def forked(self) -> None:
        """Leave all that is at work to the parent, in a forked child. Must not block."""


def is_served() -> bool:
    """Whether this thread's loop is sure to have its turn: this is one of its greenlets, or the hub itself."""
    hub = get_hub_if_exists()
    return hub is not None and gevent.getcurrent().parent is not None


class Home:
    """One loop.

    Args:
        guest: what lives there.

    Attributes:
        loop: gevent's; None until a thread of its own has one.
        is_rented: whether the thread was started for this.
        closed: whether nobody is at home any more.
    """

    def __init__(self, guest: Guest) -> None:
        self.loop: Any = None
        self.is_rented: bool = False
        self._guest = guest
        self._poller: Any = None  # the loop's
        self._thread: Any = None  # its ident, once the loop is there
        self._calls: deque[tuple[Any, ...]] = deque()  # what other threads have asked for
        self._lock = RLock()  # of these
        self._is_left = False  # whether it was closed
        self._living = allocate_lock()  # held while a thread of its own runs
        self._leave: Any = None  # what the thread of its own waits for

    @property
    def closed(self) -> bool:
        """Whether nothing can be done here any more: it was closed, or its loop was destroyed."""
        return self._is_left or (self._poller is not None and self._poller.closed)

    @property
    def is_here(self) -> bool:
        """Whether this is its thread."""
        return bool(self._thread == get_thread())

    def settle(self) -> None:
        """Live in the loop of this thread."""
        self._thread = get_thread()
        self._poller = get_poller()
        register(self)
        self._guest.move_in(self._poller)
        with self._lock:
            self.loop = self._poller.loop
            if self._calls:
                self.loop.run_callback(self._run_calls)

    def rent(self) -> None:
        """Live in a thread of its own. Does not wait for that."""
        self.is_rented = True
        for name in IMPORTED:  # before two hubs do that at once, and in a patched process wait for each other
            getattr(gevent.config, name)
        self._living.acquire()
        start_thread(self._live, ())

    def join(self, timeout: float) -> None:
        """Block the native thread until a thread of its own has ended, if there is one."""
        if self._living.acquire(timeout=timeout):
            self._living.release()

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function there: at once where this is its thread, and soon otherwise. Never blocks."""
        if self.is_here:
            function(*arguments)
            return
        with self._lock:
            is_first = not self._calls  # or else the loop knows that something waits
            self._calls.append((function, *arguments))
            loop = self.loop
        if is_first and loop is not None and not self.closed:
            loop.run_callback_threadsafe(self._run_calls)

    def leave(self) -> None:
        """End everything here. To be called there."""
        if not self._is_left:
            self._is_left = True
            unregister(self)
            self._guest.move_out()
            if self._leave is not None:
                self._leave.send()

    def forked(self) -> None:
        """Leave everything to the parent, in a forked child."""
        self._is_left = True
        self._lock = RLock()
        self._calls.clear()
        self._guest.forked()

    def _run_calls(self) -> None:
        """Do what other threads have asked for, as far as the loop's turn reaches. Never raises."""
        while self._calls:
            with self._lock:
                function, *arguments = self._calls.popleft()
            try:
                function(*arguments)
            except BaseException:  # as for want of memory
                self._poller.report(None)
            if self._calls and self._poller.turns.is_over():
                self._poller.turns.later(self._run_calls)
                return

    def _live(self) -> None:
        """Run a loop, in a thread of its own, until all is over."""
        try:
            hub = gevent.get_hub()
            self._leave = hub.loop.async_()  # a loop that watches nothing ends
            self.settle()
            hub.wait(self._leave)
            gevent.sleep(0)  # for the greenlets that end
            self._leave.close()
            hub.destroy(destroy_loop=True)
        finally:
            self._living.release()


class Answer:
    """What one thread is to be told by another, or by its own loop."""

    def __init__(self) -> None:
        self._value = False  # the answer
        hub = get_hub_if_exists()
        self._poller = get_poller() if hub is not None else None  # of the thread that waits, where it has a loop
        self._event = Event() if hub is not None else None  # for such a thread
        self._gate = allocate_lock()  # closed until the answer is there, for a thread without a loop
        self._gate.acquire()

    def set(self, value: bool) -> None:
        """Give the answer. Any thread may do so, once."""
        self._value = value
        self._gate.release()
        if self._poller is not None and self._event is not None:
            self._poller.loop.run_callback_threadsafe(self._event.set)

    def wait(self, timeout: float) -> bool:
        """Block until the answer is there, and return it; False after `timeout` seconds, or where nothing may wait."""
        if self._event is None or self._poller is None:
            self._gate.acquire(timeout=timeout)
        elif self._gate.locked() and self._poller.may_block():
            self._event.wait(timeout)
        return self._value
