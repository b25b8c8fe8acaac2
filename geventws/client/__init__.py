"""The client: `connect`, and `reconnect`, which connects again when a connection has ended."""

from __future__ import annotations

from .opening import connect
from .reconnection import reconnect

__all__ = ["connect", "reconnect"]
