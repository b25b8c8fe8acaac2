"""Draining: how the connections of a server that stops are ended, in which order and at which pace.

Requests under way get their answers, and idle connections end at once. WebSockets get a close frame, and their clients
reconnect at once, to other servers. If all were closed at the same moment, their clients would flood those servers. So
they are closed one after another: ten at once, then at an even pace of at least `PACE`. The pace is higher if there are
so many, or so little time, that the last ones would otherwise be closed too late to answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from typing import Any, Protocol

import gevent
from gevent.event import Event

PACE = 200.0
"""The least number of WebSockets that are closed in a second."""

SPREAD = 10.0
"""The most seconds until all are sent a close frame; or half of the timeout, so that the last ones can answer."""

STEP = 0.05
"""Seconds between two steps."""

PATIENCE = 1.0
"""Seconds that a client which has just connected has for its first request."""

ABORT = 1.0
"""Seconds that aborted connections have to end."""


class Connection(Protocol):
    """A connection of a server, as `Drain` needs it. The methods do not block."""

    greenlet: Any  # the one that serves it, if there is one

    @property
    def lasting(self) -> bool:
        """Whether it is a WebSocket, which does not end by itself as a request does."""

    def drain(self, code: int, patient: bool = False) -> None:
        """End the connection in an orderly way.

        Args:
            code: a WebSocket's close code.
            patient: leave it alone if its first request has not come yet.
        """

    def abort(self) -> None:
        """End the connection at once."""


class Drain:
    """Ends the connections of one server, which accepts no more.

    Args:
        connections: the server's. It removes each one that has ended, and then calls `wake`.
        code: the close code for WebSockets.
        timeout: seconds for all this, from now on. Connections that are left then are aborted.

    Attributes:
        over: set when no connection is left.
        told: how many WebSockets were sent a close frame so far.
        aborted: how many connections had to be aborted.
    """

    def __init__(self, connections: Collection[Connection], code: int, timeout: float) -> None:
        self.over: Event = Event()
        self.told: int = 0
        self.aborted: int = 0
        self._connections = connections
        self._code = code
        self._begin = time.monotonic()  # when it began
        self._timeout = timeout
        self._moved = Event()  # set when there is something to do before the next step is due
        self._untold: list[Connection] = []  # WebSockets that were not sent a close frame yet
        self._total = 0  # how many WebSockets there were

    def run(self) -> None:
        """End them all. Blocks until that is done, at most a little longer than the timeout."""
        self._untold = [connection for connection in self._connections if connection.lasting]
        self._total = len(self._untold)
        self._end_requests(patient=True)
        while self._connections and self._elapsed < self._timeout:
            self._step()
        self._tell(self._total)
        gevent.sleep(0)  # so that each can say so to its peer, even with a timeout of 0
        self.aborted = len(self._connections)
        for connection in list(self._connections):
            connection.abort()
        self._wait(ABORT)

    def hurry(self, timeout: float) -> None:
        """Take no longer than so many seconds from now on. Does not block."""
        self._timeout = min(self._timeout, self._elapsed + timeout)
        self.wake()

    def wake(self) -> None:
        """Make `run` look whether all have ended. Does not block."""
        self._moved.set()

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._begin

    def _step(self) -> None:
        """Send the close frames that are due, and wait for the next step. Blocks."""
        elapsed = self._elapsed
        self._tell(count_due(self._total, self._timeout, elapsed))
        if self._untold:
            self._wait(STEP)
        elif elapsed < PATIENCE:
            self._wait(min(PATIENCE, self._timeout) - elapsed)
        else:
            self._end_requests(patient=False)
            self._wait(self._timeout - elapsed)

    def _wait(self, seconds: float) -> None:
        if self._connections:
            self._moved.clear()
            self._moved.wait(max(seconds, 0.001))  # libuv warns of less

    def _tell(self, count: int) -> None:
        """Send close frames until `count` WebSockets have got one, all in all."""
        while self._untold and self._total - len(self._untold) < count:
            connection = self._untold.pop()
            if connection in self._connections:  # otherwise it has ended by itself
                self.told += 1
                connection.drain(self._code)

    def _end_requests(self, patient: bool) -> None:
        for connection in list(self._connections):
            if not connection.lasting:
                connection.drain(self._code, patient)


def count_due(total: int, timeout: float, elapsed: float) -> int:
    """Return how many WebSockets should have been sent a close frame by now.

    Args:
        total: how many there are.
        timeout: seconds for the whole drain.
        elapsed: seconds since it began.
    """
    spread = min(SPREAD, timeout / 2)
    if spread <= STEP:
        return total
    steps = math.floor(elapsed / STEP) + 1
    return min(total, math.ceil(max(PACE, total / spread) * STEP * steps))
