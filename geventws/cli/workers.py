"""`python -m geventws serve --workers N`: gunicorn, with our worker, replaces this process."""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import socket
import sys

from gevent.baseserver import parse_address

from ..server.server import WebSocketServer
from ..text import one_line

UNBOUNDED = 1_000_000
"""The most connections of a worker: more than there can be, as `serve` has no limit. gunicorn's default is 1,000."""


def become_gunicorn(options: argparse.Namespace) -> int:
    """Replace this process by gunicorn; return an exit status if that is not possible."""
    try:
        importlib.import_module("geventws.gunicorn")
    except (ImportError, RuntimeError) as error:  # gunicorn raises a RuntimeError if gevent is too old for it
        why = f"--workers needs gunicorn: pip install 'geventws[gunicorn]' ({error})"
        print(one_line(why), file=sys.stderr)
        return 1
    command = ["-m", "gunicorn", *_translate(options)]
    print(f"serving {options.application} with gunicorn: {shlex.join(['python', *command])}", flush=True)
    os.execv(sys.executable, [sys.executable, *command])


def _translate(options: argparse.Namespace) -> list[str]:
    """Return the options for gunicorn that do the same as ours, and as the defaults of `serve`."""
    files = [("--certfile", options.certfile), ("--keyfile", options.keyfile)]
    return [
        *("--worker-class", "geventws.gunicorn.Worker", "--workers", str(options.workers)),
        *("--bind", _translate_address(options.bind), "--access-logfile", "-"),
        *("--graceful-timeout", str(int(WebSocketServer.stop_timeout)), "--worker-connections", str(UNBOUNDED)),
        *(word for name, path in files if path is not None for word in (name, path)),
        options.application,
    ]


def _translate_address(address: str) -> str:
    family, (host, port) = parse_address(address)
    host = host or ("::" if family == socket.AF_INET6 else "0.0.0.0")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
