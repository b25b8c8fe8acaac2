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
    """Turn a function into a Bottle callback that opens a WebSocket. Called with options alone, return a decorator.

    It may also be in the `apply` of a route. The function runs within the callback, and may block. When it returns, the
    connection is closed with 1000; when it raises, with 1011, and Bottle reports the error as it does any callback's. A
    client that has left is not an error. What hooks add to the response after the function is not sent.

    Args:
        function: called with the `WebSocket`, and the arguments of the route.
        options: those of `WebSocketWSGI`, by name.

    Raises:
        TypeError: an option is unknown, or its value is of a wrong type.
        ValueError: an option's value is out of range, or `headers` has a header that cannot be sent.
    """
    return make_decorated(_make_view, function, {**options})


def _make_view(function: Callable[..., object], serve: Any) -> Any:
    def callback(*args: Any, **arguments: Any) -> Any:
        answer = serve(request.environ, lambda ws: function(ws, *args, **arguments))
        return HTTPResponse(answer.body, answer.status, answer.headers)

    return callback
