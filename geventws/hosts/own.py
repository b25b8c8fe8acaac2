"""`WebSocketServer` as a host: its handler has methods to hand out the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from .host import EMPTY_INPUT, Host, read_target
from .pywsgi import pack_environ, send_answer, switch_protocols

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..handshake.origins import Environ
    from .host import Headers, Packed, StartResponse

SEAM = "geventws.upgrade"
"""The key of environ under which `WebSocketServer` puts the handler of a request that offers an upgrade."""


class OwnHost(Host):
    """A request on `WebSocketServer`.

    Args:
        environ: the request's.
        handler: the server's, a `RequestHandler`.
    """

    key: ClassVar[str] = SEAM

    def __init__(self, environ: Environ, handler: Any) -> None:
        self._environ = environ
        self._handler = handler
        self.on_drain: Callable[[Callable[[int], object]], object] | None = handler.on_drain

    @staticmethod
    def recognises(thing: Any) -> bool:
        """Return whether something is a `RequestHandler`."""
        return hasattr(thing, "give_away") and hasattr(thing, "stream")

    @property
    def socket(self) -> Any:
        """The gevent socket."""
        return self._handler.socket

    @property
    def target(self) -> str | None:
        """The request's target as it came in."""
        return read_target(self._environ) or self._handler.path

    def send(self, start_response: StartResponse, status: str, headers: Headers, body: bytes = b"") -> None:
        """Send an answer now."""
        send_answer(self._handler, start_response, status, headers, body)

    def read(self, size: int) -> bytes:
        """Return `size` bytes that follow the head, or fewer if the stream ends. Blocks."""
        return self._handler.stream.reader().read(size)  # type: ignore[no-any-return]

    def switch(
        self, start_response: StartResponse, headers: Headers, status: str, tail: bytes = b""
    ) -> tuple[Any, bytes]:
        """Answer with 101; return the socket and the bytes that followed the request."""
        switch_protocols(self._handler, start_response, status, headers, tail)
        for environ in (self._environ, self._handler.environ):  # two, if middleware has made a copy
            environ.pop(SEAM, None)
            environ["wsgi.input"] = EMPTY_INPUT
        return self._handler.take()  # type: ignore[no-any-return]

    def detach(self, _socket: Any) -> Any:
        """Return the socket of a connection that is to outlive its request."""
        return self._handler.give_away()

    def save_room(self, endpoint: Any) -> Packed | None:
        """Save memory that the handler holds: see `pack_environ`."""
        return pack_environ(self._environ, self._handler, endpoint)
