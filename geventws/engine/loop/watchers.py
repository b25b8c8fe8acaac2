"""A stand-in for an epoll set on systems without epoll: gevent watches each socket by itself.

What gevent reports is noted, and passed on together in the loop's next round, so that there are batches here, too. With
the environment variable GEVENTWS_POLLER=watchers it is used on Linux as well: for tests.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from gevent.monkey import get_original

from ..._core.receive import pure

if TYPE_CHECKING:
    from collections.abc import Callable

EPOLLIN, EPOLLOUT, EPOLLET = 1, pure.EPOLLOUT, 1 << 31
READ, WRITE = 1, 2  # gevent's

try:
    _epoll: Any = get_original("select", "epoll")
except AttributeError:  # this is no Linux
    _epoll = None

HAVE_EPOLL = _epoll is not None and os.environ.get("GEVENTWS_POLLER") != "watchers"
"""Whether a loop's sockets are in an epoll set."""


class EpollSet:
    """An epoll set whose descriptor a gevent loop watches."""

    register: Callable[..., Any]  # these are epoll's own
    modify: Callable[..., Any]
    unregister: Callable[..., Any]
    poll: Callable[..., Any]
    fileno: Callable[[], int]
    start: Callable[..., Any]  # and these are the watcher's
    stop: Callable[[], Any]

    def __init__(self, loop: Any) -> None:
        epoll = _epoll()
        self.register, self.modify, self.unregister = epoll.register, epoll.modify, epoll.unregister
        self.poll, self.fileno = epoll.poll, epoll.fileno
        self._close = epoll.close
        self._watcher = loop.io(epoll.fileno(), READ)
        self.start, self.stop = self._watcher.start, self._watcher.stop

    def close(self) -> None:
        """Watch nothing any more."""
        self.stop()
        self._close()


class WatcherSet:
    """The same without epoll.

    If somebody else has closed a socket, its watcher reports nothing, until the number is registered again.
    """

    def __init__(self, loop: Any) -> None:
        self._loop = loop  # gevent's
        self._watchers: dict[int, Any] = {}  # of each registered descriptor; None for one that is watched for nothing
        self._ready: dict[int, int] = {}  # what gevent has told of each descriptor, not reported yet
        self._callback: Callable[[], object] | None = None  # of `start`
        self._round: Any = None  # the loop's callback, while it is due

    def fileno(self) -> int:
        """Return -1: there is no descriptor."""
        return -1

    def start(self, callback: Callable[[], object]) -> None:
        """Have `callback` called whenever `poll` has something to report."""
        self._callback = callback
        self._schedule()

    def stop(self) -> None:
        """Call back no longer."""
        self._callback = None

    def register(self, fd: int, mask: int) -> None:
        """Watch a descriptor; OSError if it is closed."""
        self._drop(fd)
        self._watch(fd, mask)

    def modify(self, fd: int, mask: int) -> None:
        """Watch a registered descriptor for something else; OSError if it is not registered, or closed."""
        self.unregister(fd)
        self._watch(fd, mask)

    def unregister(self, fd: int) -> None:
        """Stop watching a descriptor; OSError if it is not registered."""
        if fd not in self._watchers:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        self._drop(fd)

    def poll(self, _timeout: float, most: int) -> list[tuple[int, int]]:
        """Return what gevent has told of at most so many descriptors, as pairs of descriptor and mask."""
        ready = self._ready
        found = list(ready.items())[:most]
        for fd, _mask in found:
            del ready[fd]
        return found

    def close(self) -> None:
        """Watch nothing any more."""
        self.stop()
        for fd in list(self._watchers):
            self._drop(fd)

    def _watch(self, fd: int, mask: int) -> None:
        os.fstat(fd)  # or OSError: libev would end the process for a watcher of a closed descriptor
        events = READ * (mask & EPOLLIN != 0) | WRITE * (mask & EPOLLOUT != 0)
        self._watchers[fd] = watcher = self._loop.io(fd, events) if events else None
        if watcher is not None:
            watcher.start(self._note, fd, pass_events=True)

    def _drop(self, fd: int) -> None:
        watcher = self._watchers.pop(fd, None)
        if watcher is not None:
            watcher.close()
        self._ready.pop(fd, None)

    def _note(self, events: int, fd: int) -> None:
        self._ready[fd] = EPOLLIN * (events & READ != 0) | EPOLLOUT * (events & WRITE != 0)
        self._schedule()

    def _schedule(self) -> None:
        if self._round is None and self._ready:
            self._round = self._loop.run_callback(self._report)

    def _report(self) -> None:
        self._round = None
        if self._callback is not None:
            self._callback()
            self._schedule()


def open_set(loop: Any) -> EpollSet | WatcherSet:
    """Return a new set for a loop."""
    return EpollSet(loop) if HAVE_EPOLL else WatcherSet(loop)
