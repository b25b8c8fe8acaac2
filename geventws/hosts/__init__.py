"""What knows WSGI servers: where each keeps its socket, what it has read ahead, and how an answer goes through it.

`find_host` returns a request as its server has it (see host.py), whatever middleware stands between the server and us.
`HOSTS` lists the servers, each of which has a module of its own.
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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ..handshake.origins import Environ
    from .host import Headers, Host, StartResponse

HOSTS: tuple[type[Host], ...] = (OwnHost, PyWSGIHost, GunicornHost, WerkzeugHost)
"""The servers; one that derives from another's stands before it."""

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
    """Return the request as its server has it, whatever middleware has made of `environ` and `start_response`."""
    for host in HOSTS:
        if host.key in environ:
            return host(environ, environ[host.key])
    for thing in _find_callers(start_response):
        for host in HOSTS:
            if host.recognises(thing):
                return host(environ, thing)
    return UnknownHost(environ)


def _find_callers(start_response: StartResponse) -> Iterator[Any]:
    """Yield what may be the handler that has called the application.

    Middleware may have a `start_response` and an `environ` of its own, but the server's frames are below it.
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
    """Call a WSGI application for a request that is no handshake, and see to it that its input has an end."""
    if has_endless_body(environ):
        return call_bounded(application, environ, start_response, find_host(environ, start_response))
    return application(environ, start_response)


def show_certificate(environ: Environ, start_response: StartResponse) -> None:
    """Let the application ask for the client's certificate, where its server ends TLS and gives it the socket."""
    if environ.get("wsgi.url_scheme") == "https" and PEER_CERTIFICATE not in environ:
        with contextlib.suppress(NoSocket):
            tls = getattr(find_host(environ, start_response).socket, "_sslobj", None)
            if tls is not None:  # else a proxy has ended it
                environ[PEER_CERTIFICATE] = tls.getpeercert


def refuse(environ: Environ, start_response: StartResponse, error: HandshakeError) -> list[bytes]:
    """Answer with an HTTP status, and see to it that nothing after the request is taken for another one.

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
    if environ.get("CONTENT_LENGTH", "") in ("", "0") and "HTTP_TRANSFER_ENCODING" not in environ:
        start_response(status, headers)
        return [body]
    host.send(start_response, status, headers, body)  # at once: middleware may take the result, and never close it
    _end_after_answer(host)
    return []


def _end_after_answer(host: Host) -> None:
    """End a connection on which there is a body that nobody will read, and give the client a moment for the answer.

    pywsgi would wait for the body, or take the rest of it for a request.
    """
    try:
        socket = host.socket
        socket.shutdown(gsocket.SHUT_WR)
        with gevent.Timeout(LINGER, False):
            while socket.recv(16384):
                gevent.sleep(0)  # or a client that sends without a pause would keep the time from ending
        socket.shutdown(gsocket.SHUT_RD)
    except (NoSocket, OSError):
        pass  # there is none, or it has gone


def leave_thread(environ: Environ) -> None:
    """Let go of this thread's loop, where the server ends the thread with its request. To be called last."""
    if WerkzeugHost.key in environ and not gevent.get_hub().main_hub:  # monkey-patched, its threads share that one
        gevent.get_hub().destroy(destroy_loop=True)
