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
    """Return a view of Django's that opens a WebSocket; called with options alone, a decorator that makes it.

    The function runs within the view, and may block. When it returns, the connection is closed with 1000; when it
    raises, with 1011, and Django reports it as it does any view's error. A client that has left is no error. Nothing
    that middleware adds to a response goes out after the 101. `ATOMIC_REQUESTS` does not apply: a transaction would
    last as long as the connection.

    Args:
        function: called with the request, the `WebSocket`, and the arguments of the path.
        options: those of `WebSocketWSGI`, by their names.

    Raises:
        TypeError: there is no such option, or one is of another type than it has here.
        ValueError: an option is out of its range, or `headers` has one that cannot be sent.
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
