"""The server's side of the opening handshake, on a WSGI environ (RFC 6455 section 4.2). No I/O.

`accept` checks the environ and returns the `Upgrade` that answers it, or raises the `HandshakeError` that refuses it.
It runs once per connection, so each step first compares with what browsers really send, and parses only if that
differs. WSGI servers join repeated headers with commas: a header that must not be repeated is refused if it has a
comma. Error messages show the peer's text only through `text.quoted`, so that they stay one line of bounded length.
"""

from __future__ import annotations

import functools
from binascii import a2b_base64
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from ..exceptions import HandshakeError
from ..http import headers as grammar
from ..http.headers import HeaderList, Parameters, has_token
from ..http.request import VERSION, find_fault
from ..text import quoted
from .origins import SAME_ORIGIN, Environ, Origins, check_origin, read_origin
from .upgrade import RESERVED, Upgrade, accept_key, check_list, refuse

if TYPE_CHECKING:
    from ..protocol.extension import Extension, Negotiator

__all__ = [
    "VERSIONS", "accept", "check_answer", "check_further", "check_request", "is_upgrade",
]  # fmt: skip

VERSIONS = {"13": 13, "8": 8}  # on the wire they differ only in the name of the Origin header
FIXED = (*RESERVED, "sec-websocket-accept", "sec-websocket-extensions")  # of a 101


def is_upgrade(environ: Environ) -> bool:
    """Return whether a request asks for a WebSocket, judged by its Upgrade and Connection headers alone."""
    upgrade: str = environ.get("HTTP_UPGRADE", "")
    connection: str = environ.get("HTTP_CONNECTION", "")
    return has_token(upgrade, "websocket") and has_token(connection, "upgrade")


def accept(
    environ: Environ,
    *,
    subprotocols: Collection[str] = (),
    origins: Origins = SAME_ORIGIN,
    extensions: Sequence[Negotiator] = (),
) -> Upgrade:
    """Return the answer to the opening handshake in `environ`, or raise the error that refuses it.

    It does no I/O and changes none of its arguments.

    Arguments:
        environ: the WSGI environ of the request (PEP 3333).
        subprotocols: those that the server speaks; none by default. The first one on the client's list that is among
            them is chosen; if there is none, the connection is accepted without one.
        origins: the pages that may connect. SAME_ORIGIN, the default: an Origin, if there is one, must be the request's
            own scheme and host. None: no check. A list or set: the allowed origins, such as "https://a.example", and
            None to allow requests without an Origin (they are not from browsers). A function: called with the origin
            (or None) and `environ`, it returns whether to accept.
        extensions: those that the server speaks, best first; none by default. The first one that accepts is used.

    Raises:
        HandshakeError: 405 for another method than GET, 426 for a version other than 13 and 8, 403 for an
            origin that may not connect, 400 for the rest. Its text says why, its `option` which option decides.
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
    further = [pair for pair in headers if all(isinstance(text, str) for text in pair)]  # the server refuses others
    grammar.check_headers(further)
    for name, _ in further:
        lowered = name.lower()
        if lowered in RESERVED or lowered.startswith(("sec-websocket-", "websocket-")):  # those of draft 75, too
            raise ValueError(f"the header {quoted(name)} is set by the handshake itself")


def check_answer(own: HeaderList, headers: HeaderList) -> None:
    """Check the headers of a 101 after the application has seen them.

    Raises:
        ValueError: one of them cannot be sent, or one of the handshake's own, or that of the extensions, was changed.
    """
    grammar.check_headers(headers)
    if _pick(headers) != _pick(own):
        fixed = ", ".join(name for name, _ in _pick(own))
        raise ValueError(f"{fixed} must not be changed, and no header may announce a body")


def _pick(headers: HeaderList) -> HeaderList:
    return [pair for pair in headers if pair[0].lower() in FIXED]


def check_request(environ: Environ) -> None:
    """Check that a request is an opening handshake at all (RFC 6455 4.2.1, items 1 to 4)."""
    # Item 1: "An HTTP/1.1 or higher GET request".
    method = environ.get("REQUEST_METHOD")
    if method != "GET":
        raise HandshakeError(405, f"the method is {quoted(str(method))}, not GET", [("Allow", "GET")])
    protocol = environ.get("SERVER_PROTOCOL", "")
    if protocol != "HTTP/1.1" and (VERSION.fullmatch(protocol) is None or protocol < "HTTP/1.1"):
        refuse(f"the request is {quoted(protocol)}, not HTTP/1.1 (in nginx: proxy_http_version 1.1)")
    # Items 3 and 4: Upgrade with the value "websocket", and Connection "that includes the token "Upgrade"".
    if not is_upgrade(environ):
        found = f"{_show(environ, 'Upgrade')} and {_show(environ, 'Connection')}"
        refuse(f"the request asks for no WebSocket: there is {found} (a proxy has to pass both on)")
    # Item 2: "A |Host| header field containing the server's authority."
    if (fault := find_fault(environ)) is not None:
        refuse(fault)
    # Nobody would read a body: its bytes would be taken for frames, or for a second request.
    if environ.get("CONTENT_LENGTH", "") not in ("", "0"):
        refuse(f"the request has a body: Content-Length {quoted(environ['CONTENT_LENGTH'])}")
    if "HTTP_TRANSFER_ENCODING" in environ:
        refuse(f"the request has a body: {_show(environ, 'Transfer-Encoding')}")


def _read_version(environ: Environ) -> int:
    """Return the requested version, or refuse with a list of those that are spoken here.

    RFC 6455 4.2.2, item 4: "the server MUST abort the WebSocket handshake [...] and instead send an appropriate HTTP
    error code (such as 426 Upgrade Required) and a |Sec-WebSocket-Version| header field".
    """
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
    """Return the key: "base64-encoded [...], when decoded, is 16 bytes in length" (RFC 6455 4.2.1, item 5)."""
    key: str | None = environ.get("HTTP_SEC_WEBSOCKET_KEY")
    if key is None:
        refuse("there is no Sec-WebSocket-Key")
    if "," in key:
        refuse(f"there is more than one Sec-WebSocket-Key: {quoted(key)}")
    if not _is_key(key):
        refuse(f"the Sec-WebSocket-Key {quoted(key)} is not 16 bytes in base64")
    return key


def _is_key(key: str) -> bool:
    """Tell whether `key` is base64 of 16 bytes.

    `a2b_base64` skips characters that are not base64. A key has 24, of which the last two are padding. All the other 22
    are needed for 16 bytes, so that none of them can be skipped.
    """
    try:
        return key[22:] == "==" and len(a2b_base64(key)) == 16
    except ValueError:
        return False


def _choose_subprotocol(header: str | None, subprotocols: Collection[str]) -> str | None:
    """Return the first of the client's subprotocols that the server speaks (RFC 6455 4.2.2, item 5.5)."""
    if header is None:
        return None
    check_list(subprotocols)
    try:
        offered = grammar.parse_tokens(header)
    except ValueError as error:
        refuse(f"Sec-WebSocket-Protocol does not parse: {error}")
    for protocol in offered:
        if protocol in subprotocols:
            return protocol
    return None


def _choose_extension(header: str | None, extensions: Sequence[Negotiator]) -> tuple[str | None, Extension | None]:
    """Return the answer to an extensions header and what was agreed on (RFC 6455 9.1).

    A header that does not parse is ignored, as extensions are optional.
    """
    if header is None or not extensions:
        return None, None
    try:
        offered = parse_offers(header)
    except ValueError:
        return None, None
    for extension in extensions:
        offers = [parameters for name, parameters in offered if name.lower() == extension.name]
        agreed = extension.accept(offers) if offers else None
        if agreed is not None:
            return grammar.build_extensions([(extension.name, agreed[0])]), agreed[1]
    return None, None


@functools.lru_cache(maxsize=16)
def parse_offers(header: str) -> list[tuple[str, Parameters]]:
    """Return the extensions that a client offers. The result is cached, as most headers are alike: do not change it."""
    return grammar.parse_extensions(header)


def _show(environ: Environ, name: str) -> str:
    value = environ.get("HTTP_" + name.upper().replace("-", "_"))
    return f"no {name}" if value is None else f"{name} {quoted(value)}"
