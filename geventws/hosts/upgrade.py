"""The seam to the WSGI server: its socket, the bytes it has read already, and the answers that go through it.

A *host* is a request as its server has it: it sends an answer in a way that the server knows of, and hands out the
connection. `find_host` finds it whatever stands between the server and us; each kind of server that we
know has a module of its own.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import gevent
from gevent import socket as gsocket
from gevent.pywsgi import WSGIHandler

from ..exceptions import HandshakeError, NoSocket
from ..http.headers import check_headers
from .gunicorn import GunicornHost, find_unreader, is_response, take_unread
from .own import SEAM, OwnHost
from .pywsgi import PyWSGIHost, find_reader, take_read_ahead
from .sockets import PEER_CERTIFICATE, Detached, Ended, detach_socket, drop_watchers

if TYPE_CHECKING:
    Environ = dict[str, Any]
    Headers = list[tuple[str, str]]
    StartResponse = Callable[..., Any]

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

LINGER = 1.0
"""Seconds that a refused client has to hang up before unread bytes of its request are dropped."""

SWITCHING = "101 Switching Protocols"

NO_WRITE = "start_response returned None: some middleware drops what the server's own returns (PEP 3333: a callable)"

FRAMES = {"run_application": "self", "process_result": "self", "handle_one_response": "self", "handle_request": "resp"}
"""Functions of pywsgi and gunicorn that have called the application, and under which name they know its handler."""


class Host(Protocol):
    """A request as its server has it."""

    @property
    def socket(self) -> Any:
        """The gevent socket; NoSocket where there is none."""

    @property
    def on_drain(self) -> Callable[[Callable[[], object]], object] | None:
        """What takes a function to call when the server stops; None where the server has no such thing."""

    def send(self, start_response: StartResponse, status: str, headers: Headers, body: bytes = b"") -> None:
        """Send an answer now, through `start_response` and in any case. Blocks."""

    def read(self, size: int) -> bytes:
        """Return so many bytes that follow the head, or those up to the end. Blocks."""

    def switch(
        self, start_response: StartResponse, headers: Headers, status: str, tail: bytes = b""
    ) -> tuple[Any, bytes]:
        """Answer with 101, and take the connection over from the server, which still closes it.

        Args:
            start_response: the server's, or what middleware has made of it.
            headers: of the answer.
            status: of the answer.
            tail: bytes that leave with the head, in one write.

        Returns:
            a gevent socket, or a bare one, which never blocks from here on; and the bytes that followed the request.

        Raises:
            NoSocket: the server gives its application none.
        """

    def detach(self, socket: Any) -> Any:
        """Return the socket of a connection that is to outlive its request; None where it cannot."""

    def end_with_answer(self) -> None:
        """See to it that the connection ends with the answer, which says so, and nothing after it is a request."""


def find_host(environ: Environ, start_response: StartResponse) -> Host:
    """Return the request as its server has it, whatever middleware has made of `environ` and `start_response`."""
    handler = environ.get(SEAM)
    if handler is not None:
        return OwnHost(environ, handler)
    handler = find_handler(start_response)
    if handler is None:
        return UnknownHost(environ)
    if isinstance(handler, WSGIHandler):
        return OwnHost(environ, handler) if hasattr(handler, "give_away") else PyWSGIHost(environ, handler)
    return GunicornHost(environ, handler)


def find_handler(start_response: StartResponse) -> Any:
    """Return the handler of pywsgi's, or the response of gunicorn's, that called the application; None for others."""
    handler = getattr(start_response, "__self__", None)
    return handler if _is_handler(handler) else _search_stack()


def show_certificate(environ: Environ, start_response: StartResponse) -> None:
    """Let the application ask for the client's certificate, where its server ends TLS and gives it the socket."""
    if environ.get("wsgi.url_scheme") == "https" and PEER_CERTIFICATE not in environ:
        with contextlib.suppress(NoSocket):
            tls = getattr(find_host(environ, start_response).socket, "_sslobj", None)
            if tls is not None:  # else a proxy has ended it
                environ[PEER_CERTIFICATE] = tls.getpeercert


def _is_handler(thing: Any) -> bool:
    return isinstance(thing, WSGIHandler) or (is_response(thing) and isinstance(thing.sock, gsocket.socket))


def _search_stack() -> Any:
    """Return the handler that has called the application in this greenlet; None where there is none.

    Middleware may have a `start_response` and an `environ` of its own, but the server's frames are below it.
    """
    frame: Any = sys._getframe(1)
    while frame is not None:
        name = FRAMES.get(frame.f_code.co_name)
        if name is not None and _is_handler(found := frame.f_locals.get(name)):
            return found
        frame = frame.f_back
    return None


class UnknownHost:
    """A request on a server that is not known, or that called us in another greenlet: its environ is all there is."""

    on_drain = None

    def __init__(self, environ: Environ) -> None:
        self._environ = environ

    @property
    def socket(self) -> Any:
        """The gevent socket, if the environ leads to one."""
        environ = self._environ
        raw = getattr(find_reader(environ), "raw", None)
        for socket in (environ.get("gunicorn.socket"), environ.get("gunicorn.sock"), getattr(raw, "_sock", None)):
            if isinstance(socket, gsocket.socket):
                return socket
        raise NoSocket(_explain(str(environ.get("SERVER_SOFTWARE", "unknown"))))

    def send(self, start_response: StartResponse, status: str, headers: Headers, body: bytes = b"") -> None:
        """Send an answer, as far as `start_response` does."""
        write = start_response(status, headers)
        if write is None:
            raise TypeError(NO_WRITE)
        write(body)

    def read(self, size: int) -> bytes:
        """Return so many bytes that follow the head, or those up to the end. Blocks."""
        unreader = find_unreader(self._environ)
        return (find_reader(self._environ) if unreader is None else unreader).read(size)  # type: ignore[no-any-return]

    def switch(
        self, start_response: StartResponse, headers: Headers, status: str, tail: bytes = b""
    ) -> tuple[Any, bytes]:
        """Answer with 101; return the socket and the bytes that followed the request."""
        socket, unreader = self.socket, find_unreader(self._environ)
        self.send(start_response, status, headers)
        if tail:
            socket.sendall(tail)  # in a write of its own: nobody knows what this server writes the head with
        drop_watchers(socket)
        return socket, take_read_ahead(find_reader(self._environ)) if unreader is None else take_unread(unreader)

    def detach(self, socket: Any) -> Detached | None:
        """Return the bare socket; None where the server would go on to read from it."""
        unreader = find_unreader(self._environ)
        if unreader is not None:
            unreader.sock = Ended()
        elif "gunicorn.socket" in self._environ:
            return None
        return detach_socket(socket)

    def end_with_answer(self) -> None:
        """Drop what was read ahead."""
        unreader = find_unreader(self._environ)
        if unreader is not None:
            take_unread(unreader)


def _explain(software: str) -> str:
    if "gevent/" in software or "gunicorn" in software:
        return (
            f"the socket of this request cannot be found on {software}: middleware has replaced wsgi.input and "
            "start_response, and runs the application in another greenlet. Mount the WebSockets in front of it"
        )
    return (
        f"this WSGI server ({software}) gives its application no gevent socket; "
        "geventws runs on gevent.pywsgi.WSGIServer, on geventws.WebSocketServer, and on gunicorn with "
        "-k gevent or -k gevent_pywsgi"
    )


def refuse(environ: Environ, start_response: StartResponse, error: HandshakeError) -> list[bytes]:
    """Answer with an HTTP status, and see to it that nothing behind the request is taken for another one.

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
    _end_behind_answer(host)
    return []


def _end_behind_answer(host: Host) -> None:
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
