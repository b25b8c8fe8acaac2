"""What the connections of `WebSocketServer` need of it, and the socket of one that outlives its request."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from socket import SHUT_RDWR
from typing import Any, Protocol

import gevent

from ..hosts.sockets import Detached


class Server(Protocol):
    """What connections need of their server, which is a `WebSocketServer`; those without a comment are pywsgi's."""

    application: Any
    ssl_args: Any
    head_timeout: float  # these are its options
    keepalive_timeout: float
    handshake_timeout: float
    max_head_size: int
    body_timeout: float
    min_body_rate: float
    silent: bool  # there is no access log
    draining: bool  # it is about to stop

    @property
    def ssl_enabled(self) -> Any: ...

    def wrap_socket(self, sock: Any, **options: Any) -> Any: ...

    def get_environ(self) -> dict[str, Any]: ...

    def count(self, connection: Any) -> None:
        """Count a connection, drain it when the server stops, and abort it when that takes too long."""

    def forget(self, connection: Any) -> None:
        """Count a connection no more."""


class GivenSocket(Detached):
    """The socket of a connection that outlives its request, and what the server knows of that connection.

    Attributes:
        greenlet: the one that drains the connection.
    """

    __slots__ = ("_on_drain", "_server", "greenlet")

    def __init__(self, detached: Detached, server: Server, on_drain: Callable[[], object] | None) -> None:
        super().__init__(detached._sock, detached._sslobj)
        self._server = server
        self._on_drain = on_drain
        self.greenlet: Any = None
        server.count(self)
        if server.draining:
            self.drain()

    def drain(self) -> None:
        """End the connection politely. Does not block."""
        self.greenlet = gevent.spawn(self._drain)

    def _drain(self) -> None:
        if self._on_drain is not None:
            self._on_drain()

    def abort(self) -> None:
        """End the connection at once. Does not block."""
        with contextlib.suppress(OSError):  # it has gone
            self._sock.shutdown(SHUT_RDWR)
        if self.greenlet is not None:
            gevent.kill(self.greenlet)

    def close(self) -> None:
        """Close the socket. Idempotent."""
        super().close()
        self._on_drain = None  # which has a hold of the connection, and so of this
        self._server.forget(self)
