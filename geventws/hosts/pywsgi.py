"""gevent.pywsgi as a host: its own server, `gunicorn -k gevent_pywsgi`, and others that derive from its handler.

Everything here was observed:

* The 101 goes through `start_response` and `write`, so the server's access log has the true status, and no error page
  can get into the stream afterwards. Middleware may hold back what `write` receives until the application returns: then
  the handler itself writes it, and the middleware's own answer at the end is dropped.
* Frames that the client sent right after its handshake wait in the handler's reader, not in the socket.
* pywsgi ends a connection whose reader is closed when the application returns; that also frees the reader's buffer.
"""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING, Any, ClassVar

from gevent import pywsgi
from gevent.pywsgi import Input, WSGIHandler

from ..http.request import share
from .host import EMPTY_INPUT, Host, read_target
from .sockets import Detached, Ended, Joined, detach_socket, drop_watchers

if TYPE_CHECKING:
    from ..handshake.origins import Environ
    from .host import Headers, StartResponse

_NO_LOG = getattr(pywsgi, "_NoopLog", ())  # pywsgi's log for log=None

_share_names = functools.lru_cache(maxsize=64)(tuple)  # the keys of environs: most have the same ones

_CLOSED = io.BytesIO()
_CLOSED.close()


class PyWSGIHost(Host):
    """A request on pywsgi.

    Args:
        environ: the request's.
        handler: pywsgi's.
    """

    frames: ClassVar[dict[str, str]] = {
        "run_application": "self",
        "process_result": "self",
        "handle_one_response": "self",
    }

    def __init__(self, environ: Environ, handler: Any) -> None:
        self._environ = environ
        self._handler = handler

    @staticmethod
    def recognises(thing: Any) -> bool:
        """Return whether something is a handler of pywsgi's."""
        return isinstance(thing, WSGIHandler)

    @property
    def socket(self) -> Any:
        """The gevent socket."""
        return self._handler.socket

    @property
    def target(self) -> str | None:
        """The request's target as it came in; a worker of gunicorn's has it only in the environ."""
        return read_target(self._environ) or self._handler.path

    @property
    def body(self) -> Input:
        """The request's body. Afterwards pywsgi skips what was not read of it."""
        return self._handler.wsgi_input

    def send(self, start_response: StartResponse, status: str, headers: Headers, body: bytes = b"") -> None:
        """Send an answer now."""
        send_answer(self._handler, start_response, status, headers, body)

    def read(self, size: int) -> bytes:
        """Return `size` bytes that follow the head, or fewer if the stream ends. Blocks."""
        return self._handler.rfile.read(size)  # type: ignore[no-any-return]

    def switch(
        self, start_response: StartResponse, headers: Headers, status: str, tail: bytes = b""
    ) -> tuple[Any, bytes]:
        """Answer with 101; return the socket and the bytes that followed the request."""
        switch_protocols(self._handler, start_response, status, headers, tail)
        socket = self._handler.socket
        drop_watchers(socket)
        early = take_read_ahead(self._handler.rfile)
        if "gunicorn.sock" in self._environ:
            self._environ["wsgi.input"] = EMPTY_INPUT  # its log reads much of the rest
        else:
            _slim_down(self._environ, self._handler)
        return socket, early

    def detach(self, socket: Any) -> Detached:
        """Return the bare socket of a connection that outlives its request; `switch` returned the gevent socket."""
        return detach_socket(socket)

    def save_room(self, endpoint: Any) -> PackedEnviron | None:
        """Save memory that the handler holds: see `pack_environ`."""
        return pack_environ(self._environ, self._handler, endpoint)


def switch_protocols(
    handler: Any, start_response: StartResponse, status: str, headers: list[tuple[str, str]], tail: bytes
) -> None:
    """Send a 101, and the tail in the same write. It does not go through WSGI, where middleware could change it."""
    if tail:
        handler._sendall = Joined(handler._sendall, tail).sendall
    try:
        send_answer(handler, start_response, status, headers, b"")
    finally:
        if tail:
            del handler._sendall


def send_answer(
    handler: Any, start_response: StartResponse, status: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    """Send an answer through `start_response`, so that middleware may add to it; past middleware that holds it back."""
    write = start_response(status, headers)
    if status.startswith("101 "):
        handler.provided_date = ""  # a 101 needs none (RFC 9110 6.6.1)
    if write is not None:
        write(body)
    if not handler.headers_sent:
        _send_past_middleware(handler, status, headers, body)
    handler.write = _drop  # drops what middleware adds: the socket will be closed by then


def _send_past_middleware(handler: Any, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
    if not (handler.status or b"").startswith(status[:4].encode()):
        handler.start_response(status, headers)
        handler.provided_date = "" if handler.code == 101 else handler.provided_date
    handler.write(body)
    handler.headers_sent = False  # or a framework that reports an error, with exc_info, would have it raised once more
    handler.log_request = functools.partial(_log_as_sent, handler, status)


def _drop(_data: bytes) -> None:
    """Replace `write`, once the answer was sent: the connection ends with it."""


def _log_as_sent(handler: Any, status: str) -> None:
    """Replace `log_request`: the access log gets the status that was sent, whatever middleware answers later."""
    del handler.log_request
    handler.status, handler._orig_status = status.encode("latin-1"), status
    handler.log_request()


def find_reader(environ: Environ) -> Any:
    """Return pywsgi's buffered reader. It is inside of the Input, if pywsgi saw no upgrade in the request."""
    reader = environ.get("wsgi.input")
    return getattr(reader, "rfile", reader)


def take_read_ahead(reader: Any) -> bytes:
    """Take the bytes that the server has read after the request, and close its reader.

    The reader would also ask the socket, which nearly always costs an exception for nothing. So it gets an ended one.
    """
    raw: Any = getattr(reader, "raw", None)
    if not hasattr(raw, "_sock"):
        return b""  # somebody has put a body of his own there
    socket, raw._sock = raw._sock, Ended()
    early: bytes = reader.read1()
    raw._sock = socket
    reader.close()
    return early


def _slim_down(environ: Environ, handler: Any) -> None:
    """Have pywsgi drop what nobody reads again, 4 KB as long as the connection lasts, and log lines that go nowhere."""
    try:
        del handler.headers  # the parsed request
    except AttributeError:
        pass  # another kind of handler has none
    handler.response_headers = None
    if isinstance(handler.server.log, _NO_LOG) and _logs_without_environ(handler):
        handler.log_request = _log_nothing  # pywsgi's formats the line first
    handler.requestline, handler.command = share(handler.requestline), share(handler.command)
    handler.request_version = share(handler.request_version)
    handler.rfile = _CLOSED
    shared = {share(name): share(value) if type(value) is str else value for name, value in environ.items()}
    environ.clear()  # values that many requests have are then in memory once
    environ.update(shared)
    environ["wsgi.input"] = handler.wsgi_input = EMPTY_INPUT


def _log_nothing() -> None:
    """Replace `log_request`."""


class PackedEnviron:
    """An environ as its values only: all environs with the same keys share these.

    Args:
        environ: the request's.
        handler: the request's handler, which gives it up.
    """

    __slots__ = ("_handler", "_names", "_values")

    def __init__(self, environ: Environ, handler: Any) -> None:
        self._handler = handler
        self._names = _share_names(tuple(environ))
        self._values = tuple(environ.values())

    def unpack(self) -> Environ:
        """Return the environ, whole."""
        return dict(zip(self._names, self._values, strict=True))

    def give_back(self, environ: Environ) -> None:
        """Give the environ back to the handler, which may report an error of the request."""
        self._handler.environ = environ


def pack_environ(environ: Environ, handler: Any, endpoint: Any) -> PackedEnviron | None:
    """Save 1.2 KB for each connection, if pywsgi calls `endpoint` itself, with no other application in between.

    Then the first connection makes `server.application` the endpoint's bound `__call__`: calling an object takes more
    of the C stack, as long as the connection lasts. From the next connection on, the handler gets the environ that all
    requests of its server begin with.

    Returns:
        The environ, which nobody else refers to; None if the handler keeps it.
    """
    if environ is not handler.environ or not _logs_without_environ(handler):
        return None
    server = handler.server
    if server.application is endpoint:
        server.application = endpoint.__call__
    elif server.application == endpoint.__call__:
        handler.environ = server.environ
        return PackedEnviron(environ, handler)
    return None


def _logs_without_environ(handler: Any) -> bool:
    """Whether a server's handler is one of pywsgi's that does not read the environ for its log lines."""
    kind, own = type(handler), WSGIHandler
    if not isinstance(handler, own):
        return False
    as_pywsgi = kind.log_request is own.log_request and kind.format_request is own.format_request
    return as_pywsgi or getattr(kind, "logs_without_environ", False)
