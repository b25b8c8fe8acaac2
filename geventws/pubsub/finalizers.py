"""Finalizers: whether this code was called by the garbage collector.

It may do so between any two steps of ours: for example, between sending a part of a frame and noting what is left. So a
message that a finalizer publishes waits for the loop's next round.
"""

from __future__ import annotations

import gc

from ..engine.loop.poller import get_thread

_threads: list[int] = []  # the thread in which the collector runs, if it does


def _note(phase: str, _info: object) -> None:
    if phase == "start":
        _threads.append(get_thread())
    else:
        _threads.clear()


def watch_collector() -> None:
    """Have `is_finalizer` tell, from now on. Idempotent."""
    if _note not in gc.callbacks:
        gc.callbacks.append(_note)


def is_finalizer() -> bool:
    """Whether the garbage collector has called this code."""
    return bool(_threads) and _threads[0] == get_thread()
