"""What the kernel has not taken of what a connection sends: whose it is, and how fast the peer takes it."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from .loop.waiters import Waiters
from .published.deliveries import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    from .loop.poller import Poller
    from .loop.system import Timer

PACE = 64 * 1024
"""Bytes that a peer has to take in each `send_timeout`, or all that is left."""

AT_ONCE = 64
"""Parts that are sent in one turn: the kernel says again that it takes more, and others have their turn before."""

MOST_OWNED = 64 * 1024
"""Bytes that nobody waits for in `send`, past which nothing is added to them."""


class Mark:
    """A place between the parts of a backlog.

    Args:
        tell: called when all before it was sent.

    Attributes:
        passed: whether that is so, or nothing will be sent any more.
    """

    __slots__ = ("_tell", "passed")

    rest = b""

    def __init__(self, tell: Callable[[], object]) -> None:
        self._tell = tell
        self.passed: bool = False

    def __len__(self) -> int:
        return 0

    def finish(self) -> None:
        """Note that all before it was sent."""
        self.passed = True
        self._tell()

    def abandon(self) -> None:
        """Note that nothing will be sent any more."""
        self.passed = True


class Backlog:
    """The bytes that are left to send while sending is blocked.

    Args:
        rest: the first of them.
        count: returns how many bytes the kernel holds that the peer has not taken.

    Attributes:
        owned: bytes that nobody waits for in `send`: replies, and what was left by a greenlet that gave up waiting.
    """

    __slots__ = ("_alarm", "_count", "_goal", "_parts", "_sent", "_unacknowledged", "_waiters", "owned")

    def __init__(self, rest: bytes | memoryview | Delivery, count: Callable[[], int]) -> None:
        self._parts: deque[Any] = deque([rest])  # what is left, in order: bytes, each Delivery, and marks
        self._waiters: Waiters | None = None  # greenlets, each of which waits for a mark; made for the first
        self.owned: int = 0
        self._count = count
        self._alarm: Timer | None = None  # judges the pace
        self._unacknowledged = count()  # by the kernel, when the pace was judged last
        self._sent = 0  # bytes that the kernel has taken since the pace was judged
        self._goal = 0  # bytes that the peer has to take before it is judged again
        self._begin_window()

    @property
    def has_room(self) -> bool:
        """Whether more may be added that nobody waits for."""
        return self.owned <= MOST_OWNED

    def append(self, data: bytes | memoryview | Delivery) -> None:
        """Add bytes at the end."""
        self._parts.append(data)

    def send(self, transmit: Callable[[bytes | memoryview], int]) -> bool:
        """Send what the kernel takes, but no more than AT_ONCE parts; return whether nothing is left."""
        parts = self._parts
        for _ in range(AT_ONCE):
            if not parts:
                return True
            part = parts[0]
            tracked = isinstance(part, (Delivery, Mark))
            try:
                sent = transmit(part.rest if tracked else part) if len(part) else 0
            except BlockingIOError:
                return False
            self._sent += sent
            if sent < len(part):
                if tracked:
                    part.advance(sent)
                else:
                    parts[0] = memoryview(part)[sent:]
                return False
            parts.popleft()
            if tracked:
                part.finish()
        return not parts

    def wait(self, poller: Poller) -> None:
        """Block until all is sent that is here now, or nothing more will be."""
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

    def leave(self) -> None:
        """Let those who wait do so for good, in a forked child."""
        if self._waiters is not None:
            self._waiters.leave()

    def remove(self, delivery: Delivery) -> None:
        """Take out what is not to be sent after all."""
        self._parts.remove(delivery)

    @property
    def size(self) -> int:
        """The bytes that are left."""
        return sum(map(len, self._parts))

    def _begin_window(self) -> None:
        """Judge the pace of the peer from now on, by what is left for it."""
        self._goal = min(PACE, self.size + self._unacknowledged)
        self._sent = 0

    def is_too_slow(self) -> bool:
        """Whether the peer has not kept its pace in the window that ends now; another one begins.

        What counts is what the peer has acknowledged: the kernel takes bytes only with a third of its buffer free.
        """
        before, self._unacknowledged = self._unacknowledged, self._count()
        taken, goal = self._sent + before - self._unacknowledged, self._goal
        self._begin_window()
        return taken < goal

    def set_alarm(self, timer: Timer, call: Callable[..., object], channel: Any) -> None:
        """Have the pace judged at each end of a window.

        Args:
            timer: strikes at these ends.
            call: the poller's.
            channel: the connection, which is told of a peer that is too slow.
        """
        self._alarm = timer
        timer.start(call, channel, self._judge, channel, update=True)

    def _judge(self, channel: Any) -> None:
        if self.is_too_slow():
            channel.send_timed_out()

    def close(self) -> None:
        """Judge nothing any more, and abandon what is left; wake those who wait."""
        if self._alarm is not None:
            self._alarm.close()
        for part in self._parts:
            if isinstance(part, (Delivery, Mark)):
                part.abandon()
        if self._waiters is not None:
            self._waiters.wake_soon()
