"""What a test leaves behind in this process: greenlets, watchers of the loop, descriptors."""

from __future__ import annotations

import gc
import os
from typing import Any

import gevent
from greenlet import greenlet


class Traces:
    """What a test may leave behind in this process."""

    def __init__(self) -> None:
        self.hub = gevent.get_hub()
        gc.collect()
        gc.freeze()  # what is there now is not this test's, and need not be looked at again
        self._before = self._count()

    def _count(self) -> dict[str, set[Any]]:
        # type() and not isinstance(), which asks a weak proxy for the class of what may be gone
        greenlets = (thing for thing in gc.get_objects() if issubclass(type(thing), greenlet))
        return {
            "greenlets": {f"{type(thing)} at {id(thing):#x}" for thing in greenlets if not thing.dead},
            "watchers": set(range(self.hub.loop.activecnt)),
            "descriptors": set(range(len(os.listdir("/proc/self/fd")))),  # a new epoll set may have any number
        }

    def left(self) -> dict[str, set[Any]]:
        """Return what there is now and was not at first."""
        return {name: new for name, now in self._count().items() if (new := now - self._before[name])}

    def check(self) -> None:
        """Nothing is left, at the latest when the callbacks that are due have run."""
        gevent.idle()
        if self.left():
            gc.collect()
            gevent.sleep(0.05)
        assert self.left() == {}
