"""WebSocket views in Pyramid.

    from geventws.frameworks.pyramid import websocket

    @view_config(route_name="echo")
    @websocket
    def echo(request, ws):
        for message in ws:
            ws.send(message)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyramid.response import Response

from ..endpoints.views import make_decorated

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Unpack

    from ..endpoints.decorator import DecoratorOptions

__all__ = ["websocket"]


def websocket(function: Callable[..., object] | None = None, **options: Unpack[DecoratorOptions]) -> Any:
    """Turn a function into a Pyramid view that opens a WebSocket. Called with options alone, return a decorator.

    The function runs within the view, and may block. When it returns, the connection is closed with 1000; when it
    raises, with 1011, and Pyramid reports the error as it does any view's. A client that has left is not an error. What
    tweens add to the response after the view is not sent.

    Args:
        function: called with the request and the `WebSocket`.
        options: those of `WebSocketWSGI`, by name.

    Raises:
        TypeError: an option is unknown, or its value is of a wrong type.
        ValueError: an option's value is out of range, or `headers` has a header that cannot be sent.
    """
    return make_decorated(_make_view, function, {**options})


def _make_view(function: Callable[..., object], serve: Any) -> Any:
    def view(request: Any) -> Any:
        answer = serve(request.environ, lambda ws: function(request, ws))
        return Response(answer.body, answer.status, answer.headers)

    return view
