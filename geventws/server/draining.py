"""The end of a server's connections: who is told that it stops, when and at which pace, and what ends those that stay.

Requests under way get their answers, and idle connections end at once. WebSockets have to be told, and their clients
come back at once, to the servers that go on: told in one moment, they would be a flood there. So they are told one
after the other, ten at once and then at an even pace, which is at least `PACE`, and faster where there are so many, or
the time is so short, that the last ones would be told too late to answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from typing import Any, Protocol

import gevent
from gevent.event import Event

PACE = 200.0
"""WebSockets that are told in a second, at least."""

SPREAD = 10.0
"""Seconds in which all are told, at most; or half of the time there is, so that the last ones may answer."""

STEP = 0.05
"""Seconds between two looks at who is due."""

PATIENCE = 1.0
"""Seconds that a client has for its first request: it has connected, and knows nothing of all this."""

ABORT = 1.0
"""Seconds for connections to end that are aborted."""


class Connection(Protocol):
    """A connection of a server, as its drain sees it. The methods do not block."""

    greenlet: Any  # the one that serves it, if there is one

    @property
    def lasting(self) -> bool:
        """Whether it is nobody's request any more, but a WebSocket, which does not end by itself."""

    def drain(self, code: int, patient: bool = False) -> None:
        """Have the connection end in good order.

        Args:
            code: a WebSocket's close code.
            patient: let it be where its first request has not come yet.
        """

    def abort(self) -> None:
        """End the connection at once."""


class Drain:
    """Ends the connections of one server, which accepts no more.

    Args:
        connections: the server's; each leaves it when it has ended, and then the server calls `wake`.
        code: the close code that WebSockets are told.
        timeout: seconds for all this, from now on. What is left then is aborted.

    Attributes:
        over: set when no connection is left.
        told: how many WebSockets were told so far.
        aborted: how many connections have not ended by themselves.
    """

    def __init__(self, connections: Collection[Connection], code: int, timeout: float) -> None:
        self.over: Event = Event()
        self.told: int = 0
        self.aborted: int = 0
        self._connections = connections
        self._code = code
        self._begin = time.monotonic()  # when it began
        self._timeout = timeout
        self._moved = Event()  # there is something to look at before the next step
        self._untold: list[Connection] = []  # WebSockets that go on as if nothing were
        self._total = 0  # WebSockets there were

    def run(self) -> None:
        """End them all. Blocks until that is done, and a little longer than the timeout at most."""
        self._untold = [connection for connection in self._connections if connection.lasting]
        self._total = len(self._untold)
        self._end_requests(patient=True)
        while self._connections and self._elapsed < self._timeout:
            self._step()
        self._tell(self._total)
        gevent.sleep(0)  # each says so to its peer, whatever the timeout is
        self.aborted = len(self._connections)
        for connection in list(self._connections):
            connection.abort()
        self._wait(ABORT)

    def hurry(self, timeout: float) -> None:
        """Take no longer than so many seconds from now on. Does not block."""
        self._timeout = min(self._timeout, self._elapsed + timeout)
        self.wake()

    def wake(self) -> None:
        """Look whether all have ended. Does not block."""
        self._moved.set()

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._begin

    def _step(self) -> None:
        """Tell those who are due, and wait for whatever is next. Blocks."""
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
        """See to it that so many WebSockets have been told, all in all."""
        while self._untold and self._total - len(self._untold) < count:
            connection = self._untold.pop()
            if connection in self._connections:  # else it has ended by itself
                self.told += 1
                connection.drain(self._code)

    def _end_requests(self, patient: bool) -> None:
        for connection in list(self._connections):
            if not connection.lasting:
                connection.drain(self._code, patient)


def count_due(total: int, timeout: float, elapsed: float) -> int:
    """Return how many WebSockets are to be told by now.

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
