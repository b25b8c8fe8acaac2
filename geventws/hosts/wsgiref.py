"""wsgiref's server with threads as a host: Django's `manage.py runserver`, each connection in a native thread.

Its `start_response` takes none of the headers of a 101, so that goes to the socket directly. What the application
answers later is dropped, but its status is logged. Without threads one connection would hold the whole server, so that
server is not recognised.
"""

from __future__ import annotations

import io
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, ClassVar

from .host import Host, read_target
from .sockets import share_socket

if TYPE_CHECKING:
    from ..handshake.origins import Environ
    from .host import Headers, StartResponse


class WSGIRefHost(Host):
    """A request on a server made of wsgiref and `ThreadingMixIn`.

    Args:
        environ: the request's.
        handler: wsgiref's `ServerHandler`, which has the request's handler as an attribute.
    """

    frames: ClassVar[dict[str, str]] = {"run": "self"}
    forbids_connection_field: bool = True
    ends_thread: ClassVar[bool] = True

    def __init__(self, environ: Environ, handler: Any) -> None:
        self._environ = environ
        self._handler = handler
        self._request = handler.request_handler  # reads the connection

    @staticmethod
    def recognises(thing: Any) -> bool:
        """Return whether something is such a handler, on a server with threads."""
        return isinstance(getattr(getattr(thing, "request_handler", None), "server", None), ThreadingMixIn)

    @property
    def socket(self) -> Any:
        """A gevent socket on the same connection."""
        return share_socket(self._request.connection)

    @property
    def target(self) -> str | None:
        """The request's target as it came in."""
        return read_target(self._environ) or self._request.path

    def send(self, start_response: StartResponse, status: str, headers: Headers, body: bytes = b"") -> None:
        """Send an answer now."""
        start_response(status, headers)(body)

    def read(self, size: int) -> bytes:
        """Return `size` bytes that follow the head, or fewer if the stream ends. Blocks."""
        return self._request.rfile.read(size)  # type: ignore[no-any-return]

    def switch(
        self, start_response: StartResponse, headers: Headers, status: str, tail: bytes = b""
    ) -> tuple[Any, bytes]:
        """Answer with 101; return a socket on the connection and the bytes that followed the request."""
        socket, handler = self.socket, self._handler
        fields = "".join([f"{name}: {value}\r\n" for name, value in headers])
        socket.sendall(f"HTTP/1.1 {status}\r\n{fields}\r\n".encode("latin-1") + tail)
        handler.headers_sent, handler.stdout = True, io.BytesIO()
        start_response(status, [])
        self._request.close_connection = True
        self._request.connection.setblocking(False)
        return socket, self._request.rfile.read(len(self._request.rfile.peek()))

    def detach(self, socket: Any) -> None:
        """Return None: the server's thread ends with the request."""

    def end_with_answer(self) -> None:
        """End the connection with the answer."""
        self._request.close_connection = True
