"""One HTTP connection of `WebSocketServer`: the way from a head to the WSGI call. gevent.pywsgi does the rest.

`handle_one_response`, `start_response`, `write`, the `Input` of a body, the answers to errors and the log are pywsgi's.
The way there is ours: http_stream.py receives the head, a plain head becomes an environ at once (see http/request.py),
and any other goes through pywsgi's own `read_request` and `get_environ`.

An application that answers 101 gets the connection for itself: the server reads no HTTP from it any more, and once the
application has taken the socket, only the environ of the request stays in memory.
"""

from __future__ import annotations

import errno
import ssl
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from http.client import HTTPException
from socket import SHUT_RDWR
from types import MethodType
from typing import Any

import gevent
from gevent.pywsgi import WSGIHandler

from ..hosts.own import SEAM
from ..hosts.sockets import PEER_CERTIFICATE, Detached, detach_socket
from ..http import request as http_head
from ..text import between_quotes, one_line, quoted
from .given import GivenSocket, Server
from .heads import add_input, receive_head
from .http_body import NO_BODY, BodyError
from .http_stream import HeadError, HTTPStream, RawSocket

_BODY_FAILED = [("Content-Type", "text/plain"), ("Connection", "close"), ("Content-Length", "0")]  # as pywsgi's 400

_PYWSGI_NAMES = (
    "client_address server time_start time_finish requestline command path request_version close_connection environ "
    "content_length wsgi_input application _orig_status status code result headers_sent response_headers "
    "response_length response_use_chunked connection_upgraded provided_date provided_content_length"
)

_OWN_NAMES = ("_on_drain", "_switching", "_taken", "greenlet", "idle", "plain_environ", "stream", "surplus")
"""Our own attributes, as slots: with them, a handler's dict would have too many keys to share, and take 1 KB."""


def share_keys(kind: type[RequestHandler]) -> None:
    """Have the dicts of a class's instances share their keys. CPython takes the keys from the first instance."""
    first = kind.__new__(kind)
    for name in _PYWSGI_NAMES.split():
        setattr(first, name, None)


class RequestHandler(WSGIHandler):  # type: ignore[misc]
    """Handles the requests of one connection, one after another.

    For a request with an Upgrade field, `environ["geventws.upgrade"]` is this object: an application calls `take` to
    get the connection, and `on_drain` to be called when the server stops. It should remove the key from the environ:
    otherwise the two keep each other alive until the garbage collector finds them.

    Attributes:
        stream: receives from the connection, and sends to it.
        surplus: whether the connection was accepted over the limit, and is to be refused.
        greenlet: the one that runs `handle`.
        idle: whether no request is under way, so that the connection can be cut off without a loss.
        plain_environ: the environ of a plain head, until the request has it.
    """

    __slots__ = _OWN_NAMES

    # pywsgi's attributes
    server: Server
    client_address: Any
    requestline: Any
    command: Any
    path: Any
    request_version: Any
    headers: Any
    rfile: Any
    content_length: Any
    close_connection: bool
    environ: Any
    wsgi_input: Any
    application: Any
    status: Any
    _orig_status: Any
    code: Any
    provided_content_length: Any  # how much is left of it, while an answer is written
    response_headers: list[tuple[bytes, bytes]]
    response_length: int
    time_start: float
    time_finish: float

    logs_without_environ: bool = True  # see hosts/pywsgi.py
    ignored_socket_errors: tuple[int, ...] = (
        *WSGIHandler.ignored_socket_errors,
        errno.ESHUTDOWN,
        errno.ENOTCONN,
        errno.ECONNABORTED,
    )

    def __init__(self, sock: RawSocket, address: Any, server: Server) -> None:
        # pywsgi's __init__ is not called: it makes a reader that most connections never need
        self.stream: HTTPStream = HTTPStream(sock, server.max_head_size)
        self.client_address = address  # pywsgi's name
        self.server = server  # likewise
        self.surplus: bool = False
        self.greenlet: Any = None
        self.idle: bool = True
        self._taken = False  # whether an application has the connection for itself
        self._on_drain: Callable[[int], object] | None = None  # called when the server stops
        self.plain_environ: dict[str, Any] | None = None
        self._switching: bytes | None = None  # the head of a 101, until it is sent

    @property
    def socket(self) -> Any:
        """The gevent socket, made at the first use; once the connection is taken, the socket that was handed out."""
        return self.stream.bare if self._taken else self.stream.socket

    def fileno(self) -> int:
        """Return the descriptor of the connection; -1 if it is closed, or was given away."""
        bare = self.stream.bare
        descriptor: int = -1 if bare is None else bare.fileno()
        return descriptor

    # The connection

    def handle(self) -> None:
        """Serve the connection until it ends, then close it. Blocks. Does not raise when the peer leaves."""
        server = self.server
        self.greenlet = gevent.getcurrent()
        try:
            if server.ssl_enabled:
                self.stream.start_tls(server.wrap_socket, server.ssl_args, server.handshake_timeout)
            result = self.handle_one_request(server.head_timeout)
            while result is True:
                result = self.handle_one_request()
            if result is not None:
                _refuse(self, *result)
        except OSError:
            pass
        finally:
            server.forget(self)
            self.stream.close(drop_input=not self._taken)
            self.greenlet = self.wsgi_input = self.environ = self._on_drain = None

    @property
    def lasting(self) -> bool:
        """Whether an application has taken the connection, and will be notified when the server stops."""
        return self._on_drain is not None

    def drain(self, code: int, patient: bool = False) -> None:
        """End the connection: at once if no request is under way, otherwise after its answer. Does not block."""
        self.close_connection = True
        if self._on_drain is not None:
            self._on_drain(code)
        elif self.idle and not (patient and self.requestline is None):
            self.stream.interrupt()

    def abort(self) -> None:
        """End the connection at once, and its greenlet. Does not block."""
        self.stream.interrupt(SHUT_RDWR)
        if self.greenlet is not None:
            gevent.kill(self.greenlet)

    # The seam for WebSockets

    def take(self) -> tuple[Any, bytes]:
        """Hand out the connection: its socket, and the bytes received after the head. To be called once.

        From now on only the application reads and writes, and `environ["wsgi.input"]` is empty. The server closes the
        socket when the application returns.

        Returns:
            A gevent socket with TLS, or if it was used before; otherwise a `RawSocket`, which has its `_sock`, `fileno`
            and `close`, never blocks, and has no watchers.
        """
        received = self.stream.unread()
        self._taken = True
        self.environ["wsgi.input"] = self.wsgi_input = NO_BODY
        return self.stream.bare, received

    def give_away(self) -> GivenSocket:
        """Let the connection, which was taken, live longer than its request. To be called once.

        The server counts it against `max_connections`, and drains it, until both `close` and `leave` were called.

        Returns:
            The socket. It never blocks, and the caller has to close it.
        """
        sock = self.stream.give_away()
        detached = Detached(sock) if isinstance(sock, RawSocket) else detach_socket(sock)
        given = GivenSocket(detached, self.server, self._on_drain)
        self.server.forget(self)
        return given

    def on_drain(self, callback: Callable[[int], object]) -> None:
        """Set a function to call with a close code when the server stops. It must not block, nor raise."""
        self._on_drain = callback
        if self.server.draining:
            gevent.get_hub().loop.run_callback(callback, self.server.close_code)  # later, when the connection is open

    # One request

    def handle_one_request(self, idle_timeout: float | None = None) -> Any:
        """Receive a request and answer it: True when another one may follow (see pywsgi for the other results)."""
        server = self.server
        self._orig_status = self.status = None
        self.response_length = self.time_finish = 0
        self.idle = True
        try:
            if not receive_head(self, idle_timeout or server.keepalive_timeout):
                return None
            self.environ = self.get_environ()
        except HeadError as error:
            self.requestline = error.request_line
            return error.status[:3], error.answer
        except (ValueError, HTTPException) as error:
            return self._handle_client_error(ValueError(one_line(str(error))))  # which logs it
        if "HTTP_UPGRADE" in self.environ:
            self.environ[SEAM] = self
        self.close_connection = self.close_connection or server.draining
        self.application = _as_method(server.application)
        self.handle_one_response()
        if self._taken or self.stream.ended:
            return None
        if not self.wsgi_input.whole:
            self.stream.linger()  # the rest of the body must not be taken for a request
            return None
        short = int(self.provided_content_length or 0) > 0  # or the next answer would be taken for the rest of this one
        return None if self.close_connection or short else True

    def get_environ(self) -> dict[str, Any]:
        """Return the environ of the request whose head was read."""
        environ, self.plain_environ = self.plain_environ, None
        if environ is None:
            environ = super().get_environ()
            add_input(self, environ)
            del self.headers, self.rfile  # pywsgi's own, the largest part of an idle connection
        if self.stream.tls is not None:
            environ[PEER_CERTIFICATE] = self.stream.tls.getpeercert
        return environ

    # Answering

    def start_response(
        self, status: str, headers: Iterable[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """As in PEP 3333. A 101 is written as it is given, in one piece and without a Date."""
        self._switching = None  # an earlier head was never sent: an error takes its place
        if exc_info is not None or self.headers_sent or not status.startswith("101 "):
            body = self.wsgi_input
            if body.error is not None and not self.headers_sent:
                body.replaced = True
                status, headers = body.error.status, list(_BODY_FAILED)
            write: Callable[[bytes], None] = super().start_response(status, headers, exc_info)
            return write
        lines = [name + ": " + value for name, value in headers]
        text = "\r\n".join(["HTTP/1.1 " + status, *lines])
        if not text.count("\n") == text.count("\r") == len(lines):
            raise ValueError("carriage return or newline in a response header", text)
        self._switching = text.encode("latin-1") + b"\r\n\r\n"
        self._orig_status, self.status, self.code = status, status.encode("latin-1"), 101
        self.response_headers = []
        self.close_connection = True
        self.wsgi_input.switch()
        return self.write  # type: ignore[no-any-return]

    def _write(self, data: bytes) -> None:
        """Write a part of an answer's body, up to its Content-Length; nothing in the answer to HEAD."""
        if self.wsgi_input.replaced or self.command == "HEAD":
            return
        if self.provided_content_length is not None:
            left = int(self.provided_content_length)
            if len(data) > left:
                self.log_error(f"the answer to {quoted(self.requestline)} is longer than its Content-Length")
                data = data[:left]
            self.provided_content_length = left - len(data)
        super()._write(data)

    def _write_with_headers(self, data: bytes) -> None:
        head, self._switching = self._switching, None
        if head is None:
            super()._write_with_headers(data)
        else:
            self.headers_sent = self.connection_upgraded = True
            self._sendall(head + data)

    def _sendall(self, data: bytes | bytearray) -> None:
        sent = self.stream.send_now(data)
        self.response_length += sent
        if sent < len(data):
            super()._sendall(memoryview(data)[sent:])

    def finalize_headers(self) -> None:
        """As pywsgi's; also adds Connection: close if the server stops, or if a body was never asked for."""
        super().finalize_headers()
        if self.command == "HEAD":
            self.response_use_chunked = False  # nothing follows the head (RFC 9110 9.3.2), no last chunk either
            self.provided_content_length = None  # and nothing is missing
        if self.wsgi_input.awaited:
            self.wsgi_input.unasked = self.close_connection = True
        if (self.server.draining or self.wsgi_input.awaited) and self.request_version == "HTTP/1.1":
            if (b"connection", b"close") not in [(name.lower(), value) for name, value in self.response_headers]:
                self.response_headers.append((b"Connection", b"close"))

    def handle_error(self, t: Any, v: Any, tb: Any) -> None:
        """Answer 500 and log a traceback, but not if the peer has left, or has sent a wrong body."""
        peers = (BodyError, ssl.SSLEOFError, ssl.SSLZeroReturnError, OSError if self.stream.ended else BodyError)
        if not issubclass(t, peers):
            super().handle_error(t, v, tb)
            return
        if t is BodyError:  # neither late nor lost
            self._handle_client_error(ValueError(str(v)))
        self.close_connection = True
        self._send_error_response_if_possible(400)

    def log_request(self) -> None:
        """Write a line of the access log, if there is one."""
        if not self.server.silent:
            super().log_request()

    def format_request(self) -> str:
        """Return pywsgi's line for the access log, with quotes and unprintable characters escaped."""
        host = self.client_address[0] if isinstance(self.client_address, tuple) else self.client_address
        line = between_quotes(self.requestline or "", http_head.MAX_REQUEST_LINE)
        status = (self._orig_status or self.status or "000").split()[0]
        took = f"{self.time_finish - self.time_start:.6f}" if self.time_finish else "-"
        at, size = _log_time(int(self.time_finish)), self.response_length or "-"
        return f'{host or "-"} - - [{at}] "{line}" {status} {size} {took}'


def _refuse(handler: RequestHandler, status: str, response: bytes) -> None:
    """Send a refusal as pywsgi does, and log it."""
    handler.status, handler.code = status, int(status)
    handler.socket.settimeout(handler.server.head_timeout)
    try:
        handler.stream.send_all(response)
        handler.response_length = len(response)
    finally:
        handler.time_finish = time.time()
        handler.log_request()
    handler.stream.linger()


def _as_method(application: Any) -> Any:
    """Return an object's bound `__call__`: calling the object itself takes 1 KB of C stack in each greenlet."""
    call = application.__call__
    return call if isinstance(call, MethodType) else application


@lru_cache(maxsize=1)
def _log_time(second: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
