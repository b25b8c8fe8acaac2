"""Crew: the greenlets of one loop that run callbacks.

To make one costs several times what a short callback does, so one that is done waits for the next connection that has
something to do. But what is left with a greenlet may not reach another connection: context variables, locals, a
`gevent.Timeout` still to come, a reference through which it may be killed. So a greenlet with any trace ends.
"""

from __future__ import annotations

import sys
from sys import getrefcount
from typing import TYPE_CHECKING, Any, Protocol
from weakref import getweakrefcount

from greenlet import getcurrent, greenlet

from .poller import get_poller, switch_to

if TYPE_CHECKING:
    from .poller import Poller

MAX_IDLE = 16
"""Greenlets that a loop keeps for the next callbacks."""


class Served(Protocol):
    """A connection that calls back."""

    def serve(self) -> None:
        """Call back until nothing is left to call back for. Runs in a greenlet, and may block."""


class Crew:
    """The greenlets of one loop: see the module. `get_crew` returns it.

    Attributes:
        connections: how many there are to be served; without any, no greenlet waits.
    """

    def __init__(self, poller: Poller) -> None:
        self.poller = poller
        self.connections = 0
        self._idle: list[Any] = []
        self._next: Served | None = None

    def serve(self, connection: Served) -> None:
        """Switch to a greenlet that serves a connection."""
        try:
            self._idle = self._idle or [greenlet(self._work, self.poller.hub)]
        except BaseException:  # this may be the turn of another connection's greenlet
            self.poller.fail(connection)
            return
        self._next = connection
        # whoever switches to a greenlet has one reference to it, and no more: see _is_clean
        switch_to(self._idle.pop())

    def leave(self) -> None:
        """Count a connection no more."""
        self.connections -= 1
        if not self.connections:
            while self._idle:
                self.poller.loop.run_callback(self._idle.pop().switch)

    def _work(self) -> None:
        references = _count_references()
        while self._next is not None:
            connection, self._next = self._next, None
            try:
                connection.serve()
            except BaseException:  # not to the hub, which may be in the middle of a batch
                self.poller.hub.handle_error(self, *sys.exc_info())
                return
            del connection  # a greenlet that waits keeps nothing alive
            if not (self.connections and len(self._idle) < MAX_IDLE and _is_clean(references)):
                return
            self._idle.append(getcurrent())
            self.poller.park(self)


def _count_references() -> int:
    return getrefcount(getcurrent())


def _is_clean(references: int) -> bool:
    """Whether nothing was left with this greenlet. The references are its own, and one of who switched to it last."""
    if _count_references() != references:
        return False
    current = getcurrent()
    return not (getweakrefcount(current) or current.gr_context or vars(current))


def get_crew() -> Crew:
    """Return the crew of this thread's loop, made when first asked for."""
    poller = get_poller()
    crew: Crew | None = getattr(poller.hub, "geventws_crew", None)
    if crew is None or crew.poller is not poller:
        crew = poller.hub.geventws_crew = Crew(poller)
    return crew
