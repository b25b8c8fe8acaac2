"""Proxies: finds the one that the environment names, and opens a tunnel through it to the server.

    find_proxy       the proxy for a server, or None
    read_proxy       the proxy that a URI names
    connect_proxy    a socket through it: CONNECT (RFC 9110 9.3.6), or SOCKS5 (RFC 1928) with the python-socks package

Environment variables are read in the same order as by curl and websockets: see docs/client.rst.
"""

from __future__ import annotations

import errno
import re
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.request import getproxies, getproxies_environment, proxy_bypass

import gevent

from ..exceptions import HandshakeError, InvalidURI, ProxyError
from ..http.names import certified_name, to_ascii, without_zone
from ..http.uri import URI, Proxy, basic_auth, parse_proxy
from .dial import connect_tcp, exchange, look_up, read_body

VARIABLES: dict[bool, tuple[str, ...]] = {
    True: ("wss", "socks", "https", "all"),
    False: ("ws", "socks", "https", "http", "all"),
}
"""The variables for wss and for ws, in order, without their _proxy."""

FAILURES = {1: errno.EHOSTUNREACH, 3: errno.ENETUNREACH, 4: errno.EHOSTUNREACH, 5: errno.ECONNREFUSED}
FAILURES[6] = errno.EHOSTUNREACH
"""Replies of SOCKS5 (RFC 1928 6) for which a connection without a proxy would raise an OSError."""

_EXEMPT = re.compile(r"([^:]*|\[[^]]*][/0-9]*)(?::([0-9]+))?")  # an entry of no_proxy, and a port


# ---- which one


def find_proxy(uri: URI) -> Proxy | None:
    """Return the proxy that the environment (on macOS, the system) names for a server; None if it names none.

    A proxy of a kind that is not supported is skipped for the next one.

    Raises:
        InvalidURI: all of them are of such kinds. The user does not want to connect without a proxy then.
    """
    proxies = getproxies()
    named = [(name, proxies[name]) for name in VARIABLES[uri.secure] if proxies.get(name)]
    if not named or _is_exempt(uri):
        return None
    wrong = []
    for name, text in named:
        if name == "socks" and not text.startswith("socks5"):
            text = f"socks5h://{text.partition('://')[2] or text}"  # macOS names it http://, and means SOCKS
        try:
            return read_proxy(text)
        except InvalidURI as error:
            wrong.append(f"{name}_proxy: {error}")
    raise InvalidURI("; ".join(wrong))


def read_proxy(text: str) -> Proxy:
    """Return the proxy that a URI names.

    Raises:
        InvalidURI: it is not valid, or needs the python-socks package.
    """
    proxy = parse_proxy(text)
    if proxy.scheme != "http":
        try:
            import python_socks.sync  # noqa: F401
        except ImportError:
            package = "the python-socks package (pip install geventws[socks])"
            raise InvalidURI(f"{proxy.scheme}:// needs {package}") from None
    return proxy


def _is_exempt(uri: URI) -> bool:
    variables = getproxies_environment()
    if not variables:
        return bool(proxy_bypass(uri.address))  # asks the system
    listed = re.split(r"[\s,]+", variables.get("no", ""))
    return any(covers(entry, uri.host, uri.port) for entry in listed if entry)


def covers(entry: str, host: str, port: int) -> bool:
    """Return whether an entry of no_proxy covers a host.

    Args:
        entry: "*", a name (which covers all names below it), an address or a range of addresses; perhaps with a port.
        host, port: the server's.
    """
    if entry == "*":
        return True
    match = _EXEMPT.fullmatch(entry)
    listed, only = match.groups() if match else (entry, None)
    if only is not None and int(only) != port:
        return False
    listed, name = re.sub(r"[][]", "", listed), certified_name(host)
    try:
        return ip_address(name) in ip_network(listed, strict=False)
    except ValueError:
        pass  # at least one of them is a name
    try:
        listed = to_ascii(listed.lstrip("*.")).removesuffix(".")
    except ValueError:
        return False
    return name == listed or name.endswith(f".{listed}")


# ---- the tunnel


def connect_proxy(proxy: Proxy, uri: URI, deadline: gevent.Timeout | None = None) -> Any:
    """Return a socket connected to a server through a proxy.

    Args:
        proxy: the proxy.
        uri: the server.
        deadline: the caller's timeout. If it is raised while the body of a refusal is read, it only ends the reading,
            as in `read_body`; otherwise it becomes a TimeoutError that names the proxy. None by default.

    Raises:
        ProxyError: the proxy refuses.
        HandshakeError: the proxy's answer is not HTTP, or is followed by bytes that cannot be the server's.
        TimeoutError: `deadline` has passed.
        OSError: the proxy cannot be reached, or hung up; or it answers that it cannot reach the server.
    """
    try:
        if proxy.scheme == "http":
            return _open_tunnel(_reach(proxy), proxy, uri, deadline)
        # socks5 differs from socks5h in that the proxy is not asked for names; most proxies have IPv4.
        known = None if proxy.scheme == "socks5h" else min(look_up(uri.host, uri.port), key=lambda found: found[0])
        host = uri.host if known is None else known[4][0]
        return _open_socks(_reach(proxy), proxy, without_zone(host), uri.port)
    except gevent.Timeout as expired:
        if deadline is None or expired is not deadline:
            raise
        late = f"the proxy {proxy} did not answer within {deadline.seconds:g} s (option: open_timeout)"
        raise TimeoutError(late) from None


def _reach(proxy: Proxy) -> Any:
    try:
        return connect_tcp(proxy.host, proxy.port)
    except OSError as error:
        why = f"the proxy {proxy} cannot be reached: {error.strerror or error}"
        raise type(error)(error.errno or errno.ECONNREFUSED, why) from None


def _open_tunnel(socket: Any, proxy: Proxy, uri: URI, deadline: gevent.Timeout | None) -> Any:
    """Ask the proxy at the other end of a socket to connect it to the server; return the socket."""
    lines = [f"CONNECT {uri.address} HTTP/1.1", f"Host: {uri.address}"]
    if proxy.credentials is not None:
        lines.append(f"Proxy-Authorization: {basic_auth(proxy.credentials)}")
    try:
        response, early = exchange(socket, "\r\n".join([*lines, "", ""]).encode(), f"the proxy {proxy}")
        if not 200 <= response.status < 300:
            body = read_body(socket, response, early, deadline)
            raise ProxyError(response.status, response.headers, body, str(proxy))
        if early:
            why = f"the proxy {proxy} sent data of its own after its answer"
            raise HandshakeError(response.status, why, response.headers)
    except BaseException:
        socket.close()
        raise
    return socket


def _open_socks(socket: Any, proxy: Proxy, host: str, port: int) -> Any:
    """Return the socket, which is connected to a SOCKS5 proxy, once that has connected it to the server."""
    from python_socks import ProxyError as ReplyError
    from python_socks import ProxyType
    from python_socks.sync import Proxy as Socks

    name, password = proxy.credentials or (None, None)
    reached: Any = _Reached(socket, proxy)
    try:
        Socks(ProxyType.SOCKS5, proxy.host, proxy.port, name, password, rdns=True, forward=reached).connect(host, port)
    except ReplyError as error:
        socket.close()
        failure = FAILURES.get(error.error_code or 0)
        if failure is not None:
            raise OSError(failure, f"the proxy {proxy} cannot reach {host}: {error}") from None
        raise ProxyError(0, [], b"", str(proxy), str(error)) from None
    except UnicodeError:
        socket.close()
        raise ProxyError(0, [], b"", str(proxy), "its reply does not parse") from None
    except BaseException:
        socket.close()
        raise
    return socket


class _Reached:
    """A connection to a proxy, for python-socks, which would open one that blocks the whole thread.

    It is handed over as one more proxy in front of that one, and as what such a proxy gives: the connection.
    """

    def __init__(self, socket: Any, proxy: Proxy) -> None:
        self._socket = socket
        self._proxy = proxy
        self.sendall = socket.sendall

    def connect(self, **_where: Any) -> _Reached:
        return self

    def recv(self, size: int) -> bytes:
        data: bytes = self._socket.recv(size)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, f"the proxy {self._proxy} hung up without an answer")
        return data

    def close(self) -> None:
        """Do nothing: the code that has opened the socket closes it."""
