"""The engine's system calls and its clock: everything it asks of the kernel while connections are at work.

Each loop's poller has one of each. A test, or a simulation in which a seed determines the run, may replace them: by a
socket that accepts three bytes and then none, or by a clock that the test moves. Nothing has to be patched: make a
`Poller` with both, and have the loop use it (`set_poller`).

Two parts make system calls of their own: the C core (ws_receive: epoll_wait, recv, fstat, clock_gettime), so a
simulation sets `in_core` to False and runs on the Python twin; and OpenSSL, so a simulation leaves TLS out.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

from ..._core import HAVE_C, Fanout, Receiver
from ..._core.fanout.pure import Fanout as PythonFanout
from ..._core.fanout.pure import Sender
from ..._core.receive import pure
from .watchers import HAVE_EPOLL, open_set

if sys.platform != "win32":
    import fcntl
    import termios

if TYPE_CHECKING:
    from collections.abc import Callable

    from .watchers import EpollSet, WatcherSet


class Calls(Protocol):
    """The calls on one connected socket, none of which blocks: they are those of Python's `socket.socket`."""

    def recv(self, size: int, flags: int, /) -> bytes:
        """Receive; BlockingIOError if nothing is there now."""

    def recv_into(self, buffer: memoryview, /) -> int:
        """Receive into a buffer, and return how many bytes; 0 is the end. BlockingIOError if nothing is there now."""

    def send(self, data: bytes | memoryview, flags: int = 0, /) -> int:
        """Send; return how many bytes the kernel has accepted. BlockingIOError if none."""

    def sendmsg(self, buffers: Any, /) -> int:
        """The same for several buffers in one call."""

    def setsockopt(self, level: int, option: int, value: int | bytes, /) -> None:
        """Set an option."""

    def shutdown(self, how: int, /) -> None:
        """End one side of the connection, or both."""

    def fileno(self) -> int:
        """Return the descriptor, -1 once it is closed."""

    def close(self) -> None:
        """Close the descriptor. Idempotent."""


class System:
    """The system calls of the engine.

    Attributes:
        in_core: whether the C core may make its own.
    """

    in_core = HAVE_EPOLL

    def get_calls(self, socket: Any) -> Calls:
        """Return the calls on a connected gevent socket: those of the socket below it, which do not wait."""
        calls: Calls = socket._sock
        return calls

    def count_unacknowledged(self, fd: int) -> int:
        """Return how many bytes the kernel holds that the peer has not acknowledged; 0 if the kernel does not tell."""
        if sys.platform == "win32":
            return 0
        try:
            return int.from_bytes(fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        except OSError:
            return 0

    def fstat(self, fd: int) -> os.stat_result:
        """Return what file a descriptor is."""
        return os.fstat(fd)

    def open_set(self, loop: Any) -> EpollSet | WatcherSet:
        """Return a new set of sockets that a loop watches."""
        return open_set(loop)

    def make_receiver(self, poller: pure.Owner) -> pure.Receiver:
        """Return a poller's receiver: that of the core in use, or that of the Python twin."""
        return Receiver(poller) if self.in_core else pure.Receiver(poller)

    def make_fanout(self, write: Callable[[int, bytes], int]) -> Sender:
        """Return what sends to many descriptors: the core in use, or its Python twin, which sends with `write`."""
        return Fanout() if self.in_core and HAVE_C else PythonFanout(write)


class Timer(Protocol):
    """A timer of a loop: gevent's. gevent's Timeout uses `stop`, `pending` and `active` besides."""

    def start(self, callback: Callable[..., object], *arguments: Any, update: bool = ...) -> None:
        """Call back when the time is up.

        Args:
            callback: what to call.
            arguments: with what.
            update: whether the time begins now, and not when the loop last looked at its clock.
        """

    def close(self) -> None:
        """Never call back. Idempotent."""


class Clock:
    """The time of one loop.

    Args:
        monotonic: returns the seconds since some moment in the past.
        timer: returns a new `Timer` for so many seconds; a second number has it repeat after as many.
        run_callback: calls a function with arguments soon, in the hub; what it returns has `close`, too.
    """

    __slots__ = ("monotonic", "run_callback", "timer")

    def __init__(
        self, monotonic: Callable[[], float], timer: Callable[..., Timer], run_callback: Callable[..., Any]
    ) -> None:
        self.monotonic: Callable[[], float] = monotonic
        self.timer: Callable[..., Timer] = timer
        self.run_callback: Callable[..., Any] = run_callback

    @classmethod
    def of(cls, loop: Any) -> Clock:
        """Return the clock of one of gevent's loops."""
        return cls(time.monotonic, loop.timer, loop.run_callback)


SYSTEM = System()
