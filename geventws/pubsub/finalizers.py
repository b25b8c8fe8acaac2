"""Finalizers: whether this code was called by the garbage collector.

It may do so between any two steps of ours: for example, between sending a part of a frame and noting what is left. So a
message that a finalizer publishes waits for the loop's next round.
"""

from __future__ import annotations

import gc

from ..engine.loop.poller import get_thread

collecting: list[int] = []
"""The thread in which the collector runs; empty if it does not."""


def _note(phase: str, _info: object) -> None:
    if phase == "start":
        collecting.append(get_thread())
    else:
        collecting.clear()


def is_finalizer() -> bool:
    """Whether the garbage collector has called this code."""
    return get_thread() in collecting  # one step: another thread's collection may end meanwhile


gc.callbacks.append(_note)
