"""Requests whose body gevent.pywsgi reads twice: those that offer an upgrade (gevent#2035).

pywsgi gives the application of such a request the connection's own reader instead of the body. That has no end, so an
application that reads all of it hangs, or reads the next request as a part of the body. If it reads only the body,
pywsgi skips as many bytes again, which are the next request's. Behind a proxy that keeps connections to its servers
open, the next request is somebody else's. If a request passes through our code, it gets its real body, and the
connection ends with its answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gevent.pywsgi import Input

from .pywsgi import PyWSGIHost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..handshake.origins import Environ
    from .host import Host, StartResponse


def has_endless_body(environ: Environ) -> bool:
    """Return whether the application would read the connection instead of the body."""
    return not environ.get("wsgi.input_terminated", True) and hasattr(environ.get("wsgi.input"), "raw")


def call_bounded(
    application: Callable[..., Iterable[bytes]], environ: Environ, start_response: StartResponse, host: Host
) -> Iterable[bytes]:
    """Call a WSGI application with an input that ends where the body does, for a request that has an endless one."""
    length = environ.get("CONTENT_LENGTH")
    chunked = environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked"
    if isinstance(host, PyWSGIHost):
        body = host.body
    else:
        body = Input(environ["wsgi.input"], int(length) if length else None, chunked_input=chunked)
    environ["wsgi.input"], environ["wsgi.input_terminated"] = body, True
    if length in (None, "0") and not chunked:
        return application(environ, start_response)
    return application(environ, _closing(start_response))


def _closing(start_response: StartResponse) -> StartResponse:
    """Return a `start_response` that has the server end the connection with the answer."""

    def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
        others = [(name, value) for name, value in headers if name.lower() != "connection"]
        return start_response(status, [*others, ("Connection", "close")], *exc_info)

    return start
