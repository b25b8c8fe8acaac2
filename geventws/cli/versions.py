"""`geventws --version`: which parts are in use, for a bug report."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from .._core import HAVE_C
from ..engine.loop.watchers import HAVE_EPOLL
from ..protocol.compressors import isal_zlib


def describe() -> str:
    """Return one line: the version, the core, the poller, the compressor, and what geventws runs on."""
    core = "C core" if HAVE_C else "Python core"
    poller = "epoll" if HAVE_EPOLL else "a watcher for each socket"
    compressor = "zlib" if isal_zlib is None else "isal"
    below = f"gevent {version('gevent')}, {platform.python_implementation()} {platform.python_version()}"
    return f"geventws {_get_version()} ({core}, {poller}, {compressor}; {below})"


def _get_version() -> str:
    try:
        return version("geventws")
    except PackageNotFoundError:  # geventws was not installed
        return "of an unknown version"
