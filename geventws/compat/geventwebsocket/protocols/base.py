"""What stands between a connection and the callbacks of a `WebSocketApplication`: subclasses may translate."""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = ["BaseProtocol"]


class BaseProtocol:
    """Hands everything to the application as it is.

    Args:
        app: the `WebSocketApplication`.

    Attributes:
        PROTOCOL_NAME: the name of the subprotocol, "" for none.
    """

    PROTOCOL_NAME: ClassVar[str] = ""

    def __init__(self, app: Any) -> None:
        self._app = app

    def on_open(self) -> None:
        """The connection is open."""
        self.app.on_open()

    def on_message(self, message: Any) -> None:
        """A message came."""
        self.app.on_message(message)

    def on_close(self, reason: str | None = None) -> None:
        """The connection is over."""
        self.app.on_close(reason)

    @property
    def app(self) -> Any:
        """The application."""
        return self._app

    @property
    def server(self) -> Any:
        """The server."""
        return self.handler.server

    @property
    def handler(self) -> Any:
        """The handler of the request."""
        return self.app.ws.handler
