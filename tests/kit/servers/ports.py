"""Ports for programs that have to be told theirs: nobody else gets one of them before the program listens on it."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket

FIRST, LAST = 12000, 32000
"""Below what Linux gives to those who ask for any port, and to connections."""

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
_SLICE = list(range(FIRST + _WORKER, LAST, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))
_START = random.randrange(len(_SLICE))
_PORTS = itertools.cycle(_SLICE[_START:] + _SLICE[:_START])


def free_port() -> int:
    """Return a port that nobody listens on, and that was not returned lately, here or by a worker beside this one."""
    for port in itertools.islice(_PORTS, len(_SLICE)):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no port is free")
