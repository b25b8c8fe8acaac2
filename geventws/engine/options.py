"""The options of a connection, checked in one place: its clocks."""

from __future__ import annotations

LINGER = 1.0
"""Seconds for which a peer may go on after our end of a connection: to read what was sent, and to hang up by itself."""
