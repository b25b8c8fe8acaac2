"""Sock: WebSocket routes in Flask, with Flask-Sock's conventions.

    from flask import Flask
    from geventws.flask import Sock

    app = Flask(__name__)
    sock = Sock(app)

    @sock.route("/echo")
    def echo(ws):
        for message in ws:
            ws.send(message)

A Flask view returns its response before the server sends it. So a WebSocket route returns a `Response` that does the
opening handshake when the server calls it, and then runs the route's function, within the request context.
"""

from __future__ import annotations

import functools
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import gevent
from flask import Blueprint, Flask, Response, current_app, got_request_exception, request, session
from flask.globals import app_ctx
from gevent.exceptions import BlockingSwitchOutError

from .endpoints.decorator import WebSocketWSGI, is_departure
from .endpoints.endpoint import logger
from .endpoints.views import answer_without_socket
from .engine.loop.poller import get_thread
from .engine.loop.waiters import Answer
from .exceptions import ConnectionClosed, NoSocket
from .websocket import WebSocket, get_connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .engine.connection import Connection
    from .protocol.prepared import PreparedMessage
    from .websocket import Message

__all__ = ["Sock", "SockWebSocket"]

OPTIONS = "SOCK_SERVER_OPTIONS"
"""The key in Flask's configuration for a dict of options of `WebSocketWSGI`."""

OURS = ("content-type", "content-length")
"""Headers of a response that are not sent with a 101."""

NO_PAGE = (
    "This path is a WebSocket, and the request asks for none. Connect to it with ws:// or wss://. "
    "A proxy has to pass Upgrade and Connection on."
)
NO_WEBSOCKET = "The request asks for a WebSocket, and this path is none."


class SockWebSocket(WebSocket):
    """The connection that a route's function gets: a `WebSocket` with Flask-Sock's `receive`.

    Any native thread may call `send` and `close`, as in Flask-Sock: `flask run` has a thread for each connection. From
    another thread than the connection's, they block until that thread has done it.
    """

    __slots__ = ()

    def send(self, message: Message | PreparedMessage | Iterable[Message], compress: bool | None = None) -> None:
        """Send a message: see `WebSocket.send`. Any native thread may call it."""
        connection = get_connection(self)
        if get_thread() == connection.stream.poller.thread:
            super().send(message, compress)
        else:
            _ask(connection, super().send, message, compress)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection: see `WebSocket.close`. Any native thread may call it."""
        connection = get_connection(self)
        if get_thread() == connection.stream.poller.thread:
            super().close(code, reason)
        else:
            with suppress(ConnectionClosed):
                _ask(connection, super().close, code, reason)

    def receive(self, timeout: float | None = None) -> str | bytes | None:
        """Return the next message. Blocks until there is one.

        Args:
            timeout: seconds to block at most; None, the default, for no limit.

        Returns:
            The message; None if none has arrived in time.

        Raises:
            ConnectionClosed: the connection is closed. The route need not catch it: it is not logged.
        """
        try:
            message = self.wait(timeout)
        except TimeoutError:
            return None
        if message is None:
            code, reason = self.close_code, self.close_reason
            assert code is not None and reason is not None
            raise ConnectionClosed(code, reason)
        return message


def _ask(connection: Connection, function: Callable[..., object], *arguments: Any) -> None:
    """Have a connection's thread call a function, in a greenlet. Block until it has returned; raise what it raises.

    Raises:
        ConnectionClosed: the thread has no loop any more.
        BlockingSwitchOutError: the caller is a callback of its loop, which may not block.
    """
    answer, errors, poller = Answer(), [], connection.stream.poller

    def act() -> None:
        try:
            function(*arguments)
        except BaseException as error:
            errors.append(error)
        answer.set(True)

    if not answer.may_wait:
        raise BlockingSwitchOutError("a callback cannot wait for another thread")
    with suppress(ValueError):  # the loop was destroyed
        poller.loop.run_callback_threadsafe(gevent.spawn, act)
    while not answer.wait(1.0):
        if poller.closed:
            raise connection.closed_error()
    if errors:
        raise errors[0]


class Sock:
    """The Flask extension.

    Args:
        app: the application; None if `init_app` is called later.

    Attributes:
        app: the application; None before `init_app`.
        bp: a blueprint for routes that are made before `init_app`; None if there are none.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self.app: Flask | None = None
        self.bp: Blueprint | None = None
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Add all routes to an application: those made before, and those made later.

        Raises:
            TypeError: its configuration has an option that does not exist.
        """
        WebSocketWSGI(print, **app.config.get(OPTIONS, {}))  # raises here, not at the first request alone
        app.before_request(_explain_mismatch)
        if self.bp is not None:
            app.register_blueprint(self.bp)
        self.app = app

    def route(self, path: str, bp: Blueprint | None = None, **options: Any) -> Callable[[Any], Any]:
        """Return a decorator that makes a function the WebSocket route of a path.

        The function is called with the connection, and then the arguments of the route. It may block. Before it,
        `before_request` and `after_request` have run: headers that they set, such as a session cookie, are sent with
        the 101. A session that is changed later is not saved.

        Args:
            path: as for Flask's `route`.
            bp: the blueprint of the route, which you register yourself; None, the default, for the application.
            options: as for Flask's `route`.
        """
        if callable(path):
            raise TypeError('a route has a path: @sock.route("/path")')

        def decorate(function: Callable[..., object]) -> Callable[..., object]:
            @functools.wraps(function)
            def view(*args: Any, **arguments: Any) -> Response:
                return _Handshake(functools.partial(_call, function, args, arguments))

            self._find_place(bp).route(path, websocket=True, **options)(view)
            return function

        return decorate

    def _find_place(self, bp: Blueprint | None) -> Flask | Blueprint:
        if bp is not None or self.app is not None:
            return bp or self.app  # type: ignore[return-value]
        self.bp = self.bp or Blueprint("__geventws", __name__)
        return self.bp


def _explain_mismatch() -> None:
    """Have a 400 say what is wrong with a page's request for a WebSocket's path, or with the reverse."""
    error = request.routing_exception
    if error is not None and type(error).__name__ == "WebsocketMismatch":
        error.description = NO_WEBSOCKET if "Upgrade" in request.headers else NO_PAGE


def _call(function: Callable[..., object], args: Any, arguments: dict[str, Any], ws: WebSocket) -> None:
    """Call a route's function. Send Flask's signal for exceptions, but not for a peer that has left."""
    before = _read_session()
    try:
        function(ws, *args, **arguments)
    except ConnectionClosed:
        pass
    except Exception as error:
        if not is_departure(ws, error):
            app = app_ctx.app
            got_request_exception.send(app, _async_wrapper=app.ensure_sync, exception=error)
        raise
    finally:
        if _read_session() != before:
            peer = get_connection(ws).peer
            logger.warning("%s: the session was changed after it had been saved for the 101: the change is lost", peer)


def _read_session() -> dict[str, Any]:
    """Return what the application has in the session. Keys with an underscore are those of Flask and its extensions."""
    return {name: value for name, value in session.items() if not name.startswith("_")}


class _Handshake(Response):
    """The response of a WebSocket route. When the server calls it, it opens the connection, and runs the handler."""

    default_status = 101

    def __init__(self, handler: Callable[[WebSocket], None]) -> None:
        super().__init__()
        self._handler = handler

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve one request (PEP 3333). Blocks until the connection is over."""
        options: dict[str, Any] = {**current_app.config.get(OPTIONS, {})}
        headers = [(name, value) for name, value in self.headers if name.lower() not in OURS]
        endpoint = WebSocketWSGI(self._handler, headers=headers, **options)
        endpoint.websocket_class = SockWebSocket
        try:
            return endpoint(environ, start_response)
        except NoSocket as error:
            status, head, body = answer_without_socket(error)
            return Response(body, status, head)(environ, start_response)
