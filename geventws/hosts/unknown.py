"""A server that is not known, or that called us in another greenlet: only the environ is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gevent import socket as gsocket

from ..exceptions import NoSocket
from .gunicorn import find_unreader, take_unread
from .host import NO_WRITE, Host, read_target
from .pywsgi import find_reader, take_read_ahead
from .sockets import Detached, Ended, detach_socket, drop_watchers

if TYPE_CHECKING:
    from ..handshake.origins import Environ
    from .host import Headers, StartResponse


class UnknownHost(Host):
    """A request of which only the environ is known. Those of pywsgi and gunicorn lead to the socket.

    Args:
        environ: the request's.
    """

    def __init__(self, environ: Environ, _handler: Any = None) -> None:
        self._environ = environ
        # of wsgiref, and of Django's runserver, where they have no threads
        self.forbids_connection_field: bool = str(environ.get("SERVER_SOFTWARE", "")).startswith("WSGIServer/")

    @staticmethod
    def recognises(_thing: Any) -> bool:
        """Return False: there is no handler."""
        return False

    @property
    def socket(self) -> Any:
        """The gevent socket, if the environ leads to one."""
        environ = self._environ
        raw = getattr(find_reader(environ), "raw", None)
        for socket in (environ.get("gunicorn.socket"), environ.get("gunicorn.sock"), getattr(raw, "_sock", None)):
            if isinstance(socket, gsocket.socket):
                return socket
        raise NoSocket(_explain(environ))

    @property
    def target(self) -> str | None:
        """The request's target as it came in."""
        return read_target(self._environ)

    def send(self, start_response: StartResponse, status: str, headers: Headers, body: bytes = b"") -> None:
        """Send an answer, as far as `start_response` does."""
        write = start_response(status, headers)
        if write is None:
            raise TypeError(NO_WRITE)
        write(body)

    def read(self, size: int) -> bytes:
        """Return `size` bytes that follow the head, or fewer if the stream ends. Blocks."""
        unreader = find_unreader(self._environ)
        return (find_reader(self._environ) if unreader is None else unreader).read(size)  # type: ignore[no-any-return]

    def switch(
        self, start_response: StartResponse, headers: Headers, status: str, tail: bytes = b""
    ) -> tuple[Any, bytes]:
        """Answer with 101; return the socket and the bytes that followed the request."""
        socket, unreader = self.socket, find_unreader(self._environ)
        self.send(start_response, status, headers)
        if tail:
            socket.sendall(tail)  # in a write of its own: it is not known how this server writes the head
        drop_watchers(socket)
        return socket, take_read_ahead(find_reader(self._environ)) if unreader is None else take_unread(unreader)

    def detach(self, socket: Any) -> Detached | None:
        """Return the bare socket; None if the server would go on to read from it."""
        unreader = find_unreader(self._environ)
        if unreader is not None:
            unreader.sock = Ended()
        elif "gunicorn.socket" in self._environ:
            return None
        return detach_socket(socket)

    def end_with_answer(self) -> None:
        """Drop what was read ahead."""
        unreader = find_unreader(self._environ)
        if unreader is not None:
            take_unread(unreader)


def _explain(environ: Environ) -> str:
    """Return what to do, for the log of somebody who may know nothing of gevent."""
    software = str(environ.get("SERVER_SOFTWARE", "of unknown name"))
    if any(environ.get(name) is not None for name in ("gunicorn.socket", "gunicorn.sock")):
        start = "start gunicorn with -k geventws.gunicorn.Worker (or -k gevent)"
        return f"this worker of {software} has no gevent sockets; {start}, or run geventws serve module:application"
    if "gevent/" in software or "gunicorn" in software:
        return (
            f"the socket of this request cannot be found on {software}: middleware has replaced wsgi.input and "
            "start_response, and runs the application in another greenlet. Mount the WebSockets in front of it"
        )
    return (
        f"this WSGI server ({software}) gives its application no gevent socket; run the application with "
        "geventws serve module:application, with gunicorn -k geventws.gunicorn.Worker (or -k gevent), "
        "or on gevent.pywsgi.WSGIServer or geventws.WebSocketServer"
    )
