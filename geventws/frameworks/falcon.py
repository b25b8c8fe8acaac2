"""WebSocket resources in Falcon's WSGI applications. Falcon's own `on_websocket` is for ASGI only.

    from geventws.frameworks.falcon import websocket

    class Echo:
        @websocket
        def on_get(self, req, ws):
            for message in ws:
                ws.send(message)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..endpoints.views import make_decorated

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Unpack

    from ..endpoints.decorator import DecoratorOptions

__all__ = ["websocket"]


def websocket(function: Callable[..., object] | None = None, **options: Unpack[DecoratorOptions]) -> Any:
    """Turn a method into a Falcon responder that opens a WebSocket. Called with options alone, return a decorator.

    The method runs within the responder, and may block. When it returns, the connection is closed with 1000; when it
    raises, with 1011, and Falcon reports the error as it does any responder's. A client that has left is not an error.
    What middleware adds to the response after the method is not sent.

    Args:
        function: a method, called with the request, the `WebSocket` in place of the response, and the fields of the
            path.
        options: those of `WebSocketWSGI`, by name.

    Raises:
        TypeError: an option is unknown, or its value is of a wrong type.
        ValueError: an option's value is out of range, or `headers` has a header that cannot be sent.
    """
    return make_decorated(_make_view, function, {**options})


def _make_view(function: Callable[..., object], serve: Any) -> Any:
    def responder(resource: Any, req: Any, resp: Any, **fields: Any) -> None:
        answer = serve(req.env, lambda ws: function(resource, req, ws, **fields))
        resp.status, resp.data = answer.status, answer.body
        resp.set_headers(answer.headers)

    return responder
