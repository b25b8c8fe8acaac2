"""A host: the server's side of one request. It sends an answer as the server does, and hands out the connection.

To support another server, add a module with a class like those of this folder, and a line in `HOSTS` (`__init__.py`).
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
    """An environ in a form that takes less memory, while the server's handler has none."""

    def unpack(self) -> Environ:
        """Return the environ, whole."""

    def give_back(self, environ: Environ) -> None:
        """Give the environ back to the handler, which may report an error of the request."""


class Host(Protocol):
    """The server's side of a request. The methods with a body do what most servers need.

    Args:
        environ: the request's.
        handler: the server's object for the request.

    Attributes:
        key: the environ's key for the handler, if the server puts it there; "" otherwise.
        frames: functions of the server that call the application, each with its local variable for the handler: if
            middleware has wrapped `start_response`, the handler is found on the stack.
        on_drain: takes a function to call with a close code when the server stops; None if the server cannot do that.
        ends_thread: whether the server ends the native thread after the request, or after the connection's last.
        forbids_connection_field: whether an answer with a `Connection` field is an error, as PEP 3333 has it.
    """

    key: ClassVar[str] = ""
    frames: ClassVar[dict[str, str]] = {}
    ends_thread: ClassVar[bool] = False
    on_drain: Callable[[Callable[[int], object]], object] | None = None
    forbids_connection_field: bool = False

    def __init__(self, environ: Environ, handler: Any) -> None: ...

    @staticmethod
    def recognises(thing: Any) -> bool:
        """Return whether something is a handler of this kind of server. A `start_response` is often its method."""

    @property
    def socket(self) -> Any:
        """The gevent socket; NoSocket if there is none."""

    @property
    def target(self) -> str | None:
        """The request's target as it was received, path and query; None if the server does not tell."""

    def send(self, start_response: StartResponse, status: str, headers: Headers, body: bytes = b"") -> None:
        """Send an answer now, through `start_response`, or past it if middleware holds it back. Blocks."""

    def read(self, size: int) -> bytes:
        """Return `size` bytes that follow the head, or fewer if the stream ends. Blocks."""

    def switch(
        self, start_response: StartResponse, headers: Headers, status: str, tail: bytes = b""
    ) -> tuple[Any, bytes]:
        """Answer with 101, and take over the connection. The server still closes it.

        Args:
            start_response: the server's, or middleware's.
            headers: of the answer.
            status: of the answer.
            tail: bytes to send with the head, in one write.

        Returns:
            The gevent socket, or a bare one, which never blocks from now on; and the bytes that followed the request.

        Raises:
            NoSocket: the server gives its application none.
        """

    def detach(self, socket: Any) -> Any:
        """Return the socket of a connection that is to outlive its request; None if the server does not allow that."""

    def end_with_answer(self) -> None:
        """Make sure that the connection ends with the answer, and nothing after it is taken for a request.

        There is nothing to do if the server obeys the answer's Connection field.
        """

    def save_room(self, endpoint: Any) -> Packed | None:
        """Save memory that the server holds for a connection that `endpoint` serves in the request's greenlet.

        Returns:
            The environ, if the handler has given it up; None if it keeps it.
        """
        return None


def read_target(environ: Environ) -> str | None:
    """Return a request's target from the environ. WSGI has no key for it; gunicorn and others have these."""
    return environ.get("RAW_URI") or environ.get("REQUEST_URI")
