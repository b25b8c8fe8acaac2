"""The client's side of the opening handshake, on lists of headers (RFC 6455 section 4.1). No I/O.

`make_key` and `request_headers` make the request, and `check_response` reads the answer.
"""

from __future__ import annotations

import os
from binascii import b2a_base64
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

from ..http import headers as grammar
from ..http.headers import HeaderList, has_token
from ..text import quoted
from .upgrade import RESERVED, Upgrade, accept_key, check_list, refuse

if TYPE_CHECKING:
    from ..protocol.extension import Extension, Negotiator

__all__ = ["check_response", "make_key", "request_headers"]


def make_key() -> str:
    """Return a new Sec-WebSocket-Key: 16 random bytes in base64 (RFC 6455 4.1, item 7)."""
    return b2a_base64(os.urandom(16), newline=False).decode()


def request_headers(
    *,
    host: str,
    key: str,
    subprotocols: Sequence[str] = (),
    extensions_offer: str | None = None,
    origin: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> HeaderList:
    """Return the headers of an opening handshake, as pairs in the order to send them (RFC 6455 4.1).

    Arguments:
        host: the server's name, with its port unless that is the default one.
        key: what `make_key` returned.
        subprotocols: those that the client speaks, best first, default none.
        extensions_offer: the value of the Sec-WebSocket-Extensions header, default none.
        origin: the Origin, default none: only browsers must send one.
        headers: further headers, as pairs. A Host or an Origin among them takes the place of ours.

    Raises:
        ValueError: a subprotocol is not a token or is given twice, a header cannot be sent (`check_headers`),
            or one of the further headers is one of the handshake's own.
        TypeError: `subprotocols` is a string.
    """
    further = list(headers)
    replaced = {name.lower() for name, _ in further}
    result = [] if "host" in replaced else [("Host", host)]
    result += [("Upgrade", "websocket"), ("Connection", "Upgrade")]
    result += [("Sec-WebSocket-Key", key), ("Sec-WebSocket-Version", "13")]
    if origin is not None and "origin" not in replaced:
        result.append(("Origin", origin))
    if subprotocols:
        check_list(subprotocols)
        result.append(("Sec-WebSocket-Protocol", grammar.build_tokens(subprotocols)))
    if extensions_offer:
        result.append(("Sec-WebSocket-Extensions", extensions_offer))
    for name in sorted(replaced):
        if name.startswith("sec-websocket-") or name in RESERVED:
            raise ValueError(f"the header {quoted(name)} is set by the handshake itself")
    result += further
    grammar.check_headers(result)
    return result


def check_response(
    status: int,
    headers: Iterable[tuple[str, str]],
    *,
    key: str,
    subprotocols: Collection[str] = (),
    extensions: Sequence[Negotiator] = (),
) -> Upgrade:
    """Return what a server's answer has agreed to, or raise an error that names the wrong header (RFC 6455 4.1).

    Arguments:
        status: the HTTP status of the answer.
        headers: its headers, as pairs; names may be repeated, and their case does not matter.
        key, subprotocols, extensions: what was sent and offered.

    Raises:
        HandshakeError: with status 0 and no headers; the caller sets them.
    """
    received = list(headers)
    values = grammar.join_headers(received)
    # Item 1: the caller handles any other status, as HTTP does.
    if status != 101:
        refuse(f"the server answers with HTTP status {status}, not 101", 0)
    # Items 2 to 4: the client MUST fail a response in which one of these headers is missing, or has another value.
    if values.get("upgrade", "").lower() != "websocket":
        _fail_header(values, "Upgrade", "is not websocket")
    if not has_token(values.get("connection", ""), "upgrade"):
        _fail_header(values, "Connection", "does not hold Upgrade")
    if values.get("sec-websocket-accept") != accept_key(key):
        _fail_header(values, "Sec-WebSocket-Accept", "does not answer the key sent")
    # Item 6: the same for "the use of a subprotocol that was not present in the client's handshake".
    protocol = values.get("sec-websocket-protocol")
    if protocol is not None and protocol not in tuple(subprotocols):
        _fail_header(values, "Sec-WebSocket-Protocol", "was not offered", option="subprotocols")
    return Upgrade(received, protocol, None, 13, _check_extensions(values, extensions))


def _check_extensions(values: dict[str, str], extensions: Sequence[Negotiator]) -> Extension | None:
    """Return the extension that the server's answer has agreed to, or None.

    RFC 6455 4.1, item 5: it may not indicate "the use of an extension that was not present in the client's handshake".
    """
    try:
        agreed = grammar.parse_extensions(values.get("sec-websocket-extensions", ""))
    except ValueError as error:
        refuse(f"the server's Sec-WebSocket-Extensions does not parse: {error}", 0)
    if not agreed:
        return None
    for extension in extensions:
        if [name for name, _ in agreed] == [extension.name]:
            return extension.check(agreed[0][1])
    _fail_header(values, "Sec-WebSocket-Extensions", "was not offered")


def _fail_header(values: dict[str, str], name: str, why: str, option: str | None = None) -> NoReturn:
    value = values.get(name.lower())
    found = f"sends no {name}" if value is None else f"sends the {name} {quoted(value)}, which {why}"
    refuse(f"the server {found}", 0, option)
