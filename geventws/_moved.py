"""The import paths of 1.0: importing one warns, and gives the module at its new path. Until 1.3."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
import warnings
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec

MOVED = {
    "application": "endpoints.callbacks",
    "assembler": "protocol.messages",
    "backoff": "client.backoff",
    "connection": "engine.connection",
    "crew": "engine.loop.greenlets",
    "dial": "client.dial",
    "headers": "http.headers",
    "hixie76": "protocol.hixie76",
    "http_handler": "server.http_connection",
    "http_head": "http.request",
    "http_response": "http.response",
    "http_stream": "server.http_stream",
    "json": "protocol.json",
    "keepalive": "engine.keepalive",
    "legacy": "endpoints.legacy",
    "middleware": "endpoints.middleware",
    "owned": "client.websocket",
    "permessage_deflate": "protocol.permessage_deflate",
    "poller": "engine.loop.poller",
    "route": "endpoints.endpoint",
    "sending": "engine.fragments",
    "stream": "engine.stream",
    "terminal": "cli.terminal",
    "tls_stream": "engine.tls",
    "upgrade": "hosts",
    "uri": "http.uri",
    "waiters": "engine.loop.waiters",
    "workers": "engine.loop.greenlets",
    "wsgi": "endpoints.decorator",
}
"""The new path of each module of 1.0, below the package."""


class _Moved(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the old paths."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for a path of `MOVED`, and warn."""
        package, _, module = name.partition(".")
        if package != "geventws" or module not in MOVED:
            return None
        message = f"{name} is geventws.{MOVED[module]} now, and will be gone in geventws 1.3"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return importlib.util.spec_from_loader(name, self)

    def exec_module(self, module: ModuleType) -> None:
        """Replace this module by the one at the new path."""
        _, _, old = module.__name__.partition(".")
        sys.modules[module.__name__] = importlib.import_module(f"geventws.{MOVED[old]}")


sys.meta_path.append(_Moved())
