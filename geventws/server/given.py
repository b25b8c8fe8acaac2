"""What connections need of their `WebSocketServer`, and the socket of a connection that outlives its request."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from socket import SHUT_RDWR
from typing import Any, Protocol

import gevent

from ..hosts.sockets import Detached


class Server(Protocol):
    """What connections need of their server, a `WebSocketServer`. Attributes without a comment are pywsgi's."""

    application: Any
    ssl_args: Any
    head_timeout: float  # these are its options
    keepalive_timeout: float
    handshake_timeout: float
    max_head_size: int
    body_timeout: float
    min_body_rate: float
    silent: bool  # whether there is no access log
    draining: bool  # whether it is about to stop
    close_code: int  # for WebSockets when it stops

    @property
    def ssl_enabled(self) -> Any: ...

    def wrap_socket(self, sock: Any, **options: Any) -> Any: ...

    def get_environ(self) -> dict[str, Any]: ...

    def count(self, connection: Any) -> None:
        """Count a connection, and end it when the server stops: see draining.py."""

    def forget(self, connection: Any) -> None:
        """Stop counting a connection, which has ended."""


class GivenSocket:
    """The socket of a connection that outlives its request. The server drains the connection through this object.

    Args:
        detached: the socket.
        server: the connection's.
        on_drain: called with a close code when the server stops; None calls nothing.
    """

    __slots__ = ("_busy", "_on_drain", "_server", "_sock", "_sslobj")

    greenlet: Any = None  # no greenlet serves only this connection
    lasting: bool = True

    def __init__(self, detached: Detached, server: Server, on_drain: Callable[[int], object] | None) -> None:
        self._sock = detached._sock  # the C library's
        self._sslobj = detached._sslobj  # OpenSSL's, which needs that very socket
        self._server = server  # counts this until the socket is closed and no callback is left to run
        self._busy = True  # whether callbacks may still run for the connection
        self._on_drain = on_drain  # until the socket is closed
        server.count(self)
        if server.draining:
            gevent.get_hub().loop.run_callback(self.drain, server.close_code)  # when it is open

    def fileno(self) -> int:
        """Return the descriptor, -1 once it is closed."""
        descriptor: int = self._sock.fileno()
        return descriptor

    def drain(self, code: int, patient: bool = False) -> None:
        """End the connection politely. Does not block."""
        if self._on_drain is not None:
            self._on_drain(code)

    def abort(self) -> None:
        """End the connection at once. Does not block."""
        with contextlib.suppress(OSError):  # the peer has gone
            self._sock.shutdown(SHUT_RDWR)

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._sock.close()
        self._on_drain = None  # it refers to the connection, and so to this
        self._forget_if_over()

    def leave(self) -> None:
        """Note that no callback will run for the connection any more. Idempotent."""
        self._busy = False
        self._forget_if_over()

    def _forget_if_over(self) -> None:
        if not self._busy and self.fileno() < 0:
            self._server.forget(self)
