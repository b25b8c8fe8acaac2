"""One HTTP connection of `WebSocketServer`: reads heads under deadlines, and leaves the rest to gevent.pywsgi.

What is pywsgi's here is the answering: `handle_one_response`, `start_response`, `write`, the body's `Input`, the
errors. What is our own is the way to it. A head is received into plain bytes, bounded in time and in size; a plain
one becomes an environ at once (see http_head.py), any other goes through pywsgi's own `read_request` and
`get_environ`. A buffered reader over the socket is made only for a request that has a body or asks for an upgrade.

An application that answers 101 has the connection for itself: nothing is read from it as HTTP again, and nothing of
the request but its environ stays in memory once the socket was taken with `RequestHandler.take`.
"""

from __future__ import annotations

import errno
import io
import ssl
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from http.client import HTTPException
from socket import SHUT_RD, SHUT_WR
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import gevent
from gevent.pywsgi import Input, WSGIHandler
from gevent.socket import socket as Socket

from . import http_head

if TYPE_CHECKING:
    from .server import WebSocketServer

CHUNK = 8192
LINGER = 1.0
"""Seconds for which a refused peer may go on sending, so that it gets to read the refusal."""

_NOTHING = Input(io.BytesIO(), None)


class Refusal(Exception):
    """The request is answered with an error by the server itself, and the connection ends."""

    def __init__(self, status: str, body: str = "") -> None:
        super().__init__(status)
        head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-length: {len(body)}\r\n\r\n"
        self.result = (status.partition(" ")[0], (head + body).encode("latin-1"))


class Receiver(io.RawIOBase):
    """The rest of a connection as a raw file: first what was received with the head, then the socket."""

    def __init__(self, sock: Any, received: bytes) -> None:
        self._sock = sock
        self._received = received
        self._paused = False
        self.ended = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Receive into a buffer; None where reading is over."""
        if self._received:
            count = min(len(buffer), len(self._received))
            buffer[:count] = self._received[:count]
            self._received = self._received[count:]
            return count
        if self._paused:
            return None
        count = self._sock.recv_into(buffer)
        self.ended = not count
        return count

    def unread(self, reader: io.BufferedReader) -> bytes:
        """Return what the reader over this file holds, and what is left here; both end with that."""
        rest, self._received, self._paused = self._received, b"", True
        return reader.peek() + rest


class RequestHandler(WSGIHandler):  # type: ignore[misc]
    """Handles the requests of one connection, one after the other.

    For a request with an Upgrade field, `environ["geventws.upgrade"]` is this object: an application calls `take`
    for the socket and `on_drain` to hear of the server's end. It should take the key out of the environ, or the two
    keep each other alive until the garbage collector finds them.
    """

    ignored_socket_errors = (*WSGIHandler.ignored_socket_errors, errno.ESHUTDOWN, errno.ENOTCONN, errno.ECONNABORTED)

    server: WebSocketServer
    rfile: Any = None
    greenlet: Any = None  # the one that runs `handle`
    idle = False  # waits for a head or for a TLS handshake: nothing is lost when it is cut off
    surplus = False  # accepted over the limit: to be refused
    taken = False  # an application has taken the socket
    _received = b""  # what was received behind the last head
    _plain_environ: dict[str, Any] | None = None
    _switching: bytes | None = None  # the head of a 101, until it is sent
    _on_drain: Callable[[], object] | None = None

    def __init__(self, sock: Any, address: Any, server: WebSocketServer) -> None:
        # not pywsgi's, which makes a reader that most connections never need
        self.socket = sock
        self.client_address = address
        self.server = server

    # The connection

    def handle(self) -> None:
        """Serve the connection until it ends, then close it. Blocks; raises nothing for a peer that left."""
        self.greenlet = gevent.getcurrent()
        try:
            self.idle = True
            timeout = self.server.head_timeout
            if self.server.ssl_enabled:
                self._start_tls()
            while True:
                result = self.handle_one_request(timeout)
                if result is not True:
                    break
                timeout = self.server.keepalive_timeout
            if result is not None:
                self._refuse(*result)
        except OSError:
            pass  # the peer left, or was too slow
        finally:
            self.server.forget(self)
            self._close()

    def _start_tls(self) -> None:
        options = dict(self.server.ssl_args)
        handshake = options.pop("do_handshake_on_connect", True)
        self.socket = self.server.wrap_socket(self.socket, do_handshake_on_connect=False, **options)
        if handshake:
            with gevent.Timeout(self.server.handshake_timeout, TimeoutError("TLS handshake")):
                self.socket.do_handshake()

    def _refuse(self, status: str, response: bytes) -> None:
        """Send a refusal, log it, and let the peer read it: a close with unread input would destroy it on its way."""
        self.status = status
        self.socket.settimeout(LINGER)
        try:
            self.socket.sendall(response)
            self.response_length = len(response)
        finally:
            self.time_finish = time.time()
            self.log_request()
        Socket.shutdown(self.socket, SHUT_WR)
        with gevent.Timeout(LINGER, False):
            while self.socket._sock.recv(CHUNK) or self.socket.recv(CHUNK):
                pass

    def _close(self) -> None:
        sock, self.socket = self.socket, None
        if not self.taken:
            try:
                sock._sock.recv(2 * CHUNK)  # a close with unread input resets the connection
            except OSError:
                pass
        try:
            sock.close()
        except OSError:
            pass
        self.rfile = self.wsgi_input = self.environ = None

    def drain(self) -> None:
        """End the connection soon: at once where no request is under way, and politely otherwise. Does not block."""
        self.close_connection = True
        if self._on_drain is not None:
            gevent.spawn(self._on_drain)
        elif self.idle:
            try:
                Socket.shutdown(self.socket, SHUT_RD)
            except OSError:
                pass

    # The seam for WebSockets

    def take(self) -> tuple[Any, bytes]:
        """Hand out the connection: the gevent socket, and the bytes received behind the head.

        From here on the application alone reads and writes; it may close the socket, and the server does so when the
        application returns. `environ["wsgi.input"]` is empty from now on. To be called once, before or after the 101.
        """
        received = self._unread()
        self.taken = True
        self.environ["wsgi.input"] = self.wsgi_input = _NOTHING
        return self.socket, received

    def on_drain(self, callback: Callable[[], object]) -> None:
        """Have a function called in a greenlet of its own when the server is about to stop: it may block."""
        self._on_drain = callback
        if self.server.draining:
            gevent.spawn(callback)

    # Receiving

    def _receive_head(self, timeout: float) -> bytes:
        """Return the next head, or nothing when the peer is done; the time runs anew with its first byte."""
        data = self._received
        if not data:
            self.socket.settimeout(timeout)
            try:
                data = self.socket.recv(CHUNK)
            except OSError:
                return b""
        self.time_start = time.time()
        end = http_head.find_end(data)
        if end < 0 or end > CHUNK:
            data, end = self._receive_rest(data)
        self._received = data[end:]
        return data[:end]

    def _receive_rest(self, data: bytes) -> tuple[bytes, int]:
        """Receive until a head is whole, within the limits of size and time."""
        deadline = time.monotonic() + self.server.head_timeout
        buffer = bytearray(data)
        end = http_head.find_end(buffer)
        searched = len(buffer)
        while end < 0:
            self._check_size(buffer)
            try:
                self.socket.settimeout(max(0.001, deadline - time.monotonic()))
                received = self.socket.recv(CHUNK)
            except TimeoutError:
                raise self._refusal(buffer, "408 Request Timeout") from None
            if not received:
                return b"", 0
            buffer += received
            end = http_head.find_end(buffer, searched)
            searched = len(buffer)
        self._check_size(buffer[:end])
        return bytes(buffer), end

    def _check_size(self, head: bytearray) -> None:
        if b"\n" not in head[: http_head.MAX_REQUEST_LINE - 1] and len(head) >= http_head.MAX_REQUEST_LINE:
            raise self._refusal(head, "414 Request URI Too Long")
        if len(head) > self.server.max_head_size:
            raise self._refusal(head, "431 Request Header Fields Too Large")

    def _refusal(self, head: bytes | bytearray, status: str) -> Refusal:
        self.requestline = head[: http_head.MAX_REQUEST_LINE].split(b"\n", 1)[0].decode("latin-1").rstrip()
        return Refusal(status)

    def _unread(self) -> bytes:
        """Take back what the reader of a body, if there was one, has received too much."""
        reader, self.rfile = self.rfile, None
        if reader is not None:
            self._received = reader.raw.unread(reader)
        received, self._received = self._received, b""
        return received

    # One request

    def handle_one_request(self, timeout: float | None = None) -> Any:
        """Receive a request and answer it: True when another one may follow (see pywsgi for the other results)."""
        self._orig_status = self.status = None
        self.response_length = self.time_finish = 0
        self.idle = True
        try:
            head = self._receive_head(timeout or self.server.keepalive_timeout)
            if not head:
                return None
            self.idle = False
            self._read_head(head)
        except Refusal as refusal:
            return refusal.result
        except (ValueError, HTTPException) as error:
            return self._handle_client_error(error if isinstance(error, ValueError) else ValueError(*error.args))
        self.environ = self.get_environ()
        if "HTTP_UPGRADE" in self.environ:
            self.environ["geventws.upgrade"] = self
        self.close_connection = self.close_connection or self.server.draining
        self.application = self.server.application
        self.handle_one_response()
        if self.close_connection or self.taken or (self.rfile is not None and self.rfile.closed):
            return None
        self._received = self._unread()
        return True

    def _read_head(self, head: bytes) -> None:
        if head.find(b"\n") >= http_head.MAX_REQUEST_LINE - 1:
            raise self._refusal(head, "414 Request URI Too Long")
        if self.surplus:
            raise self._refusal(head, "503 Service Unavailable")
        self.socket.settimeout(None)
        environ = self.server.get_environ()
        plain = http_head.parse(head, environ)
        if plain is None:
            self._read_odd(head)
        else:
            self._read_plain(environ, *plain)

    def _read_plain(self, environ: dict[str, Any], method: str, target: str, version: str) -> None:
        """Complete the environ of a plain head: the same as pywsgi's `read_request` and `get_environ` make."""
        self.requestline = f"{method} {target} {version}"
        self.command, self.path, self.request_version = method, target, version
        connection = environ.get("HTTP_CONNECTION", "").lower()
        self.close_connection = connection == "close" if version == "HTTP/1.1" else connection != "keep-alive"
        path, _, environ["QUERY_STRING"] = target.partition("?")
        environ["PATH_INFO"] = unquote(path, "latin-1") if "%" in path else path
        environ["SCRIPT_NAME"] = ""
        environ["REQUEST_METHOD"] = method
        environ["SERVER_PROTOCOL"] = version
        if isinstance(self.client_address, tuple):
            environ["REMOTE_ADDR"] = str(self.client_address[0])
            environ["REMOTE_PORT"] = str(self.client_address[1])
        self.content_length = length = int(environ["CONTENT_LENGTH"]) if "CONTENT_LENGTH" in environ else None
        if length and method == "HEAD":
            raise ValueError("Unexpected Content-Length")
        upgrade = environ.get("HTTP_UPGRADE")
        if length or upgrade is not None or connection == "upgrade":
            self.rfile = io.BufferedReader(Receiver(self.socket, self._received))
            self._received = b""
        self.wsgi_input = Input(self.rfile or _NOTHING.rfile, length)
        raw = connection == "upgrade" or (upgrade is not None and upgrade.lower() == "websocket")
        environ["wsgi.input"] = self.rfile if raw else self.wsgi_input
        environ["wsgi.input_terminated"] = not raw
        self._plain_environ = environ

    def _read_odd(self, head: bytes) -> None:
        """Read any other head as pywsgi does, and refuse what could be read otherwise elsewhere."""
        self.rfile = file = io.BytesIO(head)
        self.requestline = self.read_requestline()
        self.read_request(self.requestline)
        http_head.check_framing(head, self.headers.items(), self.request_version)
        file.close()
        self.rfile = io.BufferedReader(Receiver(self.socket, self._received))
        self._received = b""

    def get_environ(self) -> dict[str, Any]:
        """Return the environ of the request whose head was read."""
        environ, self._plain_environ = self._plain_environ, None
        if environ is None:
            environ = super().get_environ()
            del self.headers  # pywsgi's own, the largest part of an idle connection
        return environ

    # Answering

    def start_response(
        self, status: str, headers: Iterable[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """As in PEP 3333; a 101 is written as it is given, in one piece and without a Date."""
        if exc_info is not None or self.headers_sent or not status.startswith("101 "):
            write: Callable[[bytes], None] = super().start_response(status, headers, exc_info)
            return write
        lines = ["HTTP/1.1 " + status]
        lines += [name + ": " + value for name, value in headers]
        text = "\r\n".join(lines)
        if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
            raise ValueError("carriage return or newline in a response header", text)
        self._switching = text.encode("latin-1") + b"\r\n\r\n"
        self._orig_status, self.status, self.code = status, status.encode("latin-1"), 101
        self.response_headers = []
        self.close_connection = True
        return self.write

    def _write_with_headers(self, data: bytes) -> None:
        if self._switching is None:
            super()._write_with_headers(data)
            return
        head, self._switching = self._switching, None
        self.headers_sent = self.connection_upgraded = True
        self._sendall(head + data)

    def finalize_headers(self) -> None:
        """As pywsgi's; also tells the client when the connection ends because the server does."""
        super().finalize_headers()
        if self.server.draining and self.request_version == "HTTP/1.1":
            self.response_headers.append((b"Connection", b"close"))

    def handle_error(self, t: Any, v: Any, tb: Any) -> None:
        """Answer 500 with a traceback in the log, but for a peer that left in the middle of something."""
        ended = self.rfile is not None and not self.rfile.closed and self.rfile.raw.ended
        if issubclass(t, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) or (ended and issubclass(t, OSError)):
            self._send_error_response_if_possible(400)
            self.close_connection = True
        else:
            super().handle_error(t, v, tb)

    def format_request(self) -> str:
        """Return the access log's line: pywsgi's, with what is not printable escaped."""
        address = self.client_address[0] if isinstance(self.client_address, tuple) else self.client_address
        line = self.requestline or ""
        if not line.isprintable():
            line = line.encode("unicode_escape").decode("ascii")
        status = (self._orig_status or self.status or "000").split()[0]
        elapsed = f"{self.time_finish - self.time_start:.6f}" if self.time_finish else "-"
        length = self.response_length or "-"
        return f'{address or "-"} - - [{_log_time(int(self.time_finish))}] "{line}" {status} {length} {elapsed}'


@lru_cache(maxsize=1)
def _log_time(second: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
