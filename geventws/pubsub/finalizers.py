"""Finalizers: whether this code was called by the garbage collector.

It may do so between any two steps of ours: for example, between sending a part of a frame and noting what is left. So a
message that a finalizer publishes waits for the loop's next round.

The collector calls three functions when it starts and when it stops, with "start" or "stop" and an object that tells of
it, new each time. All three are C functions: in one of Python, a Ctrl-C may raise its KeyboardInterrupt, which the
collector would swallow.
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from typing import Any

from gevent.monkey import get_original

_phases: OrderedDict[str, None] = OrderedDict(start=None, stop=None)  # the last one is at the end
_told: dict[str, Any] = {}  # by phase, the object that tells of its last time
_told_here: Any = get_original("_thread", "_local")()  # the same, as attributes, if it was in this thread


def is_finalizer() -> bool:
    """Whether the garbage collector has called this code."""
    return next(reversed(_phases)) == "start" and getattr(_told_here, "start", None) is _told["start"]


_move_to_end: Any = _phases.move_to_end  # its second argument, `last`, is true: the object
gc.callbacks += [_told.__setitem__, _told_here.__setattr__, _move_to_end]
