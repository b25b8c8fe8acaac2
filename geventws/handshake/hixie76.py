"""The opening handshake of drafts 75 and 76, as browsers spoke it in 2010. No I/O. Off unless asked for.

These are draft-hixie-thewebsocketprotocol-75 and -76; section numbers are those of draft 76. `accept` answers the
opening handshake, on a WSGI environ, with an `Upgrade` as for RFC 6455. Its version is one of DRAFTS, and the status of
the answer is in STATUS. In draft 76 a challenge of 8 bytes follows the request's head: the code that has the socket
reads it, and sends the result of `answer_challenge` after the answer's head.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from hashlib import md5
from urllib.parse import quote

from ..exceptions import HandshakeError
from ..http.headers import check_headers
from ..text import quoted
from .origins import SAME_ORIGIN, Environ, Origins, check_origin
from .server import check_request, is_upgrade
from .upgrade import Upgrade

__all__ = ["CHALLENGE_SIZE", "DRAFTS", "STATUS", "accept", "answer_challenge", "is_legacy"]

DRAFTS = (75, 76)

CHALLENGE_SIZE = 8
"""Bytes of the challenge after the head of a draft 76 request."""

STATUS = {75: "101 Web Socket Protocol Handshake", 76: "101 WebSocket Protocol Handshake"}
"""Code and reason of the answer, by draft."""

_TARGET = re.compile(r"/[!-~]*")  # origin-form, as it may stand in a header
_NUMBER_DIGITS = 10  # of a 32-bit number


def is_legacy(environ: Environ) -> bool:
    """Return whether a request asks for draft 75 or 76. They have no version header: that came later."""
    later = "HTTP_SEC_WEBSOCKET_VERSION" in environ or "HTTP_SEC_WEBSOCKET_KEY" in environ
    return not later and is_upgrade(environ)


def accept(
    environ: Environ,
    *,
    target: str | None = None,
    subprotocols: Collection[str] | None = (),
    origins: Origins = SAME_ORIGIN,
) -> Upgrade:
    """Return the answer to a handshake of draft 75 or 76, or raise the error that refuses it.

    It does no I/O and changes none of its arguments.

    Args:
        environ: the WSGI environ of the request (PEP 3333).
        target: the request's target as it was received, path and query; None if the server does not tell. The answer
            has to repeat a "?" at its end, which WSGI itself does not show.
        subprotocols: those that the server speaks; None for any that the client asks for. In these drafts it asks for
            one at most.
        origins: the pages that may connect, as for `geventws.handshake.accept`.

    Raises:
        HandshakeError: 403 for an origin that may not connect, 400 or 405 for the rest.
    """
    check_request(environ)
    version = _find_draft(environ)
    if version == 76:
        _read_keys(environ)  # or else HandshakeError
    origin = environ.get("HTTP_ORIGIN")
    if not origin:
        raise HandshakeError(400, "there is no Origin, which drafts 75 and 76 ask for")
    check_origin(origin, environ, origins)
    prefix = "" if version == 75 else "Sec-"
    asked = environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL" if version == 76 else "HTTP_WEBSOCKET_PROTOCOL")
    protocol = asked if subprotocols is None or asked in subprotocols else None
    headers = [("Upgrade", "WebSocket"), ("Connection", "Upgrade"), (f"{prefix}WebSocket-Origin", origin)]
    if protocol is not None:
        headers.append((f"{prefix}WebSocket-Protocol", protocol))
    headers.append((f"{prefix}WebSocket-Location", _locate(environ, target)))
    try:
        check_headers(headers)
    except ValueError as error:
        raise HandshakeError(400, str(error)) from None
    return Upgrade(headers, protocol, origin, version, None)


def answer_challenge(environ: Environ, challenge: bytes) -> bytes:
    """Return the 16 bytes that follow the head of an answer to draft 76, for a request that `accept` has taken.

    They are the MD5 of the two keys' numbers, in 32 bits each, and of the challenge (5.2).
    """
    return md5(_read_keys(environ) + challenge, usedforsecurity=False).digest()


def _find_draft(environ: Environ) -> int:
    """Return the draft of a request: only 76 has keys."""
    keys = ("HTTP_SEC_WEBSOCKET_KEY1", "HTTP_SEC_WEBSOCKET_KEY2")
    return 76 if any(key in environ for key in keys) else 75


def _read_keys(environ: Environ) -> bytes:
    """Return the numbers of the two keys of draft 76 (5.2)."""
    return _read_key(environ, "Sec-WebSocket-Key1") + _read_key(environ, "Sec-WebSocket-Key2")


def _read_key(environ: Environ, name: str) -> bytes:
    """Return the number of a key: its digits, read as one number, divided by the number of its spaces."""
    key: str | None = environ.get("HTTP_" + name.upper().replace("-", "_"))
    if key is None:
        raise HandshakeError(400, f"there is no {name}")
    digits = "".join([character for character in key if character in "0123456789"])
    spaces = key.count(" ")
    if not digits or not spaces or len(digits) > _NUMBER_DIGITS or int(digits) % spaces:
        raise HandshakeError(400, f"the {name} {quoted(key)} holds no number that is a multiple of its spaces")
    number = int(digits) // spaces
    if number >> 32:
        raise HandshakeError(400, f"the number of the {name} {quoted(key)} has more than 32 bits")
    return number.to_bytes(4, "big")


def _locate(environ: Environ, target: str | None) -> str:
    """Return the URL that was asked for, which the client compares with its own."""
    scheme = "wss" if environ.get("wsgi.url_scheme") == "https" else "ws"
    if target is None or _TARGET.fullmatch(target) is None:
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        query = environ.get("QUERY_STRING", "")
        target = quote(path, safe="/!$&'()*+,;=:@~", encoding="latin-1") + ("?" + query if query else "")
    return f"{scheme}://{environ['HTTP_HOST']}{target}"
