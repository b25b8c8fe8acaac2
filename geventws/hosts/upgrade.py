"""The seam to the WSGI server: its socket, the bytes it has read already, and the answers that go through it.

Everything here was observed on gevent.pywsgi and gunicorn:

* The 101 goes through `start_response` and `write`, so the server's access log has a true status, and no error page can
  land in the stream afterwards.
* Frames that the client sent right behind its handshake wait in the server's reader, not in the socket.
* pywsgi ends a connection whose reader is closed when the application returns; that also frees the reader's buffer.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import gevent
from gevent import pywsgi
from gevent import socket as gsocket
from gevent.pywsgi import Input, WSGIHandler

from ..exceptions import HandshakeError, NoSocket
from ..http.request import share

if TYPE_CHECKING:
    Environ = dict[str, Any]
    StartResponse = Callable[..., Callable[[bytes], object]]

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

EMPTY_INPUT = Input(io.BytesIO(), None)
"""The body of a request that has none."""

_NO_LOG = getattr(pywsgi, "_NoopLog", ())  # what pywsgi makes of log=None

_CLOSED = io.BytesIO()
_CLOSED.close()

SEAM = "geventws.upgrade"
"""Where `WebSocketServer` puts what hands the connection out: see `http_handler.RequestHandler`."""

LINGER = 1.0
"""Seconds that a refused client has to hang up before unread bytes of its request are dropped."""


class Connected(NamedTuple):
    """A connection that was taken over from its server.

    Attributes:
        socket: a cooperative socket, or a bare one that never blocks; its server closes it.
        early: the bytes that came behind the request.
        on_drain: takes a function to call when the server stops; None where the server has no such thing.
    """

    socket: Any
    early: bytes
    on_drain: Callable[[Callable[[], object]], object] | None


SWITCHING = "101 Switching Protocols"


def take_over(
    environ: Environ, start_response: StartResponse, headers: list[tuple[str, str]], status: str = SWITCHING
) -> Connected:
    """Answer with 101, and take the connection over from the server.

    Raises:
        NoSocket: the server gives its application none.
    """
    server = environ.pop(SEAM, None)
    if server is not None:
        start_response(status, headers)(b"")
        socket, early = server.take()
        return Connected(socket, early, server.on_drain)
    socket = find_socket(environ)
    return Connected(socket, switch_protocols(environ, start_response, socket, headers, status), None)


def find_socket(environ: Environ) -> Any:
    """Return the cooperative socket of a request.

    Raises:
        NoSocket: the server gives its application none.
    """
    for candidate in (environ.get(SEAM), environ.get("gunicorn.socket"), environ.get("gunicorn.sock")):
        socket = getattr(candidate, "socket", candidate)
        if isinstance(socket, gsocket.socket):
            return socket
    socket = getattr(getattr(_find_reader(environ), "raw", None), "_sock", None)
    if isinstance(socket, gsocket.socket):
        return socket
    raise NoSocket(
        f"this WSGI server ({environ.get('SERVER_SOFTWARE', 'unknown')}) gives its application no gevent socket; "
        "geventws runs on gevent.pywsgi.WSGIServer, on geventws.WebSocketServer, and on gunicorn with "
        "-k gevent or -k gevent_pywsgi"
    )


def switch_protocols(
    environ: Environ, start_response: StartResponse, socket: Any, headers: list[tuple[str, str]], status: str
) -> bytes:
    """Answer with 101, and return the bytes that came behind the request. The socket is the caller's from here on."""
    write = start_response(status, headers)
    handler: Any = getattr(start_response, "__self__", None)
    by_pywsgi = isinstance(handler, WSGIHandler)
    if by_pywsgi:
        handler.provided_date = ""  # a 101 needs none (RFC 9110 6.6.1)
    write(b"")
    socket.settimeout(0.0)
    _drop_watchers(socket)
    early = _take_read_ahead(environ)
    if by_pywsgi and "gunicorn.sock" not in environ:
        _slim_down(environ, handler)
    return early


def _drop_watchers(socket: Any) -> None:
    """Take from a gevent socket what it waits with: 240 bytes, for nothing, as one with a timeout of 0 never waits."""
    socket._read_event.close()
    socket._write_event.close()
    socket._read_event = socket._write_event = None  # as gevent's own close() has it


def _slim_down(environ: Environ, handler: Any) -> None:
    """Let pywsgi forget what nobody reads again: 4 KB for as long as the connection lives, and a line for no log."""
    try:
        del handler.headers  # the parsed request
    except AttributeError:
        pass  # some other handler has none
    handler.response_headers = None
    if isinstance(handler.server.log, _NO_LOG) and logs_without_environ(handler):
        handler.log_request = _log_nothing  # pywsgi's formats the line first
    handler.requestline, handler.command = share(handler.requestline), share(handler.command)
    handler.request_version = share(handler.request_version)
    handler.rfile = _CLOSED
    shared = {share(name): share(value) if type(value) is str else value for name, value in environ.items()}
    environ.clear()  # what many requests say alike stands in memory once; on a dict of strings that pays
    environ.update(shared)
    environ["wsgi.input"] = handler.wsgi_input = EMPTY_INPUT


def _log_nothing() -> None:
    """Stand for `log_request`."""


def logs_without_environ(handler: Any) -> bool:
    """Whether a server's handler is a pywsgi's that does not read the environ for its log lines."""
    kind, own = type(handler), WSGIHandler
    if not isinstance(handler, own):
        return False
    as_pywsgi = kind.log_request is own.log_request and kind.format_request is own.format_request
    return as_pywsgi or getattr(kind, "logs_without_environ", False)


def _find_reader(environ: Environ) -> Any:
    """Return pywsgi's buffered reader; for a request that it took for no upgrade, it is inside of its Input."""
    reader = environ.get("wsgi.input")
    return getattr(reader, "rfile", reader)


def _take_read_ahead(environ: Environ) -> bytes:
    """Take the bytes that the server has read behind the request, and close its reader.

    The reader would also ask the socket, in vain most times, and with an exception: so for now it has an ended one.
    """
    unreader = _find_unreader(environ)
    if unreader is not None:
        return _take_unread(unreader)
    reader = _find_reader(environ)
    raw: Any = getattr(reader, "raw", None)
    if not hasattr(raw, "_sock"):
        return b""  # somebody has put a body of his own there
    socket, raw._sock = raw._sock, _Ended()
    early: bytes = reader.read1()
    raw._sock = socket
    reader.close()
    return early


def _find_unreader(environ: Environ) -> Any:
    """Return what gunicorn's own parser reads from; None on another server."""
    reader = getattr(environ.get("wsgi.input"), "reader", None)
    return getattr(getattr(reader, "req", reader), "unreader", None)  # a chunked body's reader has it in its request


def _take_unread(unreader: Any) -> bytes:
    """Take the bytes that gunicorn has read and not parsed."""
    if hasattr(unreader, "take_buffered"):
        return bytes(unreader.take_buffered())
    data: bytes = unreader.buf.getvalue()
    unreader.buf.seek(0)
    unreader.buf.truncate()
    return data


class Detached:
    """A socket without a loop and without a server: whoever has it closes it. It never blocks."""

    __slots__ = ("_sock", "_sslobj")

    def __init__(self, sock: Any, sslobj: Any = None) -> None:
        self._sock = sock  # the C library's
        self._sslobj = sslobj  # OpenSSL's, which needs that very socket

    def fileno(self) -> int:
        """Return the descriptor, -1 once it is closed."""
        descriptor: int = self._sock.fileno()
        return descriptor

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._sock.close()


def detach(environ: Environ, socket: Any) -> Detached | None:
    """Take a connection's socket away from its server, which takes the connection for ended when its application
    returns.

    Args:
        environ: that of the request.
        socket: the gevent socket that `take_over` gave. It is closed then, but the connection is not.

    Returns:
        the same connection's bare socket; None where the server would go on to read from it, so that its application
        must not return before the end.
    """
    unreader = _find_unreader(environ)
    if unreader is not None:
        unreader.sock = _Ended()
    elif "gunicorn.socket" in environ:
        return None
    return detach_socket(socket)


def detach_socket(socket: Any) -> Detached:
    """Take the C library's socket, and OpenSSL's if there is one, out of a gevent socket, which is closed with that."""
    detached = Detached(socket._sock, getattr(socket, "_sslobj", None))
    socket._detach_socket("detached")  # and not detach(), which would leave OpenSSL without its socket
    socket.close()
    return detached


class _Ended:
    """What a server reads from in place of a socket that was taken away: nothing."""

    def recv_into(self, _buffer: memoryview) -> int:
        """Return that there is nothing more."""
        return 0

    def recv(self, _size: int) -> bytes:
        """Return that there is nothing more."""
        return b""


def refuse(environ: Environ, start_response: StartResponse, error: HandshakeError) -> list[bytes]:
    """Answer with an HTTP status, and see to it that nothing behind the request is taken for another one."""
    body = f"{error}\n".encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
        *error.headers,
    ]
    return answer(environ, start_response, f"{error.status} {REASONS.get(error.status, 'Refused')}", headers, body)


def answer(
    environ: Environ, start_response: StartResponse, status: str, headers: list[tuple[str, str]], body: bytes
) -> list[bytes]:
    """Answer a request in plain HTTP, and end the connection if there is a body that nobody reads."""
    write = start_response(status, headers)
    if environ.get("CONTENT_LENGTH", "") in ("", "0") and "HTTP_TRANSFER_ENCODING" not in environ:
        return [body]
    write(body)  # at once: middleware may take the result for itself, and never close it
    _end_behind_answer(environ)
    return []


def _end_behind_answer(environ: Environ) -> None:
    """End a connection on which there is a body that nobody will read, and give the client a moment for the answer.

    pywsgi would wait for the body, or take the rest of it for a request.
    """
    try:
        socket = find_socket(environ)
        unreader = _find_unreader(environ)
        if unreader is not None:
            _take_unread(unreader)  # gunicorn would go on with the next request in it
        socket.shutdown(gsocket.SHUT_WR)
        with gevent.Timeout(LINGER, False):
            while socket.recv(16384):
                pass
        socket.shutdown(gsocket.SHUT_RD)
    except (NoSocket, OSError):
        pass  # there is none, or it has gone
