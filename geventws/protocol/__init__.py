"""One connection after its handshake (RFC 6455 sections 5 to 7): bytes in, messages and replies out. No I/O."""

from __future__ import annotations

from .connection import WebSocketProtocol
from .extension import Negotiator
from .permessage_deflate import PerMessageDeflate

__all__ = ["EXTENSIONS", "WebSocketProtocol"]

EXTENSIONS: tuple[type[Negotiator], ...] = (PerMessageDeflate,)
"""The kinds of extension that there are, each of which may be given as `compression`: see extension.py."""
