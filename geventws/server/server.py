"""A gevent.pywsgi server for many WebSockets: cheap handshakes, deadlines, limits, and a drain at the end.

It serves any WSGI application as pywsgi does. It adds code in three places: http/request.py reads the heads of
requests, http_connection.py handles one connection, and this module handles all of them: it accepts, counts and refuses
connections, and ends them when the server stops.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import socket
import ssl
import threading
from typing import Any

import gevent
from gevent._hub_local import get_hub_if_exists
from gevent.pywsgi import WSGIServer
from gevent.ssl import SSLContext, SSLSocket

from ..engine.loop.forks import cut, keep, register, stop_accepting
from ..engine.loop.greenlets import HandlerGreenlets
from ..engine.options import complete
from ..frames import CloseCode
from .draining import Drain
from .http_connection import RequestHandler, share_keys
from .http_stream import RawSocket
from .termination import Termination

TLS_OPTIONS = dict.fromkeys(
    "ssl_context certfile keyfile ca_certs cert_reqs ciphers ssl_version server_side server_hostname session "
    "do_handshake_on_connect suppress_ragged_eofs".split()
)
"""What gevent's servers take for TLS. They take any other name, too, and then speak nothing but TLS."""


class WebSocketServer(WSGIServer):  # type: ignore[misc]
    """Serves a WSGI application, WebSockets and plain HTTP alike, on one address.

    Takes all that `gevent.pywsgi.WSGIServer` takes, by the same names and in the same order. One greenlet runs each
    connection. `TCP_NODELAY` is set.

    Args:
        listener: the address to listen on, as `("127.0.0.1", 8000)` or `":8000"`, or a listening gevent socket.
        application: the WSGI application.
        backlog: connections that wait to be accepted, 1024 by default.
        spawn: the most greenlets, a pool, or a function that runs another one in a greenlet. By default there is no
            limit, and greenlets are used again.
        log, error_log: where lines go: a file, a logger, or None for none. By default standard error.
        handler_class: a class derived from `RequestHandler`.
        environ: further items for the environ of every request.
        head_timeout: seconds for a request's head to arrive, from its first byte on, and for the first byte on a
            new connection; 10 by default. Then 408.
        keepalive_timeout: seconds between a response and the next request's first byte; 75 by default.
        handshake_timeout: seconds for the TLS handshake; 10 by default.
        max_head_size: the most bytes of a request's head, 64 KiB by default; beyond that 431. As in pywsgi, a request
            line of 8192 bytes or more gets 414, and more than 99 fields get 400.
        body_timeout: the budget for waiting for a request's body, in seconds, 30 by default; then 408. If the
            application has not read all of it, the rest has to arrive in this time, too, or the connection ends.
        min_body_rate: for each so many bytes of the body, 500 by default, one second is added to that budget: at this
            pace a body may take any time.
        max_connections: the most connections at a time; those over the limit are answered with 503. By default there is
            no limit but the system's.
        ssl_options: for TLS, `certfile` and `keyfile`, or `ssl_context`.

    Raises:
        TypeError: `handler_class` is not derived from `RequestHandler`, or there is no such option.
        ValueError: `body_timeout` or `min_body_rate` is not above 0.
    """

    handler_class: type[RequestHandler] = RequestHandler
    wrap_socket: Any  # pywsgi's, as is `loop`
    loop: Any
    backlog = 1024
    stop_timeout: float = 8.0
    """The default timeout of `stop`, in seconds: less than the ten that Docker gives a container."""

    draining: bool = False
    """Whether the server is about to stop."""

    close_code: int = CloseCode.GOING_AWAY
    """The close code for WebSockets when it stops."""

    most_refused: int = 64
    """How many connections over the limit are accepted to be refused; beyond that none are accepted."""

    def __init__(
        self,
        listener: Any,
        application: Any = None,
        backlog: int | None = None,
        spawn: Any = "default",
        log: Any = "default",
        error_log: Any = "default",
        handler_class: type[RequestHandler] | None = None,
        environ: dict[str, Any] | None = None,
        *,
        head_timeout: float = 10.0,
        keepalive_timeout: float = 75.0,
        handshake_timeout: float = 10.0,
        max_head_size: int = 64 * 1024,
        body_timeout: float = 30.0,
        min_body_rate: float = 500.0,
        max_connections: int | None = None,
        **ssl_options: Any,
    ) -> None:
        own = WebSocketServer.__init__.__kwdefaults__ or {}
        complete(ssl_options, {**TLS_OPTIONS, **own}, "WebSocketServer")  # for its errors
        self.head_timeout = head_timeout
        self.keepalive_timeout = keepalive_timeout
        self.handshake_timeout = handshake_timeout
        self.max_head_size = max_head_size
        if not (body_timeout > 0 and min_body_rate > 0):
            raise ValueError(f"body_timeout {body_timeout!r} and min_body_rate {min_body_rate!r} must be above 0")
        self.body_timeout = body_timeout
        self.min_body_rate = min_body_rate
        self.max_connections = max_connections
        self._greenlets: HandlerGreenlets | None = None  # used instead of the default `spawn`
        self._connections: set[Any] = set()  # `RequestHandler`s, and `GivenSocket`s that outlive theirs
        self._drain: Drain | None = None  # the current one, or the last
        self.silent: bool = log is None  # whether there is no access log
        super().__init__(listener, application, backlog, spawn, log, error_log, handler_class, environ, **ssl_options)
        self.__dict__.pop("full", None)  # the pool's, see below
        if (context := ssl_options.get("ssl_context")) is not None:
            self.wrap_socket = functools.partial(_wrap_socket, context)  # instead of the method
        if not issubclass(self.handler_class, RequestHandler):
            raise TypeError("handler_class must be derived from geventws.server.RequestHandler")
        share_keys(self.handler_class)
        register(self)

    # Accepting

    def init_socket(self) -> None:
        """Listen. On Linux, macOS and the BSDs accepted sockets inherit TCP_NODELAY, for plain responses, too."""
        super().init_socket()
        self.draining = False
        if self.socket.family in (socket.AF_INET, socket.AF_INET6):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start_accepting(self) -> None:
        """Accept connections from now on; see `start`."""
        if self._greenlets is None and self.pool is None and self._spawn == type(self)._spawn:
            self._greenlets = HandlerGreenlets()
        super().start_accepting()

    def do_read(self) -> tuple[RawSocket, Any] | None:
        """Accept one connection, if there is one."""
        listener = self.socket
        try:
            descriptor, address = listener._accept()
        except BlockingIOError:
            return None
        sock = RawSocket(listener.family, listener.type, listener.proto, descriptor)
        sock.setblocking(False)
        return sock, address

    def full(self) -> bool:
        """Whether to accept no more connections for now."""
        limit = self.max_connections
        if limit is not None and len(self._connections) >= limit + self.most_refused:
            return True
        return self.pool is not None and bool(self.pool.full())

    def do_handle(self, sock: Any, address: Any) -> None:
        """Serve an accepted connection in a greenlet."""
        handler = self.handler_class(sock, address, self)
        limit = self.max_connections
        handler.surplus = limit is not None and len(self._connections) >= limit
        self.count(handler)
        try:
            if self._greenlets is not None:
                self._greenlets.spawn(handler.handle)
            else:
                self._spawn(handler.handle)
        except BaseException:
            self.forget(handler)
            sock.close()
            raise

    def count(self, connection: Any) -> None:
        """Count a connection; see `given.Server`."""
        self._connections.add(connection)

    def forget(self, connection: Any) -> None:
        """Stop counting a connection, which has ended."""
        self._connections.discard(connection)
        if self._drain is not None and not self._connections:
            self._drain.wake()
        if self._watcher is None:
            self._start_accepting_if_started()

    # Stopping

    def close(self) -> None:
        """Stop accepting, and close the listening socket; connections go on. See `stop`."""
        super().close()
        if self._greenlets is not None:
            self._greenlets.close()
            self._greenlets = None

    def serve_forever(self, stop_timeout: float | None = None) -> None:
        """Serve until the server is stopped: by `stop`, by SIGTERM, or by an exception such as KeyboardInterrupt.

        Blocks. In the main thread, if the program has not set a handler of its own, SIGTERM drains the server as `stop`
        does, and this method returns. An exception that comes during the drain, such as a second KeyboardInterrupt,
        ends it at once.

        Args:
            stop_timeout: seconds for the drain; `WebSocketServer.stop_timeout` by default.
        """
        if not self.started:
            self.start()
        timeout = self.stop_timeout if stop_timeout is None else stop_timeout
        with contextlib.ExitStack() as stack:
            termination: Termination | None = None
            if threading.current_thread() is threading.main_thread():
                if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                    termination = stack.enter_context(Termination(self._stop_event.set, timeout))
            try:
                self._stop_event.wait()
            finally:
                self._stop_and_wait(timeout if termination is None else termination.get_time_left())

    def _stop_and_wait(self, timeout: float) -> None:
        """Stop, and wait for that. Do not wait any longer if an exception is raised here, as by a second Ctrl-C."""
        try:
            gevent.spawn(self.stop, timeout).join()
        except BaseException:
            self.stop(0)
            raise

    def forked(self) -> None:
        """In a forked child: leave everything to the parent. See engine/loop/forks.py."""
        stop_accepting(self)
        for connection in self._connections:
            cut(connection.fileno())
        keep(*self._connections, self._greenlets)
        self._connections.clear()  # so a drain under way finds nothing more to end
        self._greenlets = self._drain = None
        self.draining = False
        hub = get_hub_if_exists()
        if hub is not None:
            self.loop = hub.loop

    def stop(self, timeout: float | None = None) -> None:
        """Stop in an orderly way. Blocks until no connection is left.

        The listening socket is closed. Connections that wait for a request end at once, requests under way get their
        answers, and every WebSocket is closed with 1001 (going away): ten at once, then at least 200 a second, and
        faster if that would take more than ten seconds or half the timeout. Connections that are left after the timeout
        are aborted.

        A second call waits for the first, and shortens it if its own timeout ends earlier.

        In the hub, where a handler of `signal.signal` may run, and in one of the server's own handlers, which would
        wait for itself, it returns at once, and the rest follows.

        Args:
            timeout: seconds for all this; `stop_timeout` by default.
        """
        self.close()
        current = gevent.getcurrent()
        if current is gevent.get_hub() or any(connection.greenlet is current for connection in self._connections):
            gevent.spawn(self.stop, timeout)
            return
        timeout = self.stop_timeout if timeout is None else timeout
        if self.draining and self._drain is not None:
            self._drain.hurry(timeout)
            self._drain.over.wait()
            return
        self.draining = True
        self._drain = drain = Drain(self._connections, self.close_code, timeout)
        try:
            drain.run()
            super().stop(0)
        finally:
            drain.over.set()


def _wrap_socket(context: ssl.SSLContext, sock: Any, **options: Any) -> SSLSocket:
    """Put TLS on a socket. Not with context.wrap_socket: for a context of the standard library that makes a socket that
    blocks the whole thread."""
    wrapped = SSLSocket(sock, _context=context, **options)
    if not isinstance(context, SSLContext):
        wrapped._sslobj.owner = wrapped  # for the context's callbacks; gevent's own context sets it itself
    return wrapped
