"""The bytes that a connection has sent and the kernel has not accepted yet: who waits for them, and the peer's pace."""

from __future__ import annotations

from collections import deque
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from .loop.waiters import Waiters
from .published.deliveries import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    from .loop.poller import Poller
    from .loop.system import Timer

PACE = 64 * 1024
"""Bytes that a peer has to take in each `send_timeout`; or all that is left, if that is less."""

AT_ONCE = 64
"""Parts that are sent in one turn. Then other connections have theirs, until the loop reports the socket again."""

MOST_JOINED = 16 * 1024
"""Bytes of small parts that are sent in one call."""

MOST_OWNED = 64 * 1024
"""Bytes that no greenlet waits for in `send`, beyond which no further such bytes are added."""


class Mark:
    """A place between the parts of a backlog.

    Args:
        tell: called when everything before it was sent.

    Attributes:
        passed: whether everything before it was sent, or nothing will be sent any more.
    """

    __slots__ = ("_tell", "passed")

    rest = b""

    def __init__(self, tell: Callable[[], object]) -> None:
        self._tell = tell
        self.passed: bool = False

    def __len__(self) -> int:
        return 0

    def finish(self) -> None:
        """Note that everything before it was sent."""
        self.passed = True
        self._tell()

    def abandon(self) -> None:
        """Note that nothing will be sent any more."""
        self.passed = True


class Backlog:
    """The bytes that are left to send while sending is blocked.

    Args:
        rest: the first of them.
        count: returns how many bytes the kernel holds that the peer has not acknowledged.

    Attributes:
        owned: bytes that no greenlet waits for in `send`: replies, and the rest after a greenlet stopped waiting.
    """

    __slots__ = ("_alarm", "_count", "_goal", "_parts", "_sent", "_unacknowledged", "_waiters", "owned")

    def __init__(self, rest: bytes | memoryview | Delivery, count: Callable[[], int]) -> None:
        self._parts: deque[Any] = deque([rest])  # what is left, in order: bytes, each Delivery, and marks
        self._waiters: Waiters | None = None  # greenlets that each wait for a mark; made when the first one comes
        self.owned: int = 0
        self._count = count
        self._alarm: Timer | None = None  # judges the pace
        self._unacknowledged = count()  # bytes that the kernel held when the pace was last judged
        self._sent = 0  # bytes that the kernel has taken since the pace was judged
        self._goal = 0  # bytes that the peer has to take before it is judged again
        self._begin_window()

    @property
    def has_room(self) -> bool:
        """Whether bytes that nobody waits for may be added."""
        return self.owned <= MOST_OWNED

    def append(self, data: bytes | memoryview | Delivery) -> None:
        """Add bytes at the end."""
        self._parts.append(data)

    def send(self, transmit: Callable[[bytes | memoryview], int]) -> bool:
        """Send what the kernel accepts, but no more than AT_ONCE parts; return whether nothing is left."""
        left = AT_ONCE
        while self._parts and left > 0:
            data, count = self._join(left)
            try:
                sent = transmit(data) if len(data) else 0
            except BlockingIOError:
                return False
            left -= count
            self._sent += sent
            self._take_out(sent)
            if sent < len(data):
                return False
        return not self._parts

    def _join(self, most: int) -> tuple[bytes | memoryview, int]:
        """Return the first parts that are sent in one call, and how many they are."""
        joined: list[bytes | memoryview] = []
        size = 0
        for part in islice(self._parts, most):
            size += len(part)
            if joined and size > MOST_JOINED:
                break
            joined.append(part.rest if isinstance(part, (Delivery, Mark)) else part)
        return joined[0] if len(joined) == 1 else b"".join(joined), len(joined)

    def _take_out(self, sent: int) -> None:
        """Take out the parts that were sent, and note how much of the next one was."""
        parts = self._parts
        while parts and sent >= len(parts[0]):
            part = parts.popleft()
            sent -= len(part)
            if isinstance(part, (Delivery, Mark)):
                part.finish()
        if sent and isinstance(parts[0], Delivery):
            parts[0].advance(sent)
        elif sent:
            parts[0] = memoryview(parts[0])[sent:]

    def wait(self, poller: Poller) -> None:
        """Block until everything that is here now was sent, or nothing more will be."""
        self._waiters = self._waiters or Waiters(poller)
        mark = Mark(self._waiters.wake_soon)
        self._parts.append(mark)
        self._waiters.wait_until(lambda: mark.passed, None)

    def own(self, size: int) -> None:
        """Count bytes at the end that nobody waits for, until they are sent."""
        self.owned += size
        self._parts.append(Mark(partial(self._disown, size)))

    def _disown(self, size: int) -> None:
        self.owned -= size
        assert self.owned >= 0

    def leave(self) -> None:
        """In a forked child: leave the waiting greenlets where they are, for good."""
        if self._waiters is not None:
            self._waiters.leave()

    def remove(self, delivery: Delivery) -> None:
        """Take out a delivery that will not be sent."""
        self._parts.remove(delivery)

    @property
    def size(self) -> int:
        """The bytes that are left."""
        return sum(map(len, self._parts))

    def _begin_window(self) -> None:
        """Begin to judge the pace of the peer, by how much is left for it."""
        self._goal = min(PACE, self.size + self._unacknowledged)
        self._sent = 0

    def is_too_slow(self) -> bool:
        """Whether the peer was too slow in the window that ends now. The next window begins.

        Bytes count when the peer has acknowledged them: the kernel itself takes more only when a third of its buffer is
        free.
        """
        before, self._unacknowledged = self._unacknowledged, self._count()
        taken, goal = self._sent + before - self._unacknowledged, self._goal
        self._begin_window()
        return taken < goal

    def set_alarm(self, timer: Timer, call: Callable[..., object], channel: Any) -> None:
        """Have the pace judged at each end of a window.

        Args:
            timer: goes off at these ends.
            call: the poller's.
            channel: the connection: its `send_timed_out` is called when the peer is too slow.
        """
        self._alarm = timer
        timer.start(call, channel, self._judge, channel, update=True)

    def _judge(self, channel: Any) -> None:
        if self.is_too_slow():
            channel.send_timed_out()

    def close(self) -> None:
        """Stop judging the pace, abandon what is left, and wake those who wait."""
        if self._alarm is not None:
            self._alarm.close()
        for part in self._parts:
            if isinstance(part, (Delivery, Mark)):
                part.abandon()
        if self._waiters is not None:
            self._waiters.wake_soon()
