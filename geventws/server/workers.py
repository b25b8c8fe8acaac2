"""Greenlets that serve one connection after the other, where nobody can tell them from new ones.

A new greenlet costs more than all the Python of a handshake: a Greenlet object, 16 KiB of stack mapped, touched and
unmapped. So one whose connection is over waits for the next. But a greenlet has an identity, and what one connection
leaves with it may not reach another one: locals, context variables, links, a `gevent.Timeout` still to come, a
reference through which it may be killed. Hence the rule: a greenlet serves again only if it is exactly as it was before
it served. Any trace at all, and it ends as greenlets do, and a new one is made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any
from weakref import getweakrefcount

from gevent import Greenlet, get_hub
from greenlet import getcurrent

from ..engine.poller import switch_to

MAX_IDLE = 64
"""Greenlets that are kept waiting."""


class _Worker(Greenlet):  # type: ignore[misc]
    """A `Greenlet` that lasts: without a dict of its own, and without most of the stack of who spawned it, 0.4 KB."""

    spawning_stack_limit = 1

    def _run(self, workers: Workers, function: Callable[[], object] | None) -> None:
        workers.work(function)


class Workers:
    """Runs functions of no arguments in greenlets, as `Greenlet.spawn` does, and may use a greenlet again.

    Of one hub; not for other threads.
    """

    def __init__(self) -> None:
        self._hub = get_hub()
        self._idle: list[Any] = []
        self._closed = False
        self._references = 0  # to a greenlet that waits, where nobody else has one
        _Worker.spawn(None, self, None)  # the first to wait, and has done nothing: it shows that number

    def spawn(self, function: Callable[[], object]) -> None:
        """Run a function in a greenlet, soon. Does not block."""
        idle = self._idle
        if self._references == 0 and idle:
            self._references = _count_references(idle, 0)
        while idle:
            clean = _count_references(idle, -1) == self._references
            greenlet = idle.pop()
            if clean and _is_clean(greenlet):
                self._hub.loop.run_callback(greenlet.switch, function)
                return
            self._hub.loop.run_callback(greenlet.switch, None)
        _Worker.spawn(None, self, function)

    def close(self) -> None:
        """End the greenlets that wait; those at work end when their work does."""
        self._closed = True
        while self._idle:
            self._hub.loop.run_callback(self._idle.pop().switch, None)

    def work(self, function: Callable[[], object] | None) -> None:
        """Run a function, then those of `spawn`: what a greenlet does."""
        if function is not None:
            function()
            function = None
        while not self._closed and len(self._idle) < MAX_IDLE:
            self._idle.append(getcurrent())
            function = switch_to(self._hub)
            if function is None:
                return
            function()
            function = None  # a connection is not to be kept alive by the greenlet that served it


def _count_references(greenlets: list[Any], index: int) -> int:
    return sys.getrefcount(greenlets[index])


def _is_clean(greenlet: Any) -> bool:
    """Whether nothing was left with a greenlet: no context variable, gevent.local, link, weak reference, attribute."""
    touched = greenlet.gr_context or greenlet.has_links() or getweakrefcount(greenlet)
    return not (touched or vars(greenlet))
