"""A gunicorn worker whose requests are handled by `WebSocketHandler`."""

from __future__ import annotations

from gunicorn.workers.ggevent import GeventPyWSGIWorker, PyWSGIHandler

from ..handler import WebSocketHandler

__all__ = ["GeventWebSocketWorker"]


class RequestHandler(WebSocketHandler, PyWSGIHandler):  # type: ignore[misc]
    """The handler, with gunicorn's own access log and environ."""


class GeventWebSocketWorker(GeventPyWSGIWorker):  # type: ignore[misc]
    """gunicorn's gevent_pywsgi worker with `environ["wsgi.websocket"]`."""

    wsgi_handler: type[RequestHandler] = RequestHandler
