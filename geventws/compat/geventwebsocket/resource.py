"""Applications by path, and the callbacks of a connection, as in gevent-websocket."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ...handshake.origins import Environ
from .exceptions import WebSocketError
from .protocols.base import BaseProtocol

__all__ = ["Resource", "WebSocketApplication"]


class WebSocketApplication:
    """One connection, with callbacks: derive from it, and override those you need.

    They are called one after the other in the request's greenlet, and may block.

    Args:
        ws: the `WebSocket`.
    """

    protocol_class: type[BaseProtocol] = BaseProtocol

    def __init__(self, ws: Any) -> None:
        self.ws = ws
        self.protocol: BaseProtocol = self.protocol_class(self)

    def handle(self) -> None:
        """Call back until the connection is over. Blocks."""
        self.protocol.on_open()
        try:
            while (message := self._receive()) is not None:
                self.protocol.on_message(message)
        finally:
            self.protocol.on_close(getattr(self.ws, "close_reason", None) or None)

    def _receive(self) -> Any:
        try:
            return self.ws.receive()
        except WebSocketError:
            return None  # closed by a callback

    def on_open(self, *args: Any, **kwargs: Any) -> None:
        """Called when the connection is open."""

    def on_close(self, *args: Any, **kwargs: Any) -> None:
        """Called when the connection is over, with the reason that the peer gave, or None."""

    def on_message(self, message: Any, *args: Any, **kwargs: Any) -> None:
        """Called for each message; by default it is sent back."""
        self.ws.send(message, **kwargs)

    @classmethod
    def protocol_name(cls) -> str:
        """Return the subprotocol to agree on if the client offers it; "" for none."""
        return cls.protocol_class.PROTOCOL_NAME


class Resource:
    """A WSGI application that calls others by their paths: `WebSocketApplication` classes, and WSGI applications.

    Args:
        apps: pairs of a regular expression, matched against the front of PATH_INFO, and an application; or a dict of
            them. The first match is used: a class for an opening handshake, a WSGI application for any other request.
    """

    def __init__(self, apps: Any = None) -> None:
        self.apps: Iterable[tuple[str, Any]] = apps.items() if isinstance(apps, dict) else apps or []

    def _is_websocket_app(self, app: Any) -> bool:
        """Whether an application is called with a WebSocket. Override it for applications that are not our classes."""
        return isinstance(app, type) and issubclass(app, WebSocketApplication)

    def _app_by_path(self, environ_path: str, is_websocket_request: bool) -> Any:
        for path, app in self.apps:
            if re.match(path, environ_path) and is_websocket_request == self._is_websocket_app(app):
                return app
        return None

    def app_protocol(self, path: str) -> str:
        """Return the subprotocol of the application at a path."""
        app = self._app_by_path(path, True)
        name: str = app.protocol_name() if hasattr(app, "protocol_name") else ""
        return name

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Serve one request (PEP 3333)."""
        ws = environ.get("wsgi.websocket")
        app = self._app_by_path(environ["PATH_INFO"], ws is not None)
        if app is None:
            start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "10")])
            return [b"Not Found\n"]
        if ws is None:
            result: Iterable[bytes] = app(environ, start_response)
            return result
        current_app = app(ws)
        current_app.ws = ws
        ws.current_app = current_app
        current_app.handle()
        return []
