"""gunicorn's own parser as a host: `gunicorn -k gevent`.

The request's `Response` is its handler: `start_response` is one of its methods, and so is the `write` that it returns.
Bytes that the client sent right after its handshake wait in the request's `unreader`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from gevent import socket as gsocket

from .host import EMPTY_INPUT, Host, read_target
from .sockets import Detached, Ended, Joined, detach_socket, drop_watchers

if TYPE_CHECKING:
    from ..handshake.origins import Environ
    from .host import Headers, StartResponse


class GunicornHost(Host):
    """A request on gunicorn's own parser.

    Args:
        environ: the request's.
        response: gunicorn's.
    """

    frames: ClassVar[dict[str, str]] = {"handle_request": "resp"}

    def __init__(self, environ: Environ, response: Any) -> None:
        self._environ = environ
        self._response = response
        self._unreader = response.req.unreader

    @staticmethod
    def recognises(thing: Any) -> bool:
        """Return whether something is the `Response` of one of gunicorn's workers for gevent."""
        is_response = hasattr(thing, "force_close") and hasattr(thing, "headers_sent") and hasattr(thing, "req")
        return is_response and isinstance(thing.sock, gsocket.socket)

    @property
    def socket(self) -> Any:
        """The gevent socket."""
        return self._response.sock

    @property
    def target(self) -> str | None:
        """The request's target as it came in."""
        return read_target(self._environ)

    def send(self, start_response: StartResponse, status: str, headers: Headers, body: bytes = b"") -> None:
        """Send an answer now."""
        response = self._response
        write = start_response(status, headers)
        response.chunked = False  # gunicorn 22 and 23 have no exception for a 101, and send a last chunk in the end
        if write is not None:
            write(body)
        if not response.headers_sent:
            self._send_past_middleware(status, headers, body)
        response.force_close()  # or gunicorn would read the next request from a closed socket
        response.write = response.write_file = _drop  # what middleware has to add

    def _send_past_middleware(self, status: str, headers: Headers, body: bytes) -> None:
        """Send an answer that middleware holds back. What the middleware answers later is neither sent nor logged."""
        response = self._response
        if not (response.status or "").startswith(status[:4]):
            response.status = None
            response.start_response(status, headers)
            response.chunked = False
        response.write(body)
        kept, response.status = response.status, None  # or a second start_response would be an error

        def close() -> None:
            response.status = kept  # for the access log, which comes next
            del response.close

        response.close = close

    def read(self, size: int) -> bytes:
        """Return `size` bytes that follow the head, or fewer if the stream ends. Blocks."""
        return self._unreader.read(size)  # type: ignore[no-any-return]

    def switch(
        self, start_response: StartResponse, headers: Headers, status: str, tail: bytes = b""
    ) -> tuple[Any, bytes]:
        """Answer with 101; return the socket and the bytes that followed the request."""
        socket = self._response.sock
        if tail:
            self._response.sock = Joined(socket.sendall, tail)  # not as a body: gunicorn drops that of a 101
        try:
            self.send(start_response, status, headers)
        finally:
            self._response.sock = socket
        drop_watchers(socket)
        self._environ["wsgi.input"] = EMPTY_INPUT
        return socket, take_unread(self._unreader)

    def detach(self, socket: Any) -> Detached:
        """Return the bare socket of a connection that outlives its request; `switch` returned the gevent socket."""
        self._unreader.sock = Ended()
        return detach_socket(socket)

    def end_with_answer(self) -> None:
        """End the connection with the answer: gunicorn ignores its Connection field, and would read what follows."""
        self._response.force_close()


def _drop(_data: Any) -> None:
    """Replace `write`, once the answer was sent."""


def take_unread(unreader: Any) -> bytes:
    """Take the bytes that gunicorn has read, but not parsed."""
    if hasattr(unreader, "take_buffered"):
        return bytes(unreader.take_buffered())
    data: bytes = unreader.buf.getvalue()
    unreader.buf.seek(0)
    unreader.buf.truncate()
    return data


def find_unreader(environ: Environ) -> Any:
    """Return the object that gunicorn's parser reads from, found through the body; None with another server's body."""
    reader = getattr(environ.get("wsgi.input"), "reader", None)
    return getattr(getattr(reader, "req", reader), "unreader", None)  # a chunked body's reader has it in its request
