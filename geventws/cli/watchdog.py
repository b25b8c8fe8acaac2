"""The watchdog of `serve`: it logs what holds the loop up, and with it every connection.

A native thread checks whether the loop still turns; a greenlet could not run then. gevent has a monitor for this, too,
but that makes each switch between greenlets slower.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from typing import Any

import gevent
from gevent.monkey import get_original

MOST = 1.0
"""Seconds that something may hold the loop up before it is logged."""

LOOK = 0.25
"""Seconds between two notes that the loop turns, and between two checks."""

logger: logging.Logger = logging.getLogger("geventws")

_start_thread = get_original("_thread", "start_new_thread")
_allocate_lock = get_original("_thread", "allocate_lock")


class Watchdog:
    """Watches this thread's loop in a block of `with`."""

    def __init__(self) -> None:
        self._thread = get_original("_thread", "get_ident")()  # the loop's
        self._timer: Any = gevent.get_hub().loop.timer(LOOK, LOOK, ref=False)  # the loop calls back while it turns
        self._over = _allocate_lock()  # held until the block ends
        self._turned = time.monotonic()  # when the loop was last seen to turn

    def __enter__(self) -> Watchdog:
        self._note()
        self._timer.start(self._note)
        self._over.acquire()
        _start_thread(self._watch, ())
        return self

    def __exit__(self, *_error: object) -> None:
        self._timer.close()
        self._over.release()

    def _note(self) -> None:
        self._turned = time.monotonic()

    def _watch(self) -> None:
        """Log each time that the loop is held up, once. Runs in a thread of its own."""
        told = 0.0
        while not self._over.acquire(True, LOOK):
            turned = self._turned
            if time.monotonic() - turned > MOST and told != turned:
                told = turned
                self._tell()

    def _tell(self) -> None:
        frame = sys._current_frames().get(self._thread)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else "(it has ended)\n"
        logger.warning("the loop, and every connection, has been held up for %g s by:\n%s", MOST, stack.rstrip())
