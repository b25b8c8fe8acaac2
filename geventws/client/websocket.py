"""ClientWebSocket: what `connect` returns. Unlike on a server, nobody else closes its connection.

Its socket is closed when the connection has ended, however it ends. The connection also ends when the last reference to
the object is gone: the loop holds the connection, which holds the greenlets that wait in it, but nothing holds this
object.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

from ..streaming import StreamingWebSocket
from ..websocket import WebSocket, get_connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.connection import Connection
    from ..http.headers import HeaderList

__all__ = ["ClientStreamingWebSocket", "ClientWebSocket"]


class ClientWebSocket(WebSocket):
    """The `WebSocket` of a client; its socket is closed with it. If it is garbage-collected while it is open, it is
    closed with a ResourceWarning.

    Args:
        connection: the engine, which owns its socket.
        path: the path of the URI.
        response_headers: the headers of the server's 101, as pairs.

    Attributes:
        response_headers: the headers of the server's 101, as pairs.
    """

    # No __slots__: with them, no class could derive from this and from StreamingWebSocket.

    def __init__(self, connection: Connection, path: str, response_headers: HeaderList) -> None:
        super().__init__(connection)
        self._path = path
        self.response_headers = response_headers

    @property
    def path(self) -> str:
        """The path of the URI."""
        return self._path

    @property
    def on_control(self) -> Callable[[int, bytes], object] | None:
        """Called with the opcode and payload of each ping and pong that is received; None, the default, calls nothing.

        It may be set. It is called in the hub, or in a greenlet that waits for messages, and must not block: gevent's
        calls that would block raise.
        """
        return get_connection(self).keepalive.on_control

    @on_control.setter
    def on_control(self, function: Callable[[int, bytes], object] | None) -> None:
        get_connection(self).keepalive.on_control = function

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection (RFC 6455 7.1.2), and its socket.

        Blocks until the server has answered, for `close_timeout` at most, and has hung up, for another second at most.
        Everything else is as for `WebSocket.close`.
        """
        super().close(code, reason)
        get_connection(self).closing.wait_closed()

    def __del__(self) -> None:
        """Close a connection that nobody can reach any more. This may run in any thread: the loop acts in its own."""
        try:
            connection = get_connection(self)
        except AttributeError:
            return  # __init__ has failed
        if connection.stream.closed or sys.is_finalizing():
            return
        if not self.closed:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, stacklevel=2, source=self)
        try:
            connection.stream.poller.loop.run_callback_threadsafe(abandon, connection)
        except ValueError:
            connection.owned_socket._sock.close()  # the loop has been destroyed, and gevent's own close needs it


class ClientStreamingWebSocket(ClientWebSocket, StreamingWebSocket):
    """A `ClientWebSocket` that receives messages piece by piece."""


def abandon(connection: Connection) -> None:
    """End a connection that nobody can reach any more. To be called in the hub."""
    connection.closing.abort("it was not closed")
