"""One connection after its handshake (RFC 6455 sections 5 to 7): bytes in, messages and replies out. No I/O."""

from __future__ import annotations

from .connection import WebSocketProtocol

__all__ = ["WebSocketProtocol"]
