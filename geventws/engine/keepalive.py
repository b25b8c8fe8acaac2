"""Keepalive: pings that keep proxies awake, tell how long a round trip takes, and find a peer that is gone.

A ping is sent every interval, whatever else is going on. When nothing at all came for the timeout after a ping, the
peer is gone; what comes need not be the pong, and what waits unread, because the handler is behind, counts as well.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from .options import Timing as Timing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .loop.system import Clock

PING_JITTER = 0.1
"""By how much of itself an interval varies, so that connections opened together do not ping together."""


MOST_PINGS = 64
"""Pings that are remembered until they are answered."""

PING_SIZE = 512
"""Bytes that one of them takes, with the result that somebody waits for."""


class Keepalive:
    """The pings of one connection, and what the clock says about them.

    Args:
        timing: how often, and for how long.
        clock: the loop's.

    Attributes:
        latency: seconds that the last answered ping took.
    """

    __slots__ = ("_interval", "_monotonic", "_next_ping", "_pinged", "_pings", "_timeout", "latency")

    def __init__(self, timing: Timing, clock: Clock) -> None:
        self._monotonic = clock.monotonic  # tells the time
        self._interval = timing.ping_interval  # between two pings, in seconds; None for no pings
        self._timeout = timing.ping_timeout  # until a silent peer is given up, in seconds; None for never
        self._next_ping = 0.0  # when it is due
        self._pinged: float | None = None  # when the first ping since the last sign of life was sent
        self._pings: Sequence[tuple[bytes, float, Any]] = ()  # not answered: what, when sent, and who wants to know
        self.latency = 0.0

    def start(self) -> float | None:
        """Return the seconds until `tick` is due, None for never."""
        if self._interval is None:
            return None
        wait = self._draw_interval()
        self._next_ping = self._monotonic() + wait
        return wait

    def tick(self, alive: bool, send: Callable[[bytes], object]) -> float | None:
        """Send a ping if it is time, and return the seconds until the next tick; None: the peer is gone.

        `alive` is whether there was a sign of life since the last tick.
        """
        now = self._monotonic()
        if alive:
            self._pinged = None
        elif self._pinged is not None and self._timeout is not None and now - self._pinged >= self._timeout:
            return None
        if now >= self._next_ping:
            payload = random.randbytes(4)
            self.note(payload, None)
            send(payload)
            self._pinged = self._pinged or now
            self._next_ping = now + self._draw_interval()
        due = self._next_ping
        if self._pinged is not None and self._timeout is not None:
            due = min(due, self._pinged + self._timeout)
        return max(due - now, 0.001)

    def _draw_interval(self) -> float:
        return (self._interval or 0.0) * (1 + PING_JITTER * (2 * random.random() - 1))

    def note(self, payload: bytes, result: Any) -> None:
        """Note that a ping is sent, whose round trip in seconds is to be set on `result`.

        With too many that are not answered, the result of the oldest is a TimeoutError.
        """
        pings = self._pings
        if result is None:  # a keepalive ping takes the place of one that was not answered
            pings = [ping for ping in pings if ping[2] is not None]
        elif len(pings) >= MOST_PINGS:
            forgotten, pings = pings[0][2], pings[1:]
            if forgotten is not None:
                forgotten.set_exception(TimeoutError(f"it was not answered, nor were {MOST_PINGS} pings after it"))
        self._pings = [*pings, (payload, self._monotonic(), result)]

    def measure(self) -> int:
        """Return the bytes that the pings take which are not answered."""
        return PING_SIZE * len(self._pings)

    def take_pong(self, payload: bytes) -> None:
        """A pong answers its ping and all before it (RFC 6455 5.5.3); one that answers none is nothing."""
        payloads = [ping[0] for ping in self._pings]
        if payload not in payloads:
            return
        count = payloads.index(payload) + 1
        answered, self._pings = self._pings[:count], self._pings[count:]
        now = self._monotonic()
        for _payload, sent, result in answered:
            self.latency = now - sent
            if result is not None:
                result.set(self.latency)

    def forget(self) -> None:
        """Let whoever waits for a pong wait: the pongs are another process's."""
        self._pings = ()

    def end(self, make_error: Callable[[], Exception]) -> None:
        """The connection is over: tell whoever waits for a pong."""
        pings, self._pings = self._pings, ()
        for _payload, _sent, result in pings:
            if result is not None:
                result.set_exception(make_error())
