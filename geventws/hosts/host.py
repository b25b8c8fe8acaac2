"""A host: one request as its server has it, which sends an answer in the server's way and hands out the connection.

A new kind of server is a module with a class like those of this folder, and a line in `HOSTS` (see `__init__`).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from gevent.pywsgi import Input

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..handshake.origins import Environ

    Headers = list[tuple[str, str]]
    StartResponse = Callable[..., Any]

SWITCHING = "101 Switching Protocols"

EMPTY_INPUT = Input(io.BytesIO(), None)
"""The body of a request that has none."""

NO_WRITE = "start_response returned None: some middleware drops what the server's own returns (PEP 3333: a callable)"


class Packed(Protocol):
    """An environ in a form that takes less memory, while its server's handler does without."""

    def unpack(self) -> Environ:
        """Return the environ, whole."""

    def give_back(self, environ: Environ) -> None:
        """Give the environ back to the handler, which may report an error of the request."""


class Host(Protocol):
    """A request as its server has it. What has a body here is what most servers need.

    Args:
        environ: the request's.
        handler: the server's object for the request.

    Attributes:
        key: the environ's key for the handler, where the server puts it there; "" for none.
        frames: functions of the server that call the application, each with its local variable for the handler: where
            middleware has wrapped `start_response`, the handler is found on the stack.
        on_drain: takes a function to be called with a close code when the server stops; None where it tells nobody.
    """

    key: ClassVar[str] = ""
    frames: ClassVar[dict[str, str]] = {}
    on_drain: Callable[[Callable[[int], object]], object] | None = None

    def __init__(self, environ: Environ, handler: Any) -> None: ...

    @staticmethod
    def recognises(thing: Any) -> bool:
        """Return whether something is a handler of this kind of server. A `start_response` is often its method."""

    @property
    def socket(self) -> Any:
        """The gevent socket; NoSocket where there is none."""

    @property
    def target(self) -> str | None:
        """The request's target as it came in, path and query; None where the server does not tell."""

    def send(self, start_response: StartResponse, status: str, headers: Headers, body: bytes = b"") -> None:
        """Send an answer now, through `start_response` and in any case. Blocks."""

    def read(self, size: int) -> bytes:
        """Return so many bytes that follow the head, or those up to the end. Blocks."""

    def switch(
        self, start_response: StartResponse, headers: Headers, status: str, tail: bytes = b""
    ) -> tuple[Any, bytes]:
        """Answer with 101, and take the connection over from the server, which still closes it.

        Args:
            start_response: the server's, or what middleware has made of it.
            headers: of the answer.
            status: of the answer.
            tail: bytes that leave with the head, in one write.

        Returns:
            a gevent socket, or a bare one, which never blocks from here on; and the bytes that followed the request.

        Raises:
            NoSocket: the server gives its application none.
        """

    def detach(self, socket: Any) -> Any:
        """Return the socket of a connection that is to outlive its request; None where it cannot."""

    def end_with_answer(self) -> None:
        """See to it that the connection ends with the answer and nothing after it is taken for a request.

        Nothing needs to be done where the server goes by the answer's Connection field.
        """

    def save_room(self, endpoint: Any) -> Packed | None:
        """Make smaller what the server holds for a connection that `endpoint` serves in the request's greenlet.

        Returns:
            the environ, where the handler does without it from here on; None where it keeps it.
        """
        return None


def read_target(environ: Environ) -> str | None:
    """Return a request's target from the environ, where gunicorn and others put it: WSGI has no name for it."""
    return environ.get("RAW_URI") or environ.get("REQUEST_URI")
