"""WebSocketServer: pywsgi's server with deadlines, caps and a drain."""

from __future__ import annotations

from .server import WebSocketServer

__all__ = ["WebSocketServer"]
