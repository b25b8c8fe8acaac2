"""Which of gevent's servers a request has come in on, for the sake of processes that fork.

gevent knows its servers, and they their connections, nowhere: what is to be left to a parent is known from the first
handshake on.
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
    """Have a child that is forked from here on leave the server's connections, and this request, to its parent."""
    if SEAM in environ:
        return  # that server is registered
    for candidate in (getattr(start_response, "__self__", None), *getattr(gevent.getcurrent(), "args", ())):
        server = getattr(candidate, "server", None) or getattr(candidate, "__self__", None)
        if isinstance(server, BaseServer):  # the one of pywsgi's handler, or whose method runs in this greenlet
            forks.register_server(server)
