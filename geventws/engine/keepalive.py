"""Keepalive: pings that keep proxies awake, measure the round trip, and find a peer that is gone.

A ping is sent every interval, whatever else is going on. If nothing arrives within the timeout after a ping, the peer
counts as dead. Any data is a sign of life, not only the pong; so are bytes not yet read because the handler is behind.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Protocol

from ..frames import Opcode

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterable, Sequence

    from ..protocol.interface import ConnectionProtocol
    from .loop.system import Clock
    from .options import Timing
    from .stream import Stream

PING_JITTER = 0.1
"""The fraction by which an interval varies, so that connections opened together do not ping together."""

MOST_PINGS = 64
"""How many unanswered pings are remembered."""

PING_SIZE = 512
"""Bytes that a remembered ping takes, together with its result."""


class Pinged(Protocol):
    """The connection that is kept alive."""

    stream: Stream
    protocol: ConnectionProtocol

    def tick(self) -> None:
        """Send a ping if it is due, or end the connection if the peer is dead. Called by a timer. Never raises."""


class Keepalive:
    """The pings and pongs of one connection, and their timer.

    Args:
        timing: all clocks of the connection.
        clock: the loop's.

    Attributes:
        latency: the round-trip time of the last answered ping, in seconds.
        on_control: called with opcode and payload of each ping and pong that is received; None calls nothing.
        payloads: collects the payloads of the keepalive's own pings, for code that has to tell their pongs from others;
            None if there is no such code.
        timing: all clocks of the connection.
    """

    __slots__ = (  # fmt: skip
        "_clock", "_next_ping", "_pinged", "_pings", "_timer", "latency", "on_control", "payloads", "timing",
    )

    def __init__(self, timing: Timing, clock: Clock) -> None:
        self.timing: Timing = timing
        self._clock = clock  # the loop's
        self._timer: Any = None  # calls `tick` of the connection
        self._next_ping = 0.0  # when the next ping is due, by the clock
        self._pinged: float | None = None  # when the first ping since the last sign of life was sent
        self._pings: Sequence[tuple[bytes, float, Any]] = ()  # unanswered: payload, time of sending, result to set
        self.latency: float = 0.0
        self.on_control: Callable[[int, bytes], object] | None = None
        self.payloads: deque[bytes] | None = None

    def start(self, connection: Pinged) -> None:
        """Call the connection's `tick` when its first ping is due."""
        if self.timing.ping_interval is not None:
            wait = self._draw_interval()
            self._next_ping = self._clock.monotonic() + wait
            self._wait(connection, wait)

    def stop(self) -> None:
        """Stop the clock: the connection ends."""
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def _wait(self, connection: Pinged, seconds: float) -> None:
        self.stop()
        self._timer = self._clock.timer(seconds)
        self._timer.start(connection.tick, update=True)  # without arguments: they would take memory while it waits

    def tick(self, connection: Pinged, alive: bool) -> bool:
        """Send a ping if it is time, and set the clock for the next tick; return False if the peer is gone.

        `alive` says whether there was a sign of life since the last tick.
        """
        now, timeout = self._clock.monotonic(), self.timing.ping_timeout
        if alive:
            self._pinged = None
        elif self._pinged is not None and timeout is not None and now - self._pinged >= timeout:
            return False
        if now >= self._next_ping:
            payload = random.randbytes(4)
            self.note(payload, None)
            push_ping(connection, payload)
            self._pinged = self._pinged or now
            self._next_ping = now + self._draw_interval()
        due = self._next_ping
        if self._pinged is not None and timeout is not None:
            due = min(due, self._pinged + timeout)
        self._wait(connection, max(due - now, 0.001))
        return True

    def _draw_interval(self) -> float:
        return (self.timing.ping_interval or 0.0) * (1 + PING_JITTER * (2 * random.random() - 1))

    def send_ping(self, connection: Pinged, payload: bytes, result: Any) -> None:
        """Send a ping whose round trip in seconds is set on `result`. Never blocks.

        Raises:
            ValueError: the payload is longer than 125 bytes.
        """
        frame = connection.protocol.encode_control(Opcode.PING, payload)
        if not connection.stream.has_room:
            result.set_exception(TimeoutError("the ping was not sent: the peer accepts no data"))
            return
        connection.stream.push(frame)
        self.note(payload, result)

    def note(self, payload: bytes, result: Any) -> None:
        """Note a ping that is being sent. Its round trip in seconds is set on `result`; None for a keepalive ping.

        If too many are not answered, the oldest one's result becomes a TimeoutError.
        """
        pings = self._pings
        if result is None:  # it takes the place of the keepalive ping before, if that was not answered
            pings = [ping for ping in pings if ping[2] is not None]
            if self.payloads is not None:
                self.payloads.append(payload)
        elif len(pings) >= MOST_PINGS:
            forgotten, pings = pings[0][2], pings[1:]
            if forgotten is not None:
                forgotten.set_exception(TimeoutError(f"neither this ping nor {MOST_PINGS} later ones were answered"))
        self._pings = [*pings, (payload, self._clock.monotonic(), result)]

    def measure(self) -> int:
        """Return how many bytes the unanswered pings take."""
        return PING_SIZE * len(self._pings)

    def receive_controls(
        self, controls: Iterable[tuple[int, bytes]], call_out: Callable[..., object]
    ) -> None:
        """Take received pings, which have been answered, and pongs. `call_out` calls `on_control` for each."""
        for opcode, payload in controls:
            if opcode == Opcode.PONG:
                self.take_pong(payload)
            if self.on_control is not None:
                call_out(self.on_control, opcode, payload)

    def take_pong(self, payload: bytes) -> None:
        """Take a pong: it answers its ping and all earlier ones (RFC 6455 5.5.3). Ignore one that answers no ping."""
        payloads = [ping[0] for ping in self._pings]
        if payload not in payloads:
            return
        count = payloads.index(payload) + 1
        answered, self._pings = self._pings[:count], self._pings[count:]
        now = self._clock.monotonic()
        for _payload, sent, result in answered:
            self.latency = now - sent
            if result is not None:
                result.set(self.latency)

    def forget(self) -> None:
        """Drop the results, without setting them: the pongs go to another process."""
        self._pings = ()

    def end(self, make_error: Callable[[], Exception]) -> None:
        """Stop, as the connection is over, and set this error on the results of all unanswered pings."""
        self.stop()
        pings, self._pings = self._pings, ()
        for _payload, _sent, result in pings:
            if result is not None:
                result.set_exception(make_error())


def push_ping(connection: Pinged, payload: bytes) -> None:
    """Send a ping without blocking, unless sending is blocked: then it would only wait after the other bytes."""
    if not connection.stream.blocked:
        connection.stream.push(connection.protocol.encode_control(Opcode.PING, payload))
