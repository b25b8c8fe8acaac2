"""`connect`: a URI in, an open WebSocket out.

An opening is a few HTTP exchanges under one deadline: perhaps with a proxy, with each server that redirects, and the
one that ends in a 101. http/uri.py reads the URI, dial.py reaches the server, handshake/ makes the request and checks
the answer, and websocket.py has the result: a WebSocket like a server's, but one that closes its own socket.
"""

from __future__ import annotations

import logging
import os
import ssl as _ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, overload

import gevent

from ..engine.connection import Connection, Handshake
from ..engine.loop import forks
from ..engine.loop.deadlines import FairTimeout
from ..engine.options import ConnectionOptions, Timing, check_limits, complete, make_timing, takes
from ..exceptions import HandshakeError, InvalidStatus, InvalidURI
from ..handshake.client import check_response, make_key, request_headers
from ..handshake.upgrade import Upgrade
from ..http.headers import HeaderList, build_extensions, join_headers
from ..http.names import certified_name, to_ascii
from ..http.response import Response
from ..http.uri import URI, basic_auth, parse_uri, resolve
from ..protocol.connection import WebSocketProtocol
from ..protocol.extension import Negotiator
from ..text import quoted
from .dial import adopt, connect_tcp, connect_unix, exchange, read_body, start_tls
from .options import CONNECT_DEFAULTS, ConnectOptions, OpeningOptions, WholeOptions
from .proxies import connect_proxy, find_proxy, read_proxy
from .websocket import ClientStreamingWebSocket, ClientWebSocket

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["connect"]

logger: logging.Logger = logging.getLogger("geventws")

REDIRECTS = (301, 302, 303, 307, 308)
IMPERSONAL = ("accept", "accept-language", "origin", "user-agent")
"""Headers that are also sent to another origin after a redirect; any other may have a secret."""


class Opened(NamedTuple):
    """The result of an opening.

    Attributes:
        socket: connected, with the handshake done.
        upgrade: the result of the handshake.
        trailing_data: bytes that followed the 101.
    """

    socket: Any
    upgrade: Upgrade
    trailing_data: bytes


@overload
def connect(
    uri: str, *, streaming: Literal[True], **options: Unpack[WholeOptions]
) -> ClientStreamingWebSocket: ...


@overload
def connect(uri: str, **options: Unpack[ConnectOptions]) -> ClientWebSocket: ...


@takes(CONNECT_DEFAULTS, OpeningOptions, ConnectionOptions)
def connect(uri: str, **options: Unpack[ConnectOptions]) -> ClientWebSocket:
    """Open a connection to a WebSocket server.

    Blocks this greenlet only, whether or not the program is monkey-patched. Close the connection yourself, or use
    `with`; its socket is closed with it, also when the server ends it::

        with geventws.connect("wss://example.org/chat") as ws:
            ws.send("hello")
            print(ws.wait())

    Args:
        uri: ws://host[:port]/path?query, or wss:// for TLS. Name and password, as in wss://name:password@host/, are
            sent as basic authentication.
        options: see `OpeningOptions` and `ConnectionOptions`.

    Returns:
        The connection. Its `response_headers` are those of the server's 101. With `streaming=True` it is a
        `StreamingWebSocket`, too.

    Raises:
        InvalidURI: `uri`, or the proxy's, is not valid, or needs a package that is not installed.
        InvalidStatus: the server answered, but not with 101; the error has its status, headers and body. A `ProxyError`
            if it was the proxy.
        HandshakeError: the answer is not a valid WebSocket handshake, or it is a redirect that is not followed. The
            error has its status, headers and body, too; if the answer is not HTTP, or with wss not TLS, the status is 0
            and the others are empty.
        TimeoutError: opening took longer than `open_timeout`.
        ssl.SSLCertVerificationError: the server's certificate is not trusted, or is for another name.
        OSError: the server or its proxy cannot be reached, or hung up.
        ValueError: an option, such as a header, cannot be sent, or its value is out of range.
        TypeError: an option is unknown; `subprotocols` is a string; `max_message_size`, one of the timeouts of an open
            connection or `compression` has a wrong type.
    """
    chosen: Any = complete(options, CONNECT_DEFAULTS, "connect")
    check_limits(chosen["max_message_size"], chosen["compression"])
    timing = make_timing(*(chosen[name] for name in Timing._fields))
    opening = Opening.of(uri, chosen)
    opened = opening.run(chosen["max_redirects"], chosen["open_timeout"])
    protocol = WebSocketProtocol(
        client=True,
        max_message_size=chosen["max_message_size"],
        extension=opened.upgrade.extension,
        decode_text=chosen["decode_text"],
        streaming=chosen["streaming"],
    )
    kind = ClientStreamingWebSocket if chosen["streaming"] else ClientWebSocket
    connection = make_connection(opening, opened, protocol, timing)
    ws = kind(connection, opening.uri.path, opened.upgrade.headers)
    connection.open()
    forks.release(opened.socket)
    return ws


@dataclass
class Opening:
    """One call of `connect`, up to the 101; `uri` and `headers` follow the redirects."""

    uri: URI
    headers: HeaderList
    subprotocols: Sequence[str]
    origin: str | None
    compression: Negotiator | None
    ssl: _ssl.SSLContext | None
    server_hostname: str | None
    proxy: str | bool | None
    unix_path: str | os.PathLike[str] | None
    socket: Any
    deadline: gevent.Timeout | None = field(default=None, init=False)
    redirects: int = field(default=0, init=False)  # how many were followed

    @classmethod
    def of(cls, uri: str, options: dict[str, Any]) -> Opening:
        """Return the opening for a URI and all options of `connect`; ValueError if they are not valid."""
        given = options["headers"]
        pairs = list(given.items() if isinstance(given, dict) else given)
        compression = None if options["streaming"] else options["compression"]
        own = ("ssl", "server_hostname", "proxy", "unix_path", "socket")
        chosen = (options[name] for name in own)
        opening = cls(parse_uri(uri), pairs, options["subprotocols"], options["origin"], compression, *chosen)
        opening.check()
        return opening

    def check(self) -> None:
        """Raise ValueError for options that contradict each other, or are not valid."""
        if self.ssl is not None and not self.uri.secure:
            raise ValueError("ssl is for wss:// URIs")
        if self.socket is not None and self.unix_path is not None:
            raise ValueError("socket and unix_path exclude each other")
        if self.server_hostname is not None and ":" not in self.server_hostname:
            self.server_hostname = to_ascii(self.server_hostname)
        if [name.lower() for name, _ in self.headers].count("host") > 1:
            raise ValueError("a request has one Host header, not two (RFC 9112 3.2)")

    def run(self, max_redirects: int, open_timeout: float | None) -> Opened:
        """Return the connected socket, the result of the handshake, and the bytes that followed the 101."""
        asked = self.uri
        with FairTimeout(open_timeout) as self.deadline:
            try:
                while True:
                    opened = self._attempt(max_redirects)
                    if opened is not None:
                        return opened
            except gevent.Timeout as expired:
                if expired is not self.deadline:
                    raise
                late = f"{asked} did not open within {open_timeout:g} s (option: open_timeout)"
                raise TimeoutError(late) from None

    def _attempt(self, max_redirects: int) -> Opened | None:
        """Ask one server. Return None if it redirects; `uri` is the next one then."""
        key = make_key()
        request = self._request(key)
        socket = self._dial()
        try:
            hint = "" if self.uri.secure else "; a server for wss:// only does that"
            response, early = exchange(socket, request, hint=hint)
            try:
                upgrade = self._take(response, key, max_redirects)
            except (HandshakeError, InvalidStatus) as error:
                error.status, error.headers = response.status, response.headers
                error.body = read_body(socket, response, early, self.deadline)
                raise
        except BaseException:
            socket.close()
            raise
        if upgrade is not None:
            return Opened(socket, upgrade, early)
        socket.close()
        return None

    def _take(self, response: Response, key: str, max_redirects: int) -> Upgrade | None:
        """Return the result of a 101; or follow a redirect, and return None. The caller completes the errors."""
        if response.status == 101:
            return self._check_response(response, key)
        location = join_headers(response.headers).get("location")
        if max_redirects <= 0 or response.status not in REDIRECTS or location is None:
            raise InvalidStatus(response.status, response.headers, b"")
        self._redirect(response.status, location)
        if self.redirects >= max_redirects:
            why = f"more than {max_redirects} redirects, the last to {self.uri}"
            raise HandshakeError(0, why, option="max_redirects")
        self.redirects += 1
        return None

    # Where to

    def _dial(self) -> Any:
        """Return a socket to the server, in TLS for wss."""
        if self.socket is not None:
            socket, redial = adopt(self.socket), None
        else:
            socket, redial = self._connect(), self._connect
        if not self.uri.secure:
            return socket
        hostname = certified_name(self.server_hostname or self.uri.host)
        try:
            return start_tls(socket, self.ssl, hostname, redial)
        except gevent.Timeout as expired:
            if self.deadline is None or expired is not self.deadline:
                raise
            late = f"{self.uri} did not open within {self.deadline.seconds:g} s (option: open_timeout)"
            why = "the TLS handshake did not end; with a server that does not speak TLS, it never does"
            raise TimeoutError(f"{late}: {why}") from None

    def _connect(self) -> Any:
        """Return a new socket that is connected to the server, perhaps through a proxy."""
        if self.unix_path is not None:
            return connect_unix(self.unix_path)
        proxy = find_proxy(self.uri) if self.proxy is True else None
        if isinstance(self.proxy, str):
            proxy = read_proxy(self.proxy)
        if proxy is not None:
            return connect_proxy(proxy, self.uri, self.deadline)
        return connect_tcp(self.uri.host, self.uri.port)

    def _redirect(self, status: int, location: str) -> None:
        """Follow a redirect, without headers that are only for the first server (RFC 9110 15.4)."""
        try:
            target = resolve(self.uri, location)
        except InvalidURI as error:
            _stay(status, location, str(error))
        moved = target.origin != self.uri.origin
        if self.socket is not None or (moved and self.unix_path is not None):
            _stay(status, location, "it leads away from the socket given")
        if moved:
            self.headers = [(name, value) for name, value in self.headers if name.lower() in IMPERSONAL]
            self.server_hostname = None
        self.uri = target

    # The request

    def _request(self, key: str) -> bytes:
        """Return the opening request (RFC 6455 4.1)."""
        given = {name.lower() for name, _ in self.headers}
        further = list(self.headers)
        if self.uri.credentials is not None and "authorization" not in given:
            further.append(("Authorization", basic_auth(self.uri.credentials)))
        if "user-agent" not in given:
            further.append(("User-Agent", "geventws"))
        headers = request_headers(
            host=self.uri.authority,
            key=key,
            subprotocols=self.subprotocols,
            extensions_offer=self._offer(),
            origin=self.origin,
            headers=further,
        )
        lines = [f"GET {self.uri.resource} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def _offer(self) -> str | None:
        compression = self.compression
        return None if compression is None else build_extensions([(compression.name, compression.offer())])

    def _check_response(self, response: Response, key: str) -> Upgrade:
        if response.version != "HTTP/1.1":
            raise HandshakeError(0, f"the server answers in {response.version}, not HTTP/1.1")
        extensions = () if self.compression is None else (self.compression,)
        upgrade = check_response(
            response.status, response.headers, key=key, subprotocols=self.subprotocols, extensions=extensions
        )
        return upgrade._replace(origin=self.origin)


def make_connection(opening: Opening, opened: Opened, protocol: WebSocketProtocol, timing: Timing) -> Connection:
    """Return the connection of a client, not yet open. It owns its socket."""
    opened.socket.settimeout(0.0)
    _headers, subprotocol, origin, version, _extension = opened.upgrade
    handshake = Handshake(str(opening.uri), "", subprotocol, origin, version, opened.trailing_data)
    return Connection(opened.socket, protocol, timing, handshake, owned_socket=opened.socket)


def _stay(status: int, location: str, why: str) -> NoReturn:
    raise HandshakeError(0, f"the redirect of status {status} to {quoted(location)} is not followed: {why}")
