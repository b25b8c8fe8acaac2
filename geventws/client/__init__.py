"""The client: `connect`, and `reconnect`, which comes back."""

from __future__ import annotations

from .opening import connect
from .reconnection import reconnect

__all__ = ["connect", "reconnect"]
