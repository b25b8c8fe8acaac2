"""WebSocket routes in Bottle.

    from geventws.frameworks.bottle import websocket

    @app.route("/echo/<name>")
    @websocket
    def echo(ws, name):
        for message in ws:
            ws.send(message)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bottle import HTTPResponse, request

from ..endpoints.views import make_decorated

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Unpack

    from ..endpoints.decorator import DecoratorOptions

__all__ = ["websocket"]


def websocket(function: Callable[..., object] | None = None, **options: Unpack[DecoratorOptions]) -> Any:
    """Return a callback for a route of Bottle's that opens a WebSocket; with options alone, a decorator that makes it.

    It may also stand in a route's `apply`. The function runs within the callback, and may block. When it returns, the
    connection is closed with 1000; when it raises, with 1011, and Bottle reports it as any callback's error. A client
    that has left is no error. Nothing that hooks add to a response goes out after the 101.

    Args:
        function: called with the `WebSocket`, and the arguments of the route.
        options: those of `WebSocketWSGI`, by their names.

    Raises:
        TypeError: there is no such option, or one is of another type than it has here.
        ValueError: an option is out of its range, or `headers` has one that cannot be sent.
    """
    return make_decorated(_make_view, function, {**options})


def _make_view(function: Callable[..., object], serve: Any) -> Any:
    def callback(*args: Any, **arguments: Any) -> Any:
        answer = serve(request.environ, lambda ws: function(ws, *args, **arguments))
        return HTTPResponse(answer.body, answer.status, answer.headers)

    return callback
