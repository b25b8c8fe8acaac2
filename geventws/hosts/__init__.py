"""WSGI servers: where each keeps its socket and the bytes that it has read ahead, and how it sends an answer.

`find_host` returns the server's side of a request (see host.py), whatever middleware is between the server and us.
`HOSTS` lists the servers; each has a module of its own.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import gevent
from gevent import socket as gsocket

from ..engine.options import LINGER
from ..exceptions import HandshakeError, NoSocket
from ..http.headers import check_headers
from .gunicorn import GunicornHost
from .own import OwnHost
from .pywsgi import PyWSGIHost
from .pywsgi_bodies import call_bounded, has_endless_body
from .sockets import PEER_CERTIFICATE
from .unknown import UnknownHost
from .werkzeug import WerkzeugHost
from .wsgiref import WSGIRefHost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..handshake.origins import Environ
    from .host import Headers, Host, StartResponse

HOSTS: tuple[type[Host], ...] = (OwnHost, PyWSGIHost, GunicornHost, WerkzeugHost, WSGIRefHost)
"""The servers. One that derives from another comes before it."""

REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    426: "Upgrade Required",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

_FRAMES = {function: variable for host in HOSTS for function, variable in host.frames.items()}


def find_host(environ: Environ, start_response: StartResponse) -> Host:
    """Return the server's side of a request, whatever middleware has done to `environ` and `start_response`."""
    for host in HOSTS:
        if host.key in environ:
            return host(environ, environ[host.key])
    for thing in _find_callers(start_response):
        for host in HOSTS:
            if host.recognises(thing):
                return host(environ, thing)
    return UnknownHost(environ)


def _find_callers(start_response: StartResponse) -> Iterator[Any]:
    """Yield objects that may be the handler that has called the application.

    Middleware may replace `start_response` and `environ`, but the server's frames are still below it on the stack.
    """
    yield getattr(start_response, "__self__", None)
    frame: Any = sys._getframe(1)
    while frame is not None:
        variable = _FRAMES.get(frame.f_code.co_name)
        if variable is not None:
            yield frame.f_locals.get(variable)
        frame = frame.f_back


def call_application(
    application: Callable[..., Iterable[bytes]], environ: Environ, start_response: StartResponse
) -> Iterable[bytes]:
    """Call a WSGI application for a request that is not a handshake, with an input that has an end."""
    if has_endless_body(environ):
        return call_bounded(application, environ, start_response, find_host(environ, start_response))
    return application(environ, start_response)


def show_certificate(environ: Environ, start_response: StartResponse) -> None:
    """Let the application ask for the client's certificate, if its server ends TLS and gives it the socket."""
    if environ.get("wsgi.url_scheme") == "https" and PEER_CERTIFICATE not in environ:
        with contextlib.suppress(NoSocket):
            tls = getattr(find_host(environ, start_response).socket, "_sslobj", None)
            if tls is not None:  # else a proxy has ended it
                environ[PEER_CERTIFICATE] = tls.getpeercert


def refuse(environ: Environ, start_response: StartResponse, error: HandshakeError) -> list[bytes]:
    """Answer with an HTTP status, and make sure that nothing after the request is taken for another request.

    Raises:
        ValueError: one of the error's headers cannot be sent.
    """
    check_headers(error.headers)
    body = f"{error}\n".encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
        *error.headers,
    ]
    return answer(environ, start_response, f"{error.status} {REASONS.get(error.status, 'Refused')}", headers, body)


def answer(
    environ: Environ, start_response: StartResponse, status: str, headers: Headers, body: bytes
) -> list[bytes]:
    """Answer a request in plain HTTP, and end the connection, at once if there is a body that nobody reads."""
    host = find_host(environ, start_response)
    host.end_with_answer()
    if host.forbids_connection_field:
        headers = [(name, value) for name, value in headers if name != "Connection"]
    if environ.get("CONTENT_LENGTH", "") in ("", "0") and "HTTP_TRANSFER_ENCODING" not in environ:
        start_response(status, headers)
        return [body]
    host.send(start_response, status, headers, body)  # at once: middleware may keep the result, and never close it
    if not host.ends_thread:  # otherwise the server ends both
        _end_after_answer(host)
    return []


def _end_after_answer(host: Host) -> None:
    """End a connection with a body that nobody will read, after a moment for the client to read the answer.

    pywsgi would wait for the body, or take the rest of it for a request.
    """
    try:
        socket = host.socket
        socket.shutdown(gsocket.SHUT_WR)
        with gevent.Timeout(LINGER, False):
            while socket.recv(16384):
                gevent.sleep(0)  # or the timeout could not strike while a client sends without a pause
        socket.shutdown(gsocket.SHUT_RD)
    except (NoSocket, OSError):
        pass  # there is no socket, or the client has gone


def leave_thread(host: Host) -> None:
    """Release this thread's loop, if the server ends the thread after its request. To be called last."""
    hub = gevent.get_hub() if host.ends_thread else None
    if hub is not None and not hub.main_hub:  # where the program is monkey-patched, all threads share that one
        hub.destroy(destroy_loop=True)
