"""The exceptions of gevent-websocket. As there they are OSErrors; they are geventws.WebSocketErrors, too."""

from __future__ import annotations

from ... import exceptions

__all__ = ["FrameTooLargeException", "ProtocolError", "WebSocketError"]


class WebSocketError(exceptions.WebSocketError, OSError):
    """The connection is closed, or cannot do this."""


class ProtocolError(WebSocketError):
    """A frame that may not be sent. The peer's violations are answered with a close frame, and raise nothing."""


class FrameTooLargeException(ProtocolError):
    """A control frame with more than 125 bytes."""
