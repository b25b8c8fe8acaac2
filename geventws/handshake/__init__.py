"""The opening handshake, both sides, on dicts and lists (RFC 6455 section 4). No I/O."""

from __future__ import annotations

from .server import (
    SAME_ORIGIN,
    Upgrade,
    accept,
    accept_key,
    check_origin,
    check_request,
    check_response,
    is_upgrade,
    make_key,
    read_origin,
    request_headers,
)

__all__ = [
    "SAME_ORIGIN",
    "Upgrade",
    "accept",
    "accept_key",
    "check_origin",
    "check_request",
    "check_response",
    "is_upgrade",
    "make_key",
    "read_origin",
    "request_headers",
]
