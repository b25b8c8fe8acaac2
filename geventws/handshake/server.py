"""The opening handshake, both sides, on dicts and lists (RFC 6455 section 4).

The server's side is `accept`: it goes through a WSGI environ and returns the `Upgrade` that answers it, or
raises the `HandshakeError` that refuses it. It runs once per connection, so each step first looks for what
browsers really send, and parses only what looks otherwise. WSGI servers join a repeated header with commas:
one that must stand alone is refused for its comma. A message shows text of the peer only through
`text.quoted`: it stays one line, of bounded length.

The client's side is `make_key`, `request_headers` and `check_response`.
"""

from __future__ import annotations

import os
from binascii import a2b_base64, b2a_base64
from collections.abc import Collection, Iterable, Sequence
from hashlib import sha1
from typing import NamedTuple, NoReturn, Protocol

from ..exceptions import HandshakeError
from ..http import headers as grammar
from ..http.headers import HeaderList, Parameters, has_token
from ..http.request import VERSION, find_fault
from ..text import quoted
from .origins import SAME_ORIGIN, Environ, OriginChecker, Origins, SameOrigin, check_origin, read_origin

__all__ = [
    "GUID",
    "SAME_ORIGIN",
    "VERSIONS",
    "Environ",
    "Extension",
    "OriginChecker",
    "Origins",
    "SameOrigin",
    "Upgrade",
    "accept",
    "accept_key",
    "check_answer",
    "check_further",
    "check_origin",
    "check_request",
    "check_response",
    "is_upgrade",
    "make_key",
    "read_origin",
    "request_headers",
]

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
VERSIONS = {"13": 13, "8": 8}  # on the wire they differ only in the name of the Origin header
BROWSER_OFFERS = {  # parsed once for all; those who read them leave them as they are
    offer: grammar.parse_extensions(offer)
    for offer in ("permessage-deflate", "permessage-deflate; client_max_window_bits")
}
RESERVED = ("upgrade", "connection", "content-length", "transfer-encoding")  # not the caller's to send
FIXED = (*RESERVED, "sec-websocket-accept", "sec-websocket-extensions")  # of a 101



class Extension(Protocol):
    """An extension as it is negotiated (RFC 6455 9): by `accept` on a server, by `check` on a client."""

    @property
    def name(self) -> str: ...

    def accept(self, offers: list[Parameters], /) -> tuple[Parameters, object] | None:
        """Return the parameters that answer one of the offers and the connection's extension, or None."""

    def check(self, params: Parameters, /) -> object:
        """Return the connection's extension; raise HandshakeError if the answer does not fit the offer."""


class Upgrade(NamedTuple):
    """A handshake that succeeded.

    Attributes:
        headers: the headers of the 101, as pairs: to be sent by a server, as received by a client.
        protocol: the subprotocol agreed on, or None.
        origin: the Origin that the client sent, or None.
        version: the version of the protocol, 13 or 8.
        extension: what the extension agreed on made for this connection, or None.
    """

    headers: HeaderList
    protocol: str | None
    origin: str | None
    version: int
    extension: object | None


def accept_key(key: str) -> str:
    """Return the Sec-WebSocket-Accept that answers a Sec-WebSocket-Key (RFC 6455 4.2.2, item 5.4)."""
    digest = sha1((key + GUID).encode(), usedforsecurity=False).digest()
    return b2a_base64(digest, newline=False).decode()


# ---- the server's side: RFC 6455 4.2


def is_upgrade(environ: Environ) -> bool:
    """Tell whether a request asks for a WebSocket, by its Upgrade and Connection headers alone."""
    upgrade: str = environ.get("HTTP_UPGRADE", "")
    connection: str = environ.get("HTTP_CONNECTION", "")
    return has_token(upgrade, "websocket") and has_token(connection, "upgrade")


def accept(
    environ: Environ,
    *,
    subprotocols: Collection[str] = (),
    origins: Origins = SAME_ORIGIN,
    extensions: Sequence[Extension] = (),
) -> Upgrade:
    """Return the answer to the opening handshake in `environ`, or raise the error that refuses it.

    It does no I/O and changes none of its arguments.

    Arguments:
        environ: the request, as WSGI (PEP 3333) has it.
        subprotocols: those that the server speaks, default none. The first of the client's list that is among
            them is agreed on; with none in common the connection is accepted without one.
        origins: which pages may connect. SAME_ORIGIN, the default: an Origin, when there is one, must be the
            request's own scheme and host. None: no check. A list or set: the origins that may, such as
            "https://a.example", and None if requests without an Origin (no browser) may. A function: it is
            called with the origin (or None) and `environ`, and tells whether to go on.
        extensions: those that the server speaks, best first, default none; the first to accept is used.

    Raises:
        HandshakeError: 405 for another method than GET, 426 for a version other than 13 and 8, 403 for an
            origin that may not connect, 400 for the rest. Its text says why, its `option` what decides.
        TypeError: `origins` or `subprotocols` is a string where a list of strings is meant.
    """
    check_request(environ)
    version = _read_version(environ)
    key = _read_key(environ)
    origin = read_origin(environ, version)
    check_origin(origin, environ, origins)
    headers = [("Upgrade", "websocket"), ("Connection", "Upgrade")]
    headers.append(("Sec-WebSocket-Accept", accept_key(key)))
    protocol = _choose_subprotocol(environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL"), subprotocols)
    if protocol is not None:
        headers.append(("Sec-WebSocket-Protocol", protocol))
    answer, extension = _choose_extension(environ.get("HTTP_SEC_WEBSOCKET_EXTENSIONS"), extensions)
    if answer is not None:
        headers.append(("Sec-WebSocket-Extensions", answer))
    return Upgrade(headers, protocol, origin, version, extension)


def check_further(headers: Iterable[tuple[str, str]]) -> None:
    """Check headers that are to be added to a 101.

    Raises:
        ValueError: one of them cannot be sent, or is for the handshake alone to set.
    """
    further = [pair for pair in headers if all(isinstance(text, str) for text in pair)]  # the server refuses the rest
    grammar.check_headers(further)
    for name, _ in further:
        lowered = name.lower()
        if lowered in RESERVED or lowered.startswith(("sec-websocket-", "websocket-")):  # those of draft 75, too
            raise ValueError(f"the header {quoted(name)} is the handshake's own")


def check_answer(own: HeaderList, headers: HeaderList) -> None:
    """Check the headers of a 101 once the application had its say.

    Raises:
        ValueError: one of them cannot be sent, or what makes it a 101, or tells of an extension, is not as it was.
    """
    grammar.check_headers(headers)
    if _pick(headers) != _pick(own):
        fixed = ", ".join(name for name, _ in _pick(own))
        raise ValueError(f"{fixed} have to stay as they are, and nothing may tell of a body")


def _pick(headers: HeaderList) -> HeaderList:
    return [pair for pair in headers if pair[0].lower() in FIXED]


def check_request(environ: Environ) -> None:
    """Check what a request must be before it is looked at as a WebSocket's (RFC 6455 4.2.1, items 1 to 4)."""
    method = environ.get("REQUEST_METHOD")
    if method != "GET":
        raise HandshakeError(405, f"the method is {quoted(str(method))}, not GET", [("Allow", "GET")])
    protocol = environ.get("SERVER_PROTOCOL", "")
    if protocol != "HTTP/1.1" and (VERSION.fullmatch(protocol) is None or protocol < "HTTP/1.1"):
        _refuse(f"the request is {quoted(protocol)}, not HTTP/1.1 (in nginx: proxy_http_version 1.1)")
    if not is_upgrade(environ):
        found = f"{_show(environ, 'Upgrade')} and {_show(environ, 'Connection')}"
        _refuse(f"the request asks for no WebSocket: there is {found} (a proxy has to pass both on)")
    if (fault := find_fault(environ)) is not None:
        _refuse(fault)
    # Nobody would read a body: its bytes would be taken for frames, or for a second request.
    if environ.get("CONTENT_LENGTH", "") not in ("", "0"):
        _refuse(f"the request has a body: Content-Length {quoted(environ['CONTENT_LENGTH'])}")
    if "HTTP_TRANSFER_ENCODING" in environ:
        _refuse(f"the request has a body: {_show(environ, 'Transfer-Encoding')}")


def _read_version(environ: Environ) -> int:
    """Return the version asked for, or refuse with those spoken here (RFC 6455 4.2.1, item 6, and 4.4)."""
    version = environ.get("HTTP_SEC_WEBSOCKET_VERSION")
    if version in VERSIONS:
        return VERSIONS[version]
    why, option = f"there is {_show(environ, 'Sec-WebSocket-Version')}, not 13 or 8", None
    if version is None:
        why += " (drafts 75 and 76 send none: support_legacy_versions)"
        option = "support_legacy_versions"
    # RFC 7231 6.5.15: a 426 names the protocol to upgrade to.
    raise HandshakeError(426, why, [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13, 8")], option)


def _read_key(environ: Environ) -> str:
    """Return the key, which is 16 bytes in base64 (RFC 6455 4.2.1, item 5)."""
    key: str | None = environ.get("HTTP_SEC_WEBSOCKET_KEY")
    if key is None:
        _refuse("there is no Sec-WebSocket-Key")
    if "," in key:
        _refuse(f"there is more than one Sec-WebSocket-Key: {quoted(key)}")
    if not _is_key(key):
        _refuse(f"the Sec-WebSocket-Key {quoted(key)} is not 16 bytes in base64")
    return key


def _is_key(key: str) -> bool:
    """Tell whether `key` is base64 of 16 bytes.

    `a2b_base64` skips what is not base64. Of 24 characters, the last two of them pads, it has to use all the
    other 22 to reach 16 bytes, so the two tests together let nothing else pass.
    """
    try:
        return key[22:] == "==" and len(a2b_base64(key)) == 16
    except ValueError:
        return False


def _choose_subprotocol(header: str | None, subprotocols: Collection[str]) -> str | None:
    """Return the first of the client's subprotocols that the server speaks (RFC 6455 4.2.2, item 5.5)."""
    if header is None:
        return None
    _check_list(subprotocols)
    try:
        offered = grammar.parse_tokens(header)
    except ValueError as error:
        _refuse(f"Sec-WebSocket-Protocol does not parse: {error}")
    for protocol in offered:
        if protocol in subprotocols:
            return protocol
    return None


def _choose_extension(header: str | None, extensions: Sequence[Extension]) -> tuple[str | None, object]:
    """Return the answer to an extensions header and what the extension made (RFC 6455 9.1).

    A header that does not parse counts as none: what it asks for is optional, a connection is not.
    """
    if header is None or not extensions:
        return None, None
    try:
        offered = BROWSER_OFFERS.get(header) or grammar.parse_extensions(header)
    except ValueError:
        return None, None
    for extension in extensions:
        offers = [parameters for name, parameters in offered if name.lower() == extension.name]
        agreed = extension.accept(offers) if offers else None
        if agreed is not None:
            return grammar.build_extensions([(extension.name, agreed[0])]), agreed[1]
    return None, None


def _show(environ: Environ, name: str) -> str:
    value = environ.get("HTTP_" + name.upper().replace("-", "_"))
    return f"no {name}" if value is None else f"{name} {quoted(value)}"


def _refuse(why: str, status: int = 400, option: str | None = None) -> NoReturn:
    raise HandshakeError(status, why, option=option)


def _check_list(subprotocols: Collection[str]) -> None:
    """Refuse a string, of which `in` would ask for a substring and iteration give letters."""
    if isinstance(subprotocols, str):
        raise TypeError(f"subprotocols takes a list of names, not the text {subprotocols!r}")


# ---- the client's side: RFC 6455 4.1


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
        ValueError: a subprotocol is not a token or is there twice, a header cannot be sent (`check_headers`),
            or one of the further headers is one that makes the handshake.
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
        _check_list(subprotocols)
        result.append(("Sec-WebSocket-Protocol", grammar.build_tokens(subprotocols)))
    if extensions_offer:
        result.append(("Sec-WebSocket-Extensions", extensions_offer))
    for name in sorted(replaced):
        if name.startswith("sec-websocket-") or name in RESERVED:
            raise ValueError(f"the header {quoted(name)} is the handshake's own")
    result += further
    grammar.check_headers(result)
    return result


def check_response(
    status: int,
    headers: Iterable[tuple[str, str]],
    *,
    key: str,
    subprotocols: Collection[str] = (),
    extensions: Sequence[Extension] = (),
) -> Upgrade:
    """Return what a server's answer agrees on, or raise the error that names the wrong header (RFC 6455 4.1).

    Arguments:
        status: the HTTP status of the answer.
        headers: its headers, as pairs; names may be repeated, and their case does not matter.
        key, subprotocols, extensions: what was sent and offered.

    Raises:
        HandshakeError: with the status 0 and without headers, which are the caller's to set.
    """
    received = list(headers)
    values = grammar.join_headers(received)
    if status != 101:
        _refuse(f"the server answers with HTTP status {status}, not 101", 0)
    if values.get("upgrade", "").lower() != "websocket":
        _fail_header(values, "Upgrade", "is not websocket")
    if not has_token(values.get("connection", ""), "upgrade"):
        _fail_header(values, "Connection", "does not hold Upgrade")
    if values.get("sec-websocket-accept") != accept_key(key):
        _fail_header(values, "Sec-WebSocket-Accept", "does not answer the key sent")
    protocol = values.get("sec-websocket-protocol")
    if protocol is not None and protocol not in tuple(subprotocols):
        _fail_header(values, "Sec-WebSocket-Protocol", "was not offered", option="subprotocols")
    return Upgrade(received, protocol, None, 13, _check_extensions(values, extensions))


def _check_extensions(values: dict[str, str], extensions: Sequence[Extension]) -> object | None:
    """Return what the extension in the answer makes for this connection, or None."""
    try:
        agreed = grammar.parse_extensions(values.get("sec-websocket-extensions", ""))
    except ValueError as error:
        _refuse(f"the server's Sec-WebSocket-Extensions does not parse: {error}", 0)
    if not agreed:
        return None
    for extension in extensions:
        if [name for name, _ in agreed] == [extension.name]:
            return extension.check(agreed[0][1])
    _fail_header(values, "Sec-WebSocket-Extensions", "was not offered")


def _fail_header(values: dict[str, str], name: str, why: str, option: str | None = None) -> NoReturn:
    value = values.get(name.lower())
    found = f"sends no {name}" if value is None else f"sends the {name} {quoted(value)}, which {why}"
    _refuse(f"the server {found}", 0, option)
