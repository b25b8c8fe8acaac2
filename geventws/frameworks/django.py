"""WebSocket views in Django.

    from geventws.frameworks.django import websocket

    def echo(request, ws):
        for message in ws:
            ws.send(message)

    urlpatterns = [path("ws/echo", websocket(echo))]
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from django.http import HttpResponse

from ..endpoints.views import make_decorated

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Unpack

    from ..endpoints.decorator import DecoratorOptions

__all__ = ["websocket"]


def websocket(function: Callable[..., object] | None = None, **options: Unpack[DecoratorOptions]) -> Any:
    """Turn a function into a Django view that opens a WebSocket. Called with options alone, return a decorator.

    The function runs within the view, and may block. When it returns, the connection is closed with 1000; when it
    raises, with 1011, and Django reports the error as it does any view's. A client that has left is not an error. What
    middleware adds to the response after the view is not sent. `ATOMIC_REQUESTS` does not apply: a transaction would
    last as long as the connection.

    Args:
        function: called with the request, the `WebSocket`, and the arguments of the path.
        options: those of `WebSocketWSGI`, by name.

    Raises:
        TypeError: an option is unknown, or its value is of a wrong type.
        ValueError: an option's value is out of range, or `headers` has a header that cannot be sent.
    """
    return make_decorated(_make_view, function, {**options})


def _make_view(function: Callable[..., object], serve: Any) -> Any:
    def view(request: Any, *args: Any, **arguments: Any) -> Any:
        run = functools.partial(function, request)
        answer = serve(request.environ, lambda ws: run(ws, *args, **arguments))
        return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))

    for name in connections:
        transaction.non_atomic_requests(name)(view)
    return view
