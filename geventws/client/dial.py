"""Reaching a server: addresses, Unix sockets, proxies, TLS, and one HTTP exchange on the way to the 101.

Everything blocks this greenlet only, with or without monkey patching, and sets no deadline for the whole: whoever dials
throws a timeout in. A refusal that is known is not lost to it, which is why it is passed to who reads one. Whatever is
thrown in, no socket is left open: each function closes what it was given or made when it fails.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import socket as _socket
import ssl
from typing import Any, NoReturn
from urllib.request import getproxies, proxy_bypass

import gevent
import gevent.socket as gsocket
import gevent.ssl as gssl
from gevent.queue import Empty, Queue

from ..exceptions import HandshakeError, ProxyError
from ..http.response import MAX_HEAD, Body, Response, find_end, parse
from ..http.uri import URI, Proxy, basic_auth, parse_proxy

ATTEMPT_DELAY = 0.25
"""Seconds that one address has before the next one is tried beside it (RFC 8305 5)."""

BODY_TIMEOUT = 2.0
"""Seconds for the body of a refusal: it explains the error, and shall not delay it for long."""

PROXIES = {True: ("wss", "https"), False: ("ws", "https", "http")}  # variables asked for wss and for ws, in order


# ---- sockets


def connect_tcp(host: str, port: int) -> Any:
    """Return a gevent socket connected to one of the addresses of `host`, tried as RFC 8305 says.

    Raises:
        OSError: there is no address, or none of them answers.
    """
    addresses = _resolve(host, port)
    if len(addresses) == 1:
        return _connect(addresses[0])
    return _race(addresses, f"{host}:{port}")


def connect_unix(path: str | os.PathLike[str]) -> Any:
    """Return a gevent socket connected to the Unix socket at `path`; raise OSError where nobody listens."""
    return _connect((_socket.AF_UNIX, _socket.SOCK_STREAM, 0, "", os.fspath(path)))


def adopt(socket: Any) -> Any:
    """Return a connected socket as gevent's; a socket of the standard library is taken over."""
    if isinstance(socket, gsocket.socket):
        return socket
    return gsocket.socket(socket.family, socket.type, socket.proto, fileno=socket.detach())


def _resolve(host: str, port: int) -> list[Any]:
    """Return the addresses of a host, families by turns (RFC 8305 4), without a thread for what is an address."""
    try:
        return _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM, 0, _socket.AI_NUMERICHOST)
    except _socket.gaierror:
        found = gsocket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM)
    first = [address for address in found if address[0] == found[0][0]]
    other = [address for address in found if address[0] != found[0][0]]
    turns = [address for pair in zip(first, other, strict=False) for address in pair]
    return turns + first[len(other) :] + other[len(first) :]


def _connect(address: Any) -> Any:
    family, kind, protocol, _name, place = address
    socket = gsocket.socket(family, kind, protocol)
    try:
        socket.connect(place)
    except BaseException:
        socket.close()
        raise
    return socket


def _race(addresses: list[Any], name: str) -> Any:
    """Connect to the first address that answers; the next one starts when one fails, or takes its time."""
    results: Queue[Any] = Queue()
    attempts: list[gevent.Greenlet] = []
    errors: list[OSError] = []
    try:
        while len(errors) < len(addresses):
            waiting = len(attempts) < len(addresses)
            if waiting:
                attempts.append(gevent.spawn(_attempt, addresses[len(attempts)], results))
            try:
                result = results.get(timeout=ATTEMPT_DELAY if waiting else None)
            except Empty:
                continue
            if not isinstance(result, OSError):
                return result
            errors.append(result)
    finally:
        gevent.killall(attempts)
        for late in iter(lambda: results.get() if results.qsize() else None, None):
            if not isinstance(late, OSError):
                late.close()
    _fail_all(errors, name)


def _attempt(address: Any, results: Queue[Any]) -> None:
    try:
        results.put(_connect(address))
    except OSError as error:
        results.put(error)


def _fail_all(errors: list[OSError], name: str) -> NoReturn:
    """Raise one error for all; by its errno, it is of the class of the last."""
    told = "; ".join(dict.fromkeys(str(error) for error in errors))
    raise OSError(errors[-1].errno or errno.ECONNREFUSED, f"no address of {name} answers: {told}")


# ---- TLS


@functools.cache
def default_context() -> ssl.SSLContext:
    """Return the context that verifies servers by the system's certificates; made once, for it takes 10 ms and 1 MB."""
    context = gssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context  # type: ignore[no-any-return]


def start_tls(socket: Any, context: ssl.SSLContext | None, hostname: str) -> Any:
    """Return the socket inside of TLS, with the server's certificate verified as `context` says.

    Raises:
        ssl.SSLCertVerificationError: the certificate is not trusted, or not for `hostname`.
        OSError: the handshake failed.
    """
    try:
        # The class and not context.wrap_socket, which blocks the whole thread on a context of the standard library.
        socket = gssl.SSLSocket(
            sock=socket,
            server_hostname=hostname,
            do_handshake_on_connect=False,
            _context=context or default_context(),
        )
        socket.do_handshake()
    except BaseException:
        socket.close()
        raise
    return socket


# ---- HTTP


def exchange(socket: Any, request: bytes, who: str = "the server") -> tuple[Response, bytes]:
    """Send a request, and return the final answer and the bytes that came behind its head.

    Args:
        socket: where to.
        request: what to ask.
        who: whom the errors blame; the server by default.

    Raises:
        HandshakeError: the answer is not HTTP, or its head is too large.
        OSError: the connection broke; ConnectionResetError when the other side hung up.
    """
    with contextlib.suppress(ConnectionError):  # it hung up, maybe behind an answer
        socket.sendall(request)
    data = bytearray()
    searched = begin = 0
    while True:
        end = find_end(data[begin:], searched)
        if end < 0:
            searched = len(data) - begin
            _receive_more(socket, data, who)
            continue
        response = _parse(bytes(data[begin : begin + end]), who)
        begin, searched = begin + end, 0
        if not response.interim:
            return response, bytes(data[begin:])


def _receive_more(socket: Any, data: bytearray, who: str) -> None:
    if len(data) >= MAX_HEAD:
        raise HandshakeError(0, f"the head of the answer of {who} is longer than {MAX_HEAD} bytes")
    try:
        chunk = socket.recv(16384)
    except ConnectionError:
        chunk = b""
    if not chunk:
        state = "in the middle of" if data else "without"
        raise ConnectionResetError(errno.ECONNRESET, f"{who} hung up {state} an answer")
    data += chunk


def _parse(head: bytes, who: str) -> Response:
    try:
        return parse(head)
    except ValueError as error:
        raise HandshakeError(0, f"the answer of {who} is not HTTP: {error}") from None


def read_body(socket: Any, response: Response, data: bytes, deadline: gevent.Timeout | None = None) -> bytes:
    """Return the body of an answer as far as it comes in time, at most MAX_BODY bytes. Never raises OSError.

    Args:
        socket: where the rest of it comes from.
        response: the answer.
        data: what came behind its head.
        deadline: a timeout of the caller's that only ends the reading when it strikes here; none by default.
    """
    body = Body(response)
    body.feed(data)
    try:
        with gevent.Timeout(BODY_TIMEOUT, False):
            while not body.ended:
                chunk = socket.recv(16384)
                if not chunk:
                    break
                body.feed(chunk)
    except OSError:
        pass  # what came has to do
    except gevent.Timeout as expired:
        if expired is not deadline:
            raise
    return bytes(body.data)


# ---- proxies


def find_proxy(uri: URI) -> Proxy | None:
    """Return the proxy that the environment (or the system, on macOS) has for a server; None for none.

    wss_proxy and https_proxy are asked for wss; ws_proxy, https_proxy and http_proxy for ws; no_proxy exempts.

    Raises:
        InvalidURI: it is of a kind that is not supported.
    """
    proxies = getproxies()
    found = next((proxies[name] for name in PROXIES[uri.secure] if proxies.get(name)), None)
    if found is None or proxy_bypass(uri.address):
        return None
    return parse_proxy(found)


def connect_proxy(proxy: Proxy, uri: URI, deadline: gevent.Timeout | None = None) -> Any:
    """Return a socket connected to a server through a proxy's CONNECT (RFC 9110 9.3.6).

    Args:
        proxy: the proxy.
        uri: the server.
        deadline: a timeout of the caller's that spares a refusal that is known, as in `read_body`, and is otherwise
            made a TimeoutError that blames the proxy; none by default.

    Raises:
        ProxyError: the proxy refuses.
        HandshakeError: its answer is not HTTP, or something of its own follows it.
        TimeoutError: `deadline` struck.
        OSError: the proxy cannot be reached, or hung up.
    """
    try:
        return _open_tunnel(_reach(proxy), proxy, uri, deadline)
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
    """Return the socket, which is connected to a proxy, once that has connected it to the server."""
    lines = [f"CONNECT {uri.address} HTTP/1.1", f"Host: {uri.address}"]
    if proxy.credentials is not None:
        lines.append(f"Proxy-Authorization: {basic_auth(proxy.credentials)}")
    try:
        response, early = exchange(socket, "\r\n".join([*lines, "", ""]).encode(), f"the proxy {proxy}")
        if not 200 <= response.status < 300:
            body = read_body(socket, response, early, deadline)
            raise ProxyError(response.status, response.headers, body, str(proxy))
        if early:
            why = f"the proxy {proxy} sent something of its own behind its answer"
            raise HandshakeError(response.status, why, response.headers)
    except BaseException:
        socket.close()
        raise
    return socket
