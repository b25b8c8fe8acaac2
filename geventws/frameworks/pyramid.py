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
    """Return a view of Pyramid's that opens a WebSocket; called with options alone, a decorator that makes it.

    The function runs within the view, and may block. When it returns, the connection is closed with 1000; when it
    raises, with 1011, and Pyramid reports it as any view's error. A client that has left is no error. Nothing that
    tweens add to a response goes out after the 101.

    Args:
        function: called with the request and the `WebSocket`.
        options: those of `WebSocketWSGI`, by their names.

    Raises:
        TypeError: there is no such option, or one is of another type than it has here.
        ValueError: an option is out of its range, or `headers` has one that cannot be sent.
    """
    return make_decorated(_make_view, function, {**options})


def _make_view(function: Callable[..., object], serve: Any) -> Any:
    def view(request: Any) -> Any:
        answer = serve(request.environ, lambda ws: function(request, ws))
        return Response(answer.body, answer.status, answer.headers)

    return view
