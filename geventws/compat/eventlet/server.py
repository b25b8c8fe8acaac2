"""The parts of eventlet that its documentation of WebSockets uses: a listening socket and a WSGI server."""

from __future__ import annotations

from typing import Any, NamedTuple

from gevent import socket as gsocket

from ...server.server import WebSocketServer

DEFAULT_MAX_SIZE = 1024
"""The default number of connections at a time in `wsgi.server`."""

STOP_TIMEOUT = 1.0
"""Seconds that connections have when the server ends, before their handlers are killed."""

WITHOUT_MEANING = frozenset(
    "max_http_version protocol server_event minimum_chunk_size log_x_forwarded_for keepalive log_format "
    "url_length_limit debug socket_timeout capitalize_response_headers".split()
)
"""Options of eventlet's server that have no effect here."""


class TLSListener(NamedTuple):
    """A listening socket, and the TLS options for its connections."""

    socket: Any
    options: dict[str, Any]


def listen(
    addr: Any,
    family: int = gsocket.AF_INET,
    backlog: int = 50,
    reuse_addr: bool = True,
    reuse_port: bool | None = None,
) -> Any:
    """Return a gevent socket that listens on an address.

    Args:
        addr: (host, port), or a path for AF_UNIX.
        family: AF_INET, AF_INET6 or AF_UNIX.
        backlog: connections that may wait to be accepted.
        reuse_addr: whether to set SO_REUSEADDR.
        reuse_port: whether to set SO_REUSEPORT.
    """
    sock = gsocket.socket(family, gsocket.SOCK_STREAM)
    if reuse_addr:
        sock.setsockopt(gsocket.SOL_SOCKET, gsocket.SO_REUSEADDR, 1)
    if reuse_port:
        sock.setsockopt(gsocket.SOL_SOCKET, gsocket.SO_REUSEPORT, 1)
    sock.bind(addr)
    sock.listen(backlog)
    return sock


def wrap_ssl(sock: Any, *, server_side: bool = False, **options: Any) -> TLSListener:
    """Return a listening socket whose connections are TLS, for `wsgi.server`.

    Args:
        sock: what `listen` returned.
        server_side: True; a client wraps its socket with an `ssl.SSLContext`.
        options: certfile, keyfile and further arguments of ssl.wrap_socket, or an ssl_context.

    Raises:
        ValueError: not `server_side`.
    """
    if not server_side:
        raise ValueError("wrap_ssl wraps a server's listening socket; a client has gevent.ssl.SSLContext.wrap_socket")
    return TLSListener(sock, options)


class wsgi:
    """The useful names of eventlet.wsgi."""

    @staticmethod
    def server(
        sock: Any,
        site: Any,
        log: Any = None,
        environ: dict[str, Any] | None = None,
        max_size: int | None = None,
        *,
        custom_pool: Any = None,
        log_output: bool = True,
        **options: Any,
    ) -> None:
        """Serve a WSGI application, until this greenlet is killed or SIGTERM comes. Blocks.

        At the end WebSockets are closed. Connections that are left after a second are ended, and `sock` is closed.

        Args:
            sock: what `listen` or `wrap_ssl` returned.
            site: the application.
            log: for access lines: an object with `write`, or a logger; None for standard error.
            environ: further items for every request's environ.
            max_size: connections at a time; None for 1024.
            custom_pool: a gevent pool for the connections' greenlets, instead of `max_size`.
            log_output: whether there are access lines.
            options: any other option of eventlet's; they have no effect.

        Raises:
            TypeError: an option that eventlet does not have.
        """
        if unknown := options.keys() - WITHOUT_MEANING:
            raise TypeError(f"eventlet.wsgi.server has no option {min(unknown)!r}")
        listener, tls = sock if isinstance(sock, TLSListener) else (sock, {})
        pool = custom_pool if custom_pool is not None else max_size or DEFAULT_MAX_SIZE
        lines = (log or "default") if log_output else None
        server = WebSocketServer(listener, site, spawn=pool, log=lines, environ=environ, **tls)
        server.serve_forever(STOP_TIMEOUT)
