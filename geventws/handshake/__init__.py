"""The opening handshake, both sides, on dicts and lists (RFC 6455 section 4). No I/O."""

from __future__ import annotations

from ..protocol.extension import Negotiator as Extension  # its name in 1.0
from .client import check_response, make_key, request_headers
from .origins import SAME_ORIGIN, Environ, OriginChecker, Origins, SameOrigin, check_origin, read_origin
from .server import VERSIONS, accept, check_answer, check_further, check_request, is_upgrade
from .upgrade import GUID, Upgrade, accept_key

__all__ = [
    "GUID", "SAME_ORIGIN", "VERSIONS", "Environ", "Extension", "OriginChecker", "Origins", "SameOrigin", "Upgrade",
    "accept", "accept_key", "check_answer", "check_further", "check_origin", "check_request", "check_response",
    "is_upgrade", "make_key", "read_origin", "request_headers",
]  # fmt: skip
