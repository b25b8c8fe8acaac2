"""Reaching a server: addresses, Unix sockets, TLS, and one HTTP exchange on the way to the 101. Proxies: proxies.py.

Everything blocks this greenlet only, with or without monkey patching. There is no deadline for the whole here: the
caller's timeout is raised in these functions. It is passed to the functions that read the body of a refusal, so that a
refusal whose head has arrived is not lost when the time is up. Whatever is raised, no socket is left open: a function
that fails closes the sockets that it was given, or has made.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import socket as _socket
import ssl
from collections.abc import Callable
from typing import Any, NoReturn

import gevent
import gevent.socket as gsocket
import gevent.ssl as gssl
from gevent.queue import Empty, Queue

from ..engine.loop import forks
from ..exceptions import HandshakeError, InvalidStatus
from ..http.headers import find_end
from ..http.response import MAX_HEAD, TLS_RECORDS, Body, Response, check, parse
from ..text import quoted

ATTEMPT_DELAY = 0.25
"""Seconds that one address has before the next one is tried beside it (RFC 8305 5)."""

BODY_TIMEOUT = 2.0
"""Seconds for the body of a refusal: it explains the error, and must not delay it for long."""

PLAIN_DELAY = 1.0
"""Seconds of silence after which a server that should speak TLS is asked whether it speaks plain HTTP."""

_QUESTION = b"\x16\x03\x01\x00\x04\r\n\r\n"  # for TLS a malformed handshake record; for HTTP an empty line


# ---- sockets


def connect_tcp(host: str, port: int) -> Any:
    """Return a gevent socket connected to one of the addresses of `host`, tried as RFC 8305 says.

    Raises:
        OSError: there is no address, or none of them answers.
    """
    addresses = look_up(host, port)
    if len(addresses) == 1:
        return _connect(addresses[0])
    return _race(addresses, f"{host}:{port}")


def connect_unix(path: str | os.PathLike[str]) -> Any:
    """Return a gevent socket connected to the Unix socket at `path`; raise OSError if nobody listens."""
    return _connect((_socket.AF_UNIX, _socket.SOCK_STREAM, 0, "", os.fspath(path)))


def adopt(socket: Any) -> Any:
    """Return a connected socket as a gevent socket. It takes over a socket of the standard library."""
    if not isinstance(socket, gsocket.socket):
        socket = gsocket.socket(socket.family, socket.type, socket.proto, fileno=socket.detach())
    forks.claim(socket)
    return socket


def look_up(host: str, port: int) -> list[Any]:
    """Return the addresses of a host, alternating between families (RFC 8305 4). A numeric one needs no lookup.

    Raises:
        OSError: it has no address.
    """
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
    forks.claim(socket)
    try:
        socket.connect(place)
    except BaseException:
        socket.close()
        raise
    return socket


def _race(addresses: list[Any], name: str) -> Any:
    """Connect to the first address that answers. The next attempt starts when one fails, or takes ATTEMPT_DELAY."""
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
    """Raise one error for all attempts, with the errno, and so the class, of the last."""
    told = "; ".join(dict.fromkeys(str(error) for error in errors))
    raise OSError(errors[-1].errno or errno.ECONNREFUSED, f"no address of {name} answers: {told}")


# ---- TLS


@functools.cache
def default_context() -> ssl.SSLContext:
    """Return the context that verifies servers by the system's certificates. Made once: it takes 10 ms and 1 MB."""
    context = gssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context  # type: ignore[no-any-return]


def start_tls(
    socket: Any, context: ssl.SSLContext | None, hostname: str, redial: Callable[[], Any] | None = None
) -> Any:
    """Return the socket inside of TLS, with the server's certificate verified as `context` says.

    Args:
        socket: a gevent socket; it is closed when this fails.
        context: which certificates to trust; None for the system's.
        hostname: the name that the certificate must have.
        redial: opens another connection to the same server, to ask a silent one whether it speaks HTTP; None if that
            is not possible.

    Raises:
        HandshakeError: the server does not speak TLS.
        ssl.SSLCertVerificationError: the certificate is not trusted, or not for `hostname`.
        OSError: the handshake failed.
    """
    try:
        # Not context.wrap_socket: on a context of the standard library it blocks the whole thread.
        socket = gssl.SSLSocket(
            sock=socket,
            server_hostname=hostname,
            do_handshake_on_connect=False,
            _context=context or default_context(),
        )
        forks.claim(socket)
        _await_record(socket, redial)
        socket.do_handshake()
    except ssl.SSLEOFError:
        socket.close()
        raise ConnectionResetError(errno.ECONNRESET, "the server hung up in the TLS handshake") from None
    except BaseException:
        socket.close()
        raise
    return socket


def _await_record(socket: Any, redial: Callable[[], Any] | None) -> None:
    """Send the ClientHello, and block until the server answers; raise HandshakeError if the answer is not TLS."""
    socket.settimeout(0.0)
    with contextlib.suppress(ssl.SSLWantReadError):
        socket.do_handshake()
    socket.settimeout(None)
    answers: list[bytes] = []
    question = None if redial is None else gevent.spawn_later(PLAIN_DELAY, _ask_plainly, redial, socket, answers)
    try:
        gsocket.wait_read(socket.fileno())
    finally:
        if question is not None:
            question.kill()
    said = answers[0] if answers else _peek(socket)
    if said and said[0] not in TLS_RECORDS:
        line = said.split(b"\n")[0].strip().decode("latin-1")
        raise HandshakeError(0, f"the server does not speak TLS, but says {quoted(line)}; ws:// is for such servers")


def _peek(socket: Any) -> bytes:
    """Return the first bytes that have arrived, and leave them for the TLS handshake."""
    try:
        return socket._sock.recv(100, _socket.MSG_PEEK)  # type: ignore[no-any-return]
    except OSError:
        return b""  # the handshake will get the same error


def _ask_plainly(redial: Callable[[], Any], silent: Any, answers: list[bytes]) -> None:
    """Ask a silent server in HTTP, on another connection. If it answers, note that, and end the wait on `silent`.

    Many HTTP servers take the ClientHello for a line that has not ended yet, and wait. A server that speaks TLS takes
    the question for a malformed ClientHello, and never answers it in HTTP.
    """
    try:
        with contextlib.closing(redial()) as socket:
            socket.sendall(_QUESTION)
            answer = socket.recv(100)
    except (OSError, HandshakeError, InvalidStatus):
        return
    if answer.startswith(b"HTTP/"):
        answers.append(answer)
        silent._sock.shutdown(_socket.SHUT_RDWR)


# ---- HTTP


def exchange(socket: Any, request: bytes, who: str = "the server", hint: str = "") -> tuple[Response, bytes]:
    """Send a request, and return the final answer and the bytes that followed its head.

    Args:
        socket: the connection.
        request: the request.
        who: the name of the other side in errors; "the server" by default.
        hint: added to the error if the other side hangs up without an answer; nothing by default.

    Raises:
        HandshakeError: the answer is not HTTP, or its head is too large.
        OSError: the connection broke; ConnectionResetError when the other side hung up.
    """
    with contextlib.suppress(ConnectionError):  # it hung up, perhaps after an answer
        socket.sendall(request)
    data = bytearray()
    received = searched = 0
    try:
        while True:
            end = find_end(data, searched)
            check(data if end < 0 else data[:end], searched)
            if end < 0:
                searched = len(data)
                data += _receive(socket, received, who, hint)
                received += len(data) - searched
                continue
            response = parse(bytes(data[:end]))
            del data[:end]
            searched = 0
            if not response.interim:
                return response, bytes(data)
    except ValueError as error:
        raise HandshakeError(0, f"the answer of {who} is not HTTP: {error}") from None


def _receive(socket: Any, received: int, who: str, hint: str) -> bytes:
    """Return more bytes of an answer, of which `received` bytes have come already."""
    if received >= MAX_HEAD:
        raise HandshakeError(0, f"the head of the answer of {who} is longer than {MAX_HEAD} bytes")
    try:
        chunk: bytes = socket.recv(16384)
    except ConnectionError:
        chunk = b""
    if not chunk:
        state = "in the middle of an answer" if received else f"without an answer{hint}"
        raise ConnectionResetError(errno.ECONNRESET, f"{who} hung up {state}")
    return chunk


def read_body(socket: Any, response: Response, data: bytes, deadline: gevent.Timeout | None = None) -> bytes:
    """Return the part of an answer's body that arrives in time, at most MAX_BODY bytes. Never raises OSError.

    Args:
        socket: the connection.
        response: the answer.
        data: what followed its head.
        deadline: the caller's timeout; if it is raised here, it only ends the reading. None by default.
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
        pass  # the part that was received is enough
    except gevent.Timeout as expired:
        if expired is not deadline:
            raise
    return bytes(body.data)
