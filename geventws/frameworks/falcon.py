"""WebSocket resources in Falcon's WSGI applications, whose `on_websocket` is for ASGI.

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
    """Return a responder of Falcon's that opens a WebSocket; called with options alone, a decorator that makes it.

    The method runs within the responder, and may block. When it returns, the connection is closed with 1000; when it
    raises, with 1011, and Falcon reports it as any responder's error. A client that has left is no error. Nothing that
    middleware adds to a response goes out after the 101.

    Args:
        function: a method, which is called with the request, the `WebSocket` in the response's place, and the fields
            of the path.
        options: those of `WebSocketWSGI`, by their names.

    Raises:
        TypeError: there is no such option, or one is of another type than it has here.
        ValueError: an option is out of its range, or `headers` has one that cannot be sent.
    """
    return make_decorated(_make_view, function, {**options})


def _make_view(function: Callable[..., object], serve: Any) -> Any:
    def responder(resource: Any, req: Any, resp: Any, **fields: Any) -> None:
        answer = serve(req.env, lambda ws: function(resource, req, ws, **fields))
        resp.status, resp.data = answer.status, answer.body
        resp.set_headers(answer.headers)

    return responder
