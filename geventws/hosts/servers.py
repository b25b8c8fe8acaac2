"""Which of gevent's servers a request came in on: needed when the process forks.

gevent has no list of its servers, and they have none of their connections. So each server is registered at its first
handshake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gevent
from gevent.baseserver import BaseServer

from ..engine.loop import forks
from .own import SEAM

if TYPE_CHECKING:
    from ..handshake.origins import Environ


def register_server(environ: Environ, start_response: Any) -> None:
    """Have children that are forked from now on leave the server's connections, and this request, to their parent."""
    if SEAM in environ:
        return  # that server is registered
    for candidate in (getattr(start_response, "__self__", None), *getattr(gevent.getcurrent(), "args", ())):
        server = getattr(candidate, "server", None) or getattr(candidate, "__self__", None)
        if isinstance(server, BaseServer):  # that of pywsgi's handler, or one whose method this greenlet runs
            forks.register_server(server)
