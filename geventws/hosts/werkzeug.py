"""Werkzeug's development server as a host: `flask run`, each request in a native thread of its own.

The 101 goes through the server, which adds a `Connection: close` and logs it. Afterwards the server reads its socket to
find the request's end, so that has to stay open: we use a duplicate of the descriptor. TLS cannot be duplicated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from .host import Host, read_target
from .sockets import share_socket

if TYPE_CHECKING:
    from ..handshake.origins import Environ
    from .host import Headers, StartResponse


class WerkzeugHost(Host):
    """A request on Werkzeug's development server.

    Args:
        environ: the request's.
        socket: the server's, of the standard library.
    """

    key: ClassVar[str] = "werkzeug.socket"
    ends_thread: ClassVar[bool] = True

    def __init__(self, environ: Environ, socket: Any) -> None:
        self._environ = environ
        self._reader = environ["wsgi.input"]
        self._socket = socket

    @staticmethod
    def recognises(thing: Any) -> bool:
        """Return False: nothing of this server's is on the stack. Its socket is in the environ."""
        return False

    @property
    def socket(self) -> Any:
        """A gevent socket on the same connection."""
        return share_socket(self._socket)

    @property
    def target(self) -> str | None:
        """The request's target as it came in."""
        return read_target(self._environ)

    def send(self, start_response: StartResponse, status: str, headers: Headers, body: bytes = b"") -> None:
        """Send an answer now."""
        start_response(status, headers)(body)

    def read(self, size: int) -> bytes:
        """Return `size` bytes that follow the head, or fewer if the stream ends. Blocks."""
        return self._reader.read(size)  # type: ignore[no-any-return]

    def switch(
        self, start_response: StartResponse, headers: Headers, status: str, tail: bytes = b""
    ) -> tuple[Any, bytes]:
        """Answer with 101; return a socket on the connection and the bytes that followed the request."""
        socket = self.socket
        self.send(start_response, status, headers, tail)
        self._socket.setblocking(False)
        return socket, self._reader.read(len(self._reader.peek()))

    def detach(self, socket: Any) -> None:
        """Return None: the server's thread ends with the request."""

    def end_with_answer(self) -> None:
        """Do nothing: the server ends each connection with its answer."""
