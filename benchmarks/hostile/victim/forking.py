"""The ways in which a handler forks its process, for the program under attack."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from typing import Any

import gevent
import gevent.subprocess

LIFE = 3.0
"""Seconds that a child lives: several ping intervals of the connections it inherits."""


def sleeping_child() -> int:
    """`gevent.fork`, and a child that sleeps."""
    pid = gevent.fork()
    if pid == 0:
        gevent.sleep(LIFE)
        os._exit(0)
    return pid


def failing_child() -> int:
    """`gevent.fork`, and a child that leaves its handler by an exception, and lives on."""
    pid = gevent.fork()
    if pid == 0:
        gevent.spawn_later(LIFE, os._exit, 0)
        raise LookupError("the child's own")
    return pid


def process() -> int:
    """`multiprocessing.Process`, whose child sleeps on gevent's loop."""
    child = multiprocessing.get_context("fork").Process(target=gevent.sleep, args=(LIFE,), daemon=True)
    child.start()
    return child.pid or 0


def terminated_process() -> int:
    """The same, and ended as a supervisor would."""
    child = multiprocessing.get_context("fork").Process(target=gevent.sleep, args=(LIFE,), daemon=True)
    child.start()
    gevent.spawn_later(1.0, child.terminate)
    return child.pid or 0


def hooked_subprocess() -> int:
    """`gevent.subprocess`, with a hook at the fork that yields to the loop, as OpenTelemetry has."""
    os.register_at_fork(after_in_child=lambda: gevent.sleep(1.0))
    return gevent.subprocess.Popen(["sleep", str(LIFE)]).pid


WAYS: dict[bytes, Callable[[], int]] = {
    b"gevent": sleeping_child,
    b"exception": failing_child,
    b"process": process,
    b"terminate": terminated_process,
    b"subprocess": hooked_subprocess,
}


def fork(ws: Any, message: Any) -> None:
    """Fork in the way that a message names, and send any other back."""
    if message in WAYS:
        print(f"CHILD {WAYS[message]()}", flush=True)
    ws.send(message)
