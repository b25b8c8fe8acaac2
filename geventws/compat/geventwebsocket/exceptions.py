"""The exceptions of gevent-websocket: errors of the operating system, as there; WebSocketErrors of geventws, too."""

from __future__ import annotations

from ... import exceptions

__all__ = ["FrameTooLargeException", "ProtocolError", "WebSocketError"]


class WebSocketError(exceptions.WebSocketError, OSError):
    """The connection is closed, or what was asked for cannot be done with it."""


class ProtocolError(WebSocketError):
    """A frame that may not be sent. Faults of the peer are answered with a close frame, and raise nothing."""


class FrameTooLargeException(ProtocolError):
    """A control frame with more than 125 bytes."""
