"""Greenlets that serve one connection after the other, where nobody can tell them from new ones.

A new greenlet costs more than all the Python of a handshake: a Greenlet object, 16 KiB of stack mapped, touched and
unmapped. So one whose connection is over may wait for the next. But a greenlet has an identity, and an end: who has a
reference waits for it, a link is called at it, locals and context variables are let go of with it. Hence the rule: a
greenlet waits only if it is exactly as it was before it served, so that nobody can tell that it has not ended. Any
trace at all, and it ends with its connection, in the loop's next turn, and a new one is made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any
from weakref import getweakrefcount

from gevent import Greenlet, get_hub
from greenlet import getcurrent

from .poller import switch_to

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
        self._done: list[Any] = []  # greenlets that have served, and are to be looked at
        self._idle: list[Any] = []
        self._closed = False
        self._references = 0  # to a greenlet that has served, where nobody else has one
        _Worker.spawn(None, self, None)  # the first to wait, and has done nothing: it shows that number

    def spawn(self, function: Callable[[], object]) -> None:
        """Run a function in a greenlet, soon. Does not block."""
        if self._idle:
            self._hub.loop.run_callback(self._idle.pop().switch, function)
        else:
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
        while True:
            function = None  # a connection is not to be kept alive by the greenlet that served it
            if not self._done:
                self._hub.loop.run_callback(self._settle)
            self._done.append(getcurrent())
            function = switch_to(self._hub)
            if function is None:
                return
            function()

    def _settle(self) -> None:
        """Have greenlets that have served wait, or end. In the hub: who switched to one has no reference any more."""
        while self._done:
            references = _count_references(self._done)
            self._references = self._references or references
            greenlet = self._done.pop()
            may_wait = not self._closed and len(self._idle) < MAX_IDLE
            if may_wait and references == self._references and _is_clean(greenlet):
                self._idle.append(greenlet)
            else:
                greenlet.switch(None)


def _count_references(greenlets: list[Any]) -> int:
    return sys.getrefcount(greenlets[-1])


def _is_clean(greenlet: Any) -> bool:
    """Whether nothing was left with a greenlet: a kill, context variable, local, link, weak reference or attribute."""
    touched = greenlet.dead or greenlet.gr_context or greenlet.has_links() or getweakrefcount(greenlet)
    return not (touched or vars(greenlet))
