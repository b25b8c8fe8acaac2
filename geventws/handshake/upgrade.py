"""What both sides of the opening handshake share: the result, and the key by which the server proves what it speaks.

RFC 6455 section 4, no I/O.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Collection
from hashlib import sha1
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from ..exceptions import HandshakeError
from ..http.headers import HeaderList

if TYPE_CHECKING:
    from ..protocol.extension import Extension

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Part of the answer to a key, so that only a WebSocket server can give it (RFC 6455 1.3)."""

RESERVED = ("upgrade", "connection", "content-length", "transfer-encoding")
"""Headers of a handshake that only the handshake itself sets."""


class Upgrade(NamedTuple):
    """A handshake that succeeded.

    Attributes:
        headers: the headers of the 101, as pairs: those to send on a server, those received on a client.
        protocol: the negotiated subprotocol, or None.
        origin: the Origin that the client sent, or None.
        version: the version of the protocol, 13 or 8.
        extension: the negotiated extension, for this connection; or None.
    """

    headers: HeaderList
    protocol: str | None
    origin: str | None
    version: int
    extension: Extension | None


def accept_key(key: str) -> str:
    """Return the Sec-WebSocket-Accept that answers a Sec-WebSocket-Key (RFC 6455 4.2.2, item 5.4)."""
    digest = sha1((key + GUID).encode(), usedforsecurity=False).digest()
    return b2a_base64(digest, newline=False).decode()


def refuse(why: str, status: int = 400, option: str | None = None) -> NoReturn:
    raise HandshakeError(status, why, option=option)


def check_list(subprotocols: Collection[str]) -> None:
    """Refuse a string: `in` would look for a substring in it, and iteration would give its letters."""
    if isinstance(subprotocols, str):
        raise TypeError(f"subprotocols takes a list of names, not the text {subprotocols!r}")
