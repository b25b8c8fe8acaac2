"""Connections to Redis or Valkey: redis-py's, which handle URLs, TLS and passwords, over gevent's sockets.

Without monkey patching, redis-py blocks its whole thread: it makes blocking sockets, and waits in `select`. So this
module overrides `_connect`, and the bus itself reads from, and writes to, the socket of an open connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import gevent.ssl as gssl
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection, parse_url
from redis.exceptions import ResponseError

from ...client.dial import connect_tcp, connect_unix
from ...engine.loop import forks

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMES = {"redis": "redis", "rediss": "rediss", "unix": "unix", "valkey": "redis", "valkeys": "rediss"}
"""The schemes of URLs, and redis-py's names for them."""

TLS: dict[str, Any] = {"ssl_check_hostname": True}
"""Options for TLS where the URL does not say: redis-py before 6 did not check the name."""

OWN: dict[str, Any] = {"protocol": 2, "socket_timeout": None, "socket_connect_timeout": None, "retry_on_timeout": False}
"""Options of redis-py's that a URL cannot change: the bus has its own deadlines, and reconnects by itself."""

POOL = ("max_connections", "timeout", "retry_on_error", "health_check_interval", "decode_responses", "legacy_responses")
"""Options that are ignored: the bus needs no pool, and reads replies itself."""


class UnsupportedServer(RuntimeError):
    """The server is a Redis Cluster or a Sentinel, which are not supported."""


class NotTheMaster(ConnectionError):
    """The server is a replica, which takes no writes: as after a failover, before names resolve to the new master."""


class _TCPConnection(Connection):
    """A connection over TCP.

    Attributes:
        socket: the connected socket, gevent's; None before.
    """

    socket: Any = None

    def _connect(self) -> Any:
        self.socket = connect_tcp(self.host, self.port)
        return self.socket


class _TLSConnection(SSLConnection):
    """A connection over TLS. Attributes: as above."""

    socket: Any = None

    def _connect(self) -> Any:
        plain = connect_tcp(self.host, self.port)
        try:
            self.socket = gssl.SSLSocket(sock=plain, server_hostname=self.host, _context=self._make_context())
        except BaseException:
            plain.close()
            raise
        forks.claim(self.socket)
        return self.socket

    def _make_context(self) -> Any:
        context = gssl.create_default_context()
        context.check_hostname = self.check_hostname and self.cert_reqs != gssl.CERT_NONE
        context.verify_mode = self.cert_reqs
        if self.certfile or self.keyfile:
            context.load_cert_chain(self.certfile, self.keyfile, self.certificate_password)
        if self.ca_certs or self.ca_path or self.ca_data:
            context.load_verify_locations(self.ca_certs, self.ca_path, self.ca_data)
        if minimum := getattr(self, "ssl_min_version", None):  # these two are not in redis-py 5.0
            context.minimum_version = minimum
        if ciphers := getattr(self, "ssl_ciphers", None):
            context.set_ciphers(ciphers)
        return context


class _UnixConnection(UnixDomainSocketConnection):
    """A connection over a Unix socket. Attributes: as above."""

    socket: Any = None

    def _connect(self) -> Any:
        self.socket = connect_unix(self.path)
        return self.socket


_CLASSES: dict[Any, Callable[..., Any]] = {
    None: _TCPConnection,
    SSLConnection: _TLSConnection,
    UnixDomainSocketConnection: _UnixConnection,
}


class Address:
    """The address of a Redis or Valkey server, with the credentials and options to connect.

    Args:
        url: `redis://`, `rediss://` (TLS), `unix://`, `valkey://` or `valkeys://`, in redis-py's syntax.

    Raises:
        ValueError: the URL has another scheme, or an unknown option.

    Attributes:
        text: the address for log lines: the URL without user, password and options.
    """

    def __init__(self, url: str) -> None:
        scheme, colon, rest = url.partition("://")
        if not colon or scheme not in SCHEMES:
            known = ", ".join([f"{one}://" for one in SCHEMES])
            shown = repr(scheme) if colon or not url else "a text without ://"  # in which there may be a password
            raise ValueError(f"the URL of a bus begins with {known}, not {shown}{_explain(scheme)}")
        options: dict[str, Any] = parse_url(f"{SCHEMES[scheme]}://{rest}")  # type: ignore[no-untyped-call]
        self._make = _CLASSES[options.pop("connection_class", None)]
        defaults = TLS if self._make is _TLSConnection else {}
        self._options = defaults | {name: value for name, value in options.items() if name not in POOL} | OWN
        parts = urlsplit(url)
        self.text: str = f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        try:
            self._make(**self._options)
        except TypeError as error:
            raise ValueError(f"redis-py does not know this URL's options: {error}") from None

    def connect(self) -> Any:
        """Return an open connection. Blocks only this greenlet, and without a deadline.

        Raises:
            UnsupportedServer: the server is a Redis Cluster or a Sentinel.
            OSError: the server cannot be reached, or is a replica.
            redis.exceptions.RedisError: the server refuses us.
        """
        connection = self._make(**self._options)
        try:
            connection.connect()
            self._check(connection)
        except BaseException:
            if connection.socket is not None:
                connection.socket.close()
            raise
        return connection

    def _check(self, connection: Any) -> None:
        """Raise if the server is not ready, or of a kind that does not do. One that does not tell its kind will do."""
        connection.send_command("PING")
        connection.read_response()  # raises while the server loads its data
        try:
            connection.send_command("HELLO")
            told = connection.read_response()
        except ResponseError:
            return  # the server is older than 6.0, or we lack the permission
        facts = dict(zip(told[::2], told[1::2], strict=False)) if isinstance(told, list) else {}
        mode = {b"cluster": "a Redis Cluster", b"sentinel": "a Redis Sentinel"}.get(facts.get(b"mode", b""))
        if mode:
            raise UnsupportedServer(f"{self.text} is {mode}, which is not supported: a bus needs one Redis or Valkey")
        if facts.get(b"role") in (b"replica", b"slave"):
            raise NotTheMaster(f"{self.text} is a replica")


def _explain(scheme: str) -> str:
    """Return what else there is to say of a URL that has another scheme, or none."""
    if not scheme:
        return "; without a bus, in one process, the URL is None"
    return "; Redis Cluster and Sentinel are not supported" if "cluster" in scheme or "sentinel" in scheme else ""
