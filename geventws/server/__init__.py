"""WebSocketServer: pywsgi's server with deadlines, caps and a drain."""

from __future__ import annotations

from .http_connection import RequestHandler
from .server import WebSocketServer

__all__ = ["RequestHandler", "WebSocketServer"]
