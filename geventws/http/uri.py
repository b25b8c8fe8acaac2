"""The URIs of servers and of proxies (RFC 6455 section 3). No I/O.

A URI is taken apart once, checked, and put into the form in which it is sent: the host in ASCII, the path and query
with what is not ASCII percent-encoded. What could end a line of the request is refused here.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from ..exceptions import InvalidURI
from ..text import quoted

SCHEMES = {"ws": False, "wss": True}
REDIRECTED = {"http": "ws", "https": "wss"}  # servers redirect to pages, and mean the same place

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f]")  # urlsplit would drop some of them without a word
_HOST = re.compile(r"[A-Za-z0-9._~%!$&'()*+,;=:-]+")  # RFC 3986 3.2.2, with the colons of an IPv6 address
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


class URI(NamedTuple):
    """The address of a server, ready to be sent.

    Attributes:
        secure: whether it is wss.
        host: the name or address, in ASCII and lower case; an IPv6 address without its brackets.
        port: the port, also where it is the default one.
        path: "/" at the least, percent-encoded.
        query: what follows the question mark, or None without one.
        credentials: name and password, or None.
    """

    secure: bool
    host: str
    port: int
    path: str
    query: str | None = None
    credentials: tuple[str, str] | None = None

    @property
    def resource(self) -> str:
        """Path and query, as the request line has them (RFC 6455 3)."""
        return self.path if self.query is None else f"{self.path}?{self.query}"

    @property
    def address(self) -> str:
        """Host and port, as a CONNECT has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def authority(self) -> str:
        """Host and port, as the Host header has them: without the default port (RFC 6455 4.1, item 4)."""
        return self.address.removesuffix(":443" if self.secure else ":80")

    @property
    def origin(self) -> tuple[bool, str, int]:
        """What has to be equal for two URIs to be of one origin (RFC 6454 4)."""
        return self.secure, self.host, self.port

    def __str__(self) -> str:
        """Return the URI as it may be logged: without credentials, and without the query, where tokens are."""
        return f"{'wss' if self.secure else 'ws'}://{self.authority}{self.path}"


class Proxy(NamedTuple):
    """An HTTP proxy: where it listens, and the credentials it wants, or None."""

    host: str
    port: int
    credentials: tuple[str, str] | None = None

    def __str__(self) -> str:
        """Return the proxy's URI without its credentials."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def parse_uri(text: str) -> URI:
    """Take a ws or wss URI apart.

    Raises:
        InvalidURI: it is none; the text says why, and shows no credentials.
    """
    parts = _split(text)
    if parts.scheme not in SCHEMES:
        raise InvalidURI(f"the scheme is {quoted(parts.scheme)}, not ws or wss")
    if "#" in text:
        raise InvalidURI("a WebSocket URI has no fragment; a # in it is written %23")
    secure = SCHEMES[parts.scheme]
    port = _read_port(parts, 443 if secure else 80)
    query = quote(parts.query, safe=_PRINTABLE) if parts.query else None
    return URI(secure, _read_host(parts), port, quote(parts.path, safe=_PRINTABLE) or "/", query, _read_user(parts))


def parse_proxy(text: str) -> Proxy:
    """Take the URI of an HTTP proxy apart; "host:port" is one, too.

    Raises:
        InvalidURI: it is none, or one of another kind.
    """
    parts = _split(text if "://" in text else f"http://{text}")
    if parts.scheme != "http":
        raise InvalidURI(f"only http:// proxies are supported, not {quoted(parts.scheme + '://')} (option: proxy)")
    return Proxy(_read_host(parts), _read_port(parts, 80), _read_user(parts))


def resolve(base: URI, location: str) -> URI:
    """Return where a redirect leads.

    Credentials are kept within the origin only: another server has no business with them.

    Args:
        base: the URI that was asked for.
        location: the Location header, absolute or relative; http and https stand for ws and wss.

    Raises:
        InvalidURI: it leads nowhere, or from wss to ws.
    """
    try:
        text = urljoin(f"http{str(base)[2:]}", location.partition("#")[0])  # urljoin does not know ws
    except ValueError as error:
        raise InvalidURI(f"it does not parse: {error}") from None
    scheme, separator, rest = text.partition("://")
    target = parse_uri(REDIRECTED.get(scheme.lower(), scheme) + separator + rest)
    if base.secure and not target.secure:
        raise InvalidURI("it leads from wss to ws, where all could be read")
    return target._replace(credentials=base.credentials if target.origin == base.origin else None)


def basic_auth(credentials: tuple[str, str]) -> str:
    """Return the value of an Authorization header for a name and a password (RFC 7617 2)."""
    return "Basic " + b2a_base64(":".join(credentials).encode(), newline=False).decode()


def _split(text: str) -> SplitResult:
    if _FORBIDDEN.search(text):
        raise InvalidURI("there is a space or a control character in the URI")
    try:
        parts = urlsplit(text)
        if "[" in parts.netloc:
            IPv6Address(parts.hostname or "")  # nothing else is in brackets, which Python 3.10 does not look at
        return parts
    except ValueError as error:
        raise InvalidURI(f"the URI does not parse: {error}") from None


def _read_host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    try:
        host = host.encode("idna").decode()  # what is ASCII stays as it is, but its labels are checked
    except UnicodeError:
        raise InvalidURI(f"the host {quoted(host)} is not a name") from None
    if _HOST.fullmatch(host) is None:
        raise InvalidURI(f"{quoted(host)} is not a host" if host else "the URI has no host")
    return host


def _read_port(parts: SplitResult, default: int) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise InvalidURI("the port is not a number from 1 to 65535")
    return port or default


def _read_user(parts: SplitResult) -> tuple[str, str] | None:
    if parts.username is None:
        return None
    return unquote(parts.username), unquote(parts.password or "")
