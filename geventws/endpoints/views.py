"""WebSocket connections within the views of web frameworks, where there is no `start_response`.

The 101 bypasses the framework: the server's handler is found on the stack, below the view. The function runs within the
view, where everything that the framework keeps for a request is in place. The framework's own response is not sent at
the end; it is a 101, too, so that the framework's log and middleware see what has happened.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from ..exceptions import NoSocket
from .decorator import WebSocketWSGI, is_departure

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..handshake.origins import Environ
    from ..hosts.host import Headers
    from ..websocket import WebSocket

    MakeView = Callable[[Callable[..., object], Any], Any]

logger: logging.Logger = logging.getLogger("geventws")


class ViewAnswer(NamedTuple):
    """The content of the response that a view returns.

    Attributes:
        status: the HTTP status; 101 after a connection.
        headers: pairs; empty after a connection.
        body: text in UTF-8; empty after a connection.
    """

    status: int
    headers: Headers
    body: bytes


def make_decorated(make_view: MakeView, function: Callable[..., object] | None, options: dict[str, Any]) -> Any:
    """Return a framework's view; without a function, a decorator that makes one.

    Args:
        make_view: takes the function, and `serve_view` with its options; returns the view.
        function: the function that the view runs on a connection.
        options: of `WebSocketWSGI`.

    Raises:
        TypeError, ValueError: as `WebSocketWSGI` does.
    """
    if function is None:
        return functools.partial(make_decorated, make_view, options=options)
    WebSocketWSGI(function, **options)  # raises for wrong options now, and not at the first request
    return functools.wraps(function)(make_view(function, functools.partial(serve_view, options)))


def serve_view(options: dict[str, Any], environ: Environ, function: Callable[[WebSocket], object]) -> ViewAnswer:
    """Serve one request from within a view. Blocks until the connection is over.

    Args:
        options: of `WebSocketWSGI`.
        environ: the request's.
        function: called with the connection.

    Raises:
        Exception: the function's, after the connection was closed with 1011, for the framework to report. An error that
            only says that the peer has left is not raised.
    """
    said: list[tuple[str, Headers]] = []
    failures: list[Exception] = []

    def start_response(status: str, headers: Headers, _exc_info: Any = None) -> Callable[[bytes], None]:
        said.append((status, headers))
        return _keep_back

    def handler(ws: WebSocket) -> None:
        try:
            function(ws)
        except Exception as error:
            if not is_departure(ws, error):
                failures.append(error)
                ws.close(1011)

    try:
        body = b"".join(WebSocketWSGI(handler, **options)(environ, start_response))
    except NoSocket as error:
        return answer_without_socket(error)
    if failures:
        raise failures.pop()
    status, headers = said[0]
    return ViewAnswer(int(status[:3]), [] if status.startswith("101 ") else headers, body)


def answer_without_socket(error: NoSocket) -> ViewAnswer:
    """Log how to run the application, and return a response with the same text."""
    logger.error("%s", error)
    return ViewAnswer(501, [("Content-Type", "text/plain; charset=utf-8")], f"{error}\n".encode())


def _keep_back(_data: bytes) -> None:
    """Take the place of `write`. The server's handler sends by itself what has not been sent by then."""
