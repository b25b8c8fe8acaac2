"""The URIs of servers and of proxies (RFC 6455 section 3). No I/O.

A URI is split once, checked, and put into the form in which it is sent: the host in ASCII, path and query
percent-encoded where they are not ASCII. Characters that could end a line of the request are refused here, and so is an
authority that two readers could take for different hosts.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from typing import NamedTuple
from urllib.parse import quote, unquote, urljoin

from ..exceptions import InvalidURI
from ..text import quoted
from .names import read_address, to_ascii, without_zone

SCHEMES = {"ws": False, "wss": True}
REDIRECTED = {"http": "ws", "https": "wss"}  # servers redirect to http, and mean the same place
PROXIES = {"http": 80, "socks5": 1080, "socks5h": 1080}  # kinds of proxies, and the ports where they listen
MAX_SOCKS = 255  # bytes of a name or password (RFC 1929 2)

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f]")  # urljoin would drop some of them silently
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
_URI = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#.*)?")  # RFC 3986, B
_AUTHORITY = re.compile(r"(?:([^][]*)@)?(?:\[([^][]*)]|([^][:]*))(?::([^][:]*))?")  # nothing beside the brackets


class URI(NamedTuple):
    """The address of a server, ready to be sent.

    Attributes:
        secure: whether it is wss.
        host: the name or address, in ASCII and lower case; an IPv6 address without its brackets, but with its zone.
        port: the port, even if it is the default one.
        path: "/" at least, percent-encoded.
        query: the part after the question mark, or None without one.
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
        """Host and port, as in a CONNECT request: without the zone of an address (RFC 6874 1)."""
        return f"{_bracketed(without_zone(self.host))}:{self.port}"

    @property
    def authority(self) -> str:
        """Host and port, as in the Host header: without the default port (RFC 6455 4.1, item 4)."""
        return self.address.removesuffix(":443" if self.secure else ":80")

    @property
    def origin(self) -> tuple[bool, str, int]:
        """The parts that are equal if two URIs have the same origin (RFC 6454 4)."""
        return self.secure, self.host, self.port

    def __str__(self) -> str:
        """Return the URI in a form for logs: without credentials, and without the query, which may have tokens."""
        zone = self.host.partition("%")[2]
        authority = self.authority.replace("]", f"%25{zone}]") if zone else self.authority
        return f"{'wss' if self.secure else 'ws'}://{authority}{self.path}"


class Proxy(NamedTuple):
    """A proxy: where it listens, the credentials it wants, or None, and its kind, a key of `PROXIES`."""

    host: str
    port: int
    credentials: tuple[str, str] | None = None
    scheme: str = "http"

    def __str__(self) -> str:
        """Return the proxy's URI without its credentials."""
        return f"{self.scheme}://{_bracketed(self.host.replace('%', '%25'))}:{self.port}"


def parse_uri(text: str) -> URI:
    """Read a ws or wss URI.

    Raises:
        InvalidURI: it is not such a URI; the text says why, and shows no credentials.
    """
    scheme, authority, *rest = _split(text)
    if scheme not in SCHEMES:
        raise InvalidURI(f"the scheme is {quoted(scheme)}, not ws or wss")
    if "#" in text:
        raise InvalidURI("a WebSocket URI has no fragment; a # in it is written %23")
    secure = SCHEMES[scheme]
    credentials, host, port = _split_authority(authority, 443 if secure else 80)
    try:
        # Bytes of a Location that are not UTF-8 are sent as they came.
        path, query = (quote(part, safe=_PRINTABLE, errors="surrogateescape") for part in rest)
    except UnicodeError:
        raise InvalidURI("the URI has half of a surrogate pair, which is not a character") from None
    return URI(secure, host, port, path or "/", query or None, credentials)


def parse_proxy(text: str) -> Proxy:
    """Read the URI of a proxy; "host:port" is also accepted, for HTTP.

    Raises:
        InvalidURI: it is not such a URI, or the kind of proxy is not supported.
    """
    scheme, authority, _, _ = _split(text if "://" in text else f"http://{text}")
    if scheme not in PROXIES:
        kinds = "http://, socks5:// and socks5h:// proxies"
        raise InvalidURI(f"only {kinds} are supported, not {quoted(scheme + '://')} (option: proxy)")
    credentials, host, port = _split_authority(authority, PROXIES[scheme])
    if scheme != "http" and credentials is not None:
        if not all(part.isascii() and 0 < len(part) <= MAX_SOCKS for part in credentials):
            raise InvalidURI(f"name and password for a SOCKS5 proxy are 1 to {MAX_SOCKS} characters of ASCII each")
    return Proxy(host, port, credentials, scheme)


def resolve(base: URI, location: str) -> URI:
    """Return where a redirect leads.

    Credentials are kept only within the same origin: other servers must not get them.

    Args:
        base: the URI of the request.
        location: the Location header as it was received, each character a byte: absolute or relative; http and https
            mean ws and wss.

    Raises:
        InvalidURI: it is not such a URI, or it leads from wss to ws.
    """
    _check_characters(location)
    location = location.encode("latin-1").decode("utf-8", "surrogateescape")  # servers may send plain UTF-8
    try:
        text = urljoin(f"http{str(base)[2:]}", location.partition("#")[0])  # urljoin does not know ws
    except ValueError as error:
        raise InvalidURI(f"it does not parse: {error}") from None
    scheme, separator, rest = text.partition("://")
    target = parse_uri(REDIRECTED.get(scheme.lower(), scheme) + separator + rest)
    if base.secure and not target.secure:
        raise InvalidURI("it leads from wss to ws, where all could be read")
    if target.host == without_zone(base.host):
        target = target._replace(host=base.host)  # the server does not know the zone, which was not sent
    return target._replace(credentials=base.credentials if target.origin == base.origin else None)


def basic_auth(credentials: tuple[str, str]) -> str:
    """Return the value of an Authorization header for a name and a password (RFC 7617 2)."""
    return "Basic " + b2a_base64(":".join(credentials).encode(), newline=False).decode()


def _split(text: str) -> tuple[str, str, str, str]:
    """Return scheme, authority, path and query; a missing part is ""."""
    _check_characters(text)
    match = _URI.fullmatch(text)
    scheme, authority, path, query = match.groups("") if match else ("", "", "", "")
    return scheme.lower(), authority, path, query


def _split_authority(authority: str, default: int) -> tuple[tuple[str, str] | None, str, int]:
    """Return credentials, host and port."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None or "\\" in authority:  # browsers take a backslash for a slash
        raise InvalidURI("the part between // and the path does not parse")
    user, address, name, port = match.groups()
    if not (address or name):
        raise InvalidURI("the URI has no host")
    try:
        host = read_address(address) if address else to_ascii(name)
    except ValueError as error:
        raise InvalidURI(f"the address does not parse: {error}" if address else str(error)) from None
    name, _, password = (user or "").partition(":")
    credentials = None if user is None else (unquote(name), unquote(password))
    return credentials, host, _read_port(port) if port else default


def _read_port(digits: str) -> int:
    port = int(digits) if re.fullmatch("[0-9]{1,5}", digits) else 0
    if not 0 < port < 65536:
        raise InvalidURI("the port is not a number from 1 to 65535")
    return port


def _check_characters(text: str) -> None:
    if _FORBIDDEN.search(text):
        raise InvalidURI("there is a space or a control character in the URI")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
