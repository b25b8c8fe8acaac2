"""`serve --reload`: when a source file changes, the same command replaces this process.

The listening socket is handed over, so that no connection is refused meanwhile.
"""

from __future__ import annotations

import glob
import os
import sys
import sysconfig
import time
import traceback
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import gevent
import gevent.socket

from ..server.server import WebSocketServer

LISTENER = "GEVENTWS_LISTENER"
"""The environment variable with the listening descriptor that a reload passes on."""

POLL = 0.5
"""Seconds between two looks at the source files."""

NOT_THERE = (0, 0)
"""The stamp of a missing file."""

INSTALLED = tuple(map(sysconfig.get_path, ("stdlib", "purelib", "platlib")))
"""Folders in which nobody writes an application."""

_STARTED = time.time_ns()

HURRY = 0.1
"""Seconds that a reload gives to requests under way."""


def wait_and_stop(server: WebSocketServer) -> int:
    """Stop the server when a source file changes; return a descriptor that goes on listening."""
    _wait_for_change(_list_sources())
    listener = os.dup(server.socket.fileno())
    os.set_inheritable(listener, True)
    server.stop(HURRY)
    return listener


def restart(listener: int | None = None) -> None:
    """Replace this process by the same command, and hand on the listening descriptor."""
    if listener is not None:
        os.environ[LISTENER] = str(listener)
    os.execv(sys.executable, sys.orig_argv)


def wait_for_repair(error: BaseException) -> None:
    """Show why the application cannot be served, and wait for a change that may mend it. Blocks."""
    if isinstance(error, SystemExit) and isinstance(error.code, str):
        print(error.code, file=sys.stderr)
    else:
        traceback.print_exception(error)
    paths = _list_sources(error)
    ours = (path for path in paths if os.path.isabs(path) and not path.startswith(INSTALLED))
    _wait_for_change(paths, {os.getcwd(), *map(os.path.dirname, ours)})


def _wait_for_change(paths: set[str], folders: Collection[str] = ()) -> None:
    """Wait until one of the files changes, or any Python file in the folders, even a new one. Blocks."""
    before = {path: _stamp(path) for path in paths.union(_list_files(folders))}
    while not any(_has_changed(path, stamp) for path, stamp in before.items()):
        gevent.sleep(POLL)
        before.update((path, NOT_THERE) for path in _list_files(folders) if path not in before)


def _has_changed(path: str, stamp: tuple[int, int]) -> bool:
    """Tell whether a file has changed since we looked, or was written between our start and that moment."""
    return _stamp(path) != stamp or _STARTED < stamp[0] < time.time_ns()


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return NOT_THERE
    return status.st_mtime_ns, status.st_size


def _list_files(folders: Iterable[str]) -> Iterator[str]:
    """Yield the Python files in folders, and the packages."""
    for folder in folders:
        for pattern in ("*.py", "*/__init__.py"):
            yield from glob.iglob(os.path.join(glob.escape(folder), pattern))


def _list_sources(error: BaseException | None = None) -> set[str]:
    """Return the files of all imported modules, and of those in which an import failed."""
    modules = list(sys.modules.values())
    paths = {getattr(module, "__file__", None) for module in modules}
    if error is not None:
        paths.update(_list_failed(error))
    return {path for path in paths if path is not None}


def _list_failed(error: BaseException) -> Iterator[str]:
    if isinstance(error, SyntaxError) and error.filename is not None:
        yield error.filename
    for frame in traceback.extract_tb(error.__traceback__):
        yield frame.filename


def make_listener(address: str) -> Any:
    """Return what to listen on: the socket that a reload has passed on, or the address."""
    inherited = os.environ.pop(LISTENER, None)
    if inherited is not None:
        os.set_inheritable(int(inherited), False)
        return gevent.socket.socket(fileno=int(inherited))
    return address
