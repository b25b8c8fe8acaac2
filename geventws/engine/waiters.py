"""Greenlets that wait for something to be so, each with the question it asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from greenlet import getcurrent

if TYPE_CHECKING:
    from collections.abc import Callable

    from .poller import Poller

Waiters: TypeAlias = "list[tuple[Any, Callable[[], bool]]]"


def wait_until(waiters: Waiters, poller: Poller, done: Callable[[], bool], timeout: float | None) -> None:
    """Block this greenlet until `done`, which is asked by `wake`, or the time is up.

    Args:
        waiters: those that wait; it is in there for so long.
        poller: the loop's poller.
        done: tells whether to go on.
        timeout: seconds to block at the most; None for no limit.
    """
    if done():
        return
    waiter = (getcurrent(), done)
    timer = None if timeout is None else poller.loop.timer(timeout)

    def expire() -> None:
        if waiter in waiters:
            waiters.remove(waiter)
            waiter[0].switch()

    waiters.append(waiter)
    if timer is not None:
        timer.start(expire, update=True)
    try:
        poller.hub.switch()
    finally:
        if timer is not None:
            timer.close()
        if waiter in waiters:
            waiters.remove(waiter)


def wake(waiters: Waiters) -> None:
    """Run those for whom it is so. To be called in the hub."""
    for waiter in tuple(waiters):
        if waiter in waiters and waiter[1]():
            waiters.remove(waiter)
            waiter[0].switch()
