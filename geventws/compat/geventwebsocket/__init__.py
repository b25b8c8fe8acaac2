"""The names of gevent-websocket, over geventws, in modules of the same names.

    from geventws.compat.geventwebsocket import Resource, WebSocketApplication, WebSocketServer
    from geventws.compat.geventwebsocket.handler import WebSocketHandler

    gunicorn -k geventws.compat.geventwebsocket.gunicorn.workers.GeventWebSocketWorker module:application

All names are here, too. docs/migrating-from-gevent-websocket.rst compares both, promise by promise.
"""

from __future__ import annotations

from typing import Any

from .exceptions import FrameTooLargeException, ProtocolError, WebSocketError
from .handler import Client, WebSocketHandler
from .protocols.base import BaseProtocol
from .resource import Resource, WebSocketApplication
from .server import WebSocketServer
from .websocket import MSG_ALREADY_CLOSED, MSG_CLOSED, MSG_SOCKET_DEAD, Stream, WebSocket

__all__ = [
    "MSG_ALREADY_CLOSED",
    "MSG_CLOSED",
    "MSG_SOCKET_DEAD",
    "BaseProtocol",
    "Client",
    "FrameTooLargeException",
    "ProtocolError",
    "Resource",
    "Stream",
    "WebSocket",
    "WebSocketApplication",
    "WebSocketError",
    "WebSocketHandler",
    "WebSocketServer",
]


def __getattr__(name: str) -> Any:
    """Import the worker when it is asked for: gunicorn need not be installed."""
    if name != "GeventWebSocketWorker":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .gunicorn.workers import GeventWebSocketWorker

    return GeventWebSocketWorker
