"""Greenlets that serve one connection after another, if nobody can tell them from new ones.

A new greenlet costs more than all the Python code of a handshake, and several times as much as a short callback: an
object, and 16 KiB of stack that are mapped, touched and unmapped. So a greenlet that has served a connection may wait
for the next one. But a greenlet has an identity and an end: code with a reference may kill it or wait for it, a link is
called when it ends, and its locals and context variables go with it. Hence the rule: a greenlet is used again only if
it is exactly as it was before it served. With any trace of its connection it ends, and a new one is made.

    HandlerGreenlets    gevent's own greenlets, for the handlers of a server; they begin in the loop's next turn
    CallbackGreenlets   bare ones, for callbacks; they begin at once, within the poller's batch
"""

from __future__ import annotations

import sys
from sys import getrefcount
from typing import TYPE_CHECKING, Any, Protocol
from weakref import getweakrefcount

from gevent import Greenlet, get_hub
from greenlet import getcurrent, greenlet

from .poller import get_poller, switch_to

if TYPE_CHECKING:
    from collections.abc import Callable

    from .poller import Poller


class ReusableGreenlets:
    """The greenlets of one loop that wait for the next connection. Not for other threads.

    Attributes:
        max_idle: how many may wait.
    """

    max_idle = 16

    def __init__(self, hub: Any) -> None:
        self.hub = hub
        self._idle: list[Any] = []  # the greenlets that wait
        self._references = 0  # the reference count of a greenlet that nobody else refers to; counted with the first one

    def _may_wait(self) -> bool:
        """Whether the last greenlet in `_idle` may stay there: nobody can tell it from a new one.

        It may if no timeout, waiter or variable refers to it, and if no context variable, greenlet local, weak
        reference or attribute is left.
        """
        if _count_references(self._idle) != self._references or len(self._idle) > self.max_idle:
            return False
        last = self._idle[-1]
        return not (last.dead or last.gr_context or getweakrefcount(last) or vars(last))

    def _dismiss(self) -> None:
        """End the greenlets that wait."""
        while self._idle:
            self.hub.loop.run_callback(self._idle.pop().switch, None)


def _count_references(greenlets: list[Any]) -> int:
    return getrefcount(greenlets[-1])


class HandlerGreenlets(ReusableGreenlets):
    """Runs functions of no arguments in gevent's greenlets, as `Greenlet.spawn` does."""

    max_idle = 64

    def __init__(self) -> None:
        super().__init__(get_hub())
        self._served: list[Any] = []  # greenlets that have served, until `_settle` has looked at them
        self._closed = False  # whether greenlets end instead of waiting
        _HandlerGreenlet.spawn(None, self, None)  # it does nothing: `_references` is counted with it

    def spawn(self, function: Callable[[], object]) -> None:
        """Run a function in a greenlet, soon. Does not block."""
        if self._idle:
            self.hub.loop.run_callback(self._idle.pop().switch, function)
        else:
            _HandlerGreenlet.spawn(None, self, function)

    def close(self) -> None:
        """End the greenlets that wait; those at work end when their work does."""
        self._closed = True
        self._dismiss()

    def work(self, function: Callable[[], object] | None) -> None:
        """Run a function, then those that `spawn` hands over. A greenlet runs this."""
        if function is not None:
            function()
        while True:
            function = None  # it would keep its connection alive
            if not self._served:
                self.hub.loop.run_callback(self._settle)
            self._served.append(getcurrent())
            function = switch_to(self.hub)
            if function is None:
                return
            function()

    def _settle(self) -> None:
        """Let greenlets that have served wait, or end. It runs in the hub, once they have switched back to it."""
        self._references = self._references or _count_references(self._served)
        while self._served:
            self._idle.append(self._served.pop())
            if self._closed or not self._may_wait() or self._idle[-1].has_links():
                self._idle.pop().switch(None)


class _HandlerGreenlet(Greenlet):  # type: ignore[misc]
    """A `Greenlet` that lasts: without a dict of its own, and without the stack of its spawner, which takes 0.4 KB."""

    spawning_stack_limit = 1

    def _run(self, greenlets: HandlerGreenlets, function: Callable[[], object] | None) -> None:
        greenlets.work(function)


class Served(Protocol):
    """A connection that calls back."""

    def serve(self) -> None:
        """Call back until nothing is left to call back for. Runs in a greenlet, and may block."""


class CallbackGreenlets(ReusableGreenlets):
    """Serves connections in bare greenlets. One for each loop: see `get_callback_greenlets`.

    Attributes:
        connections: how many there are to be served; without any, no greenlet waits.
    """

    def __init__(self, poller: Poller) -> None:
        super().__init__(poller.hub)
        self.poller = poller  # the loop's; it runs the batch
        self.connections: int = 0
        self._next: Served | None = None  # the connection that the greenlet to be switched to serves

    def serve(self, served: Served, channel: Any) -> None:
        """Switch to a greenlet that serves a connection. If none can be made, end the connection's channel."""
        try:
            self._idle = self._idle or [greenlet(self._work, self.hub)]
        except BaseException:  # this may be the turn of another connection's greenlet
            self.poller.fail(channel)
            return
        self._next = served
        switch_to(self._idle.pop())  # without a variable, which would be one reference too many for `_references`

    def leave(self) -> None:
        """Note that a connection is gone."""
        self.connections -= 1
        if not self.connections:
            self._dismiss()

    def _work(self) -> None:
        self._references = self._references or _count_references([getcurrent()])
        while self._next is not None:
            connection, self._next = self._next, None
            try:
                connection.serve()
            except BaseException:  # not to the hub, which may be in the middle of a batch
                self.hub.handle_error(self, *sys.exc_info())
                return
            del connection  # or the greenlet would keep it alive while it waits
            self._idle.append(getcurrent())
            if not (self.connections and self._may_wait()):
                self._idle.pop()
                return
            self.poller.park(self)


def get_callback_greenlets() -> CallbackGreenlets:
    """Return the greenlets for the callbacks of this thread's loop, made when first asked for."""
    poller = get_poller()
    found: CallbackGreenlets | None = getattr(poller.hub, "geventws_callback_greenlets", None)
    if found is None or found.poller is not poller:
        found = poller.hub.geventws_callback_greenlets = CallbackGreenlets(poller)
    return found
