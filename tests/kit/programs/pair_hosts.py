"""Hosts of apps/pairs.py, in this process or in one of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from kit.apps.pairs import make_server, seen
from kit.programs.hosts import GUNICORN, Host

IN_PROCESS = ["WebSocketServer", "pywsgi", "pywsgi, wrapped", "compat"]
GUESTS = ["gunicorn -k gevent", "gunicorn -k gevent_pywsgi", "gunicorn -k geventws.gunicorn.Worker"]
EXACT = ["WebSocketServer", "compat", "gunicorn -k gevent", "gunicorn -k geventws.gunicorn.Worker"]
"""Those that read each body once, so that the connection goes on."""


@contextlib.contextmanager
def serving(name: str) -> Iterator[int]:
    """Run a host; its port."""
    if name.startswith("gunicorn"):
        command = ["kit.apps.pairs:application" if word == "kit.apps.hosted:application" else word for word in GUNICORN]
        process = Host([*command, "-k", name.rpartition(" ")[2]]).listening()
        try:
            yield process.port
        finally:
            process.terminate()
            process.wait()
    else:
        seen.clear()
        server = make_server(name)
        server.start()
        try:
            yield server.server_port
        finally:
            server.stop(0.1)
