"""The names of wsocket, over geventws.

    from geventws.compat.wsocket import WSocketApp, WebSocketError, logger, run     # was: from wsocket import ...

A `WSocketApp` is a WSGI application that can be used in three ways: around another one, as middleware; with routes, as
a framework; or alone, with events. What ran in threads runs in greenlets, and the events of one connection run in
order. docs/migrating-from-wsocket.rst goes through the promises.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from ...endpoints.endpoint import logger
from ...exceptions import ConnectionClosed, HandshakeError, PayloadTooBig, ProtocolError, WebSocketError
from ...handshake.server import VERSIONS, is_upgrade
from ...handshake.upgrade import GUID
from ...hosts import refuse
from ...protocol.permessage_deflate import PerMessageDeflate
from ...server.server import WebSocketServer
from ...text import one_line
from ...websocket import get_connection
from .._controls import MAX_MESSAGE_SIZE, ControlRoute
from .connection import WebSocket
from .response import Response, not_found

if TYPE_CHECKING:
    from ...handshake.origins import Environ
    from ...handshake.upgrade import Upgrade
    from ...hosts.host import StartResponse
    from ...websocket import WebSocket as EngineWebSocket

__all__ = [
    "Event",
    "FrameTooLargeException",
    "ProtocolError",
    "WSocketApp",
    "WebSocket",
    "WebSocketError",
    "logger",
    "run",
]

FrameTooLargeException = PayloadTooBig

COMPRESSION = PerMessageDeflate(level=7, threshold=1)
"""Compresses all messages that are not empty, as WSocket does."""


class Event:
    """Functions to be called when something happens: `event += function`, `event -= function`.

    Args:
        default: called if there is no other.
    """

    def __init__(self, default: Callable[..., Any] | None = None) -> None:
        self._functions: list[Callable[..., Any]] = []
        self.default = default

    def __iadd__(self, function: Callable[..., Any]) -> Event:
        self._functions.append(function)
        return self

    def __isub__(self, function: Callable[..., Any]) -> Event:
        self._functions.remove(function)
        return self

    __add__ = __iadd__
    __sub__ = __isub__

    def clear(self) -> None:
        """Remove all functions."""
        self._functions.clear()

    def __call__(self, *args: Any) -> None:
        """Call the functions, in order, in this greenlet. What one raises is logged, and the next is called."""
        functions = self._functions or ([self.default] if self.default else [])
        for function in tuple(functions):
            try:
                function(*args)
            except ConnectionClosed:
                pass  # the client left meanwhile
            except Exception:
                logger.exception("%r failed", function)


class _EventSlot:
    """An attribute of a `WSocketApp` that is an `Event`; a function assigned to it replaces the others."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, app: WSocketApp | None, owner: type) -> Any:
        return self if app is None else app.__dict__[self._name]

    def __set__(self, app: WSocketApp, value: Event | Callable[..., Any]) -> None:
        app.__dict__[self._name] = value if isinstance(value, Event) else Event() + value


class WSocketApp:
    """A WSGI application with WebSockets.

    With `app`, all requests reach that application; WebSockets are open already, in `environ["wsgi.websocket"]`. With
    routes and no `app`, requests reach the function for their path. Without both, WebSockets at any path cause events:
    `onconnect(client)`, `onmessage(message, client)`, `onclose(reason, client)`.

    Args:
        app: a WSGI application.
        protocol: the supported subprotocol, or several; the first one on the client's list among them is chosen.
        protocols: the same.
        options: those of `geventws.WebSocketWSGI`. As in WSocket, no origin is checked unless `origins` says so;
            messages may have 8 MiB.

    Attributes:
        websocket_class: `WebSocket` or a subclass of it, for new connections.
        routes: the functions by their paths.
    """

    SUPPORTED_VERSIONS = tuple(VERSIONS)
    GUID = GUID

    websocket_class: type[WebSocket] = WebSocket

    onconnect: Any = _EventSlot()
    onmessage: Any = _EventSlot()
    onclose: Any = _EventSlot()

    def __init__(
        self,
        app: Callable[[Environ, StartResponse], Iterable[bytes]] | None = None,
        protocol: str | Collection[str] | None = None,
        protocols: str | Collection[str] | None = None,
        **options: Any,
    ) -> None:
        self.app = app
        self.routes: dict[str, Callable[..., Any]] = {}
        self.onconnect = Event(self.on_connect)
        self.onmessage = Event(self.on_message)
        self.onclose = Event(self.on_close)
        spoken = protocol or protocols or ()
        self.protocols: list[str] = [spoken] if isinstance(spoken, str) else list(spoken)
        self._site = _Site(
            self, **{"origins": None, "compression": COMPRESSION, "max_message_size": MAX_MESSAGE_SIZE, **options}
        )

    # What happens if an event has no function

    def on_connect(self, client: WebSocket) -> None:
        """Say hello."""
        client.send("you connected")

    def on_message(self, message: str | bytes, client: WebSocket) -> None:
        """Say what was received, and again after 2 seconds."""
        said = message if isinstance(message, str) else repr(message)
        client.send("you said: " + said)
        get_connection(client).closing.wait(2)
        client.send("you said: " + said)

    def on_close(self, message: str, client: WebSocket) -> None:
        """Log it."""
        logger.debug("%s: closed: %s", get_connection(client).peer, one_line(message))

    def route(self, path: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Return a decorator that puts a function at a path. A path with a * at its end matches all that begin so.

        The function is called with environ and start_response. `start_response` may be called without arguments (for
        "200 OK" and no headers), with a number as the status, and with a dict of headers. The function may return
        `str`, bytes, an iterable of them, or anything that `str` converts to text.
        """

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            self.routes[path] = function
            return function

        return decorate

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request (PEP 3333). For a WebSocket, it blocks until the connection is over.

        Raises:
            NoSocket: the server gives its application no socket.
        """
        if "wsgi.websocket" in environ or environ["REQUEST_METHOD"] != "GET" or not is_upgrade(environ):
            return self.respond(environ, start_response)
        if self.app is None and self.routes and self._find(environ.get("PATH_INFO", "")) is None:
            return refuse(environ, start_response, HandshakeError(404, "there is nothing at this path"))
        return self._site(environ, start_response)

    def respond(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, or serve the WebSocket in its environ."""
        if self.app is not None:
            return self.app(environ, start_response)
        if self.routes:
            return Response(environ, start_response).run(self._find(environ.get("PATH_INFO", "")) or not_found)
        client = environ.get("wsgi.websocket")
        if client is None:
            return Response(environ, start_response).run(_greet)
        self._run_events(client)
        return []

    def _find(self, path: str) -> Callable[..., Any] | None:
        """Return the function for a path: the first one that matches, or None."""
        for route, function in self.routes.items():
            if route == path or (route.endswith("*") and path.startswith(route[:-1])):
                return function
        return None

    def _run_events(self, client: WebSocket) -> None:
        try:
            self.onconnect(client)
            while (message := client.receive()) is not None:
                self.onmessage(message, client)
        except ConnectionClosed:
            pass  # a function closed it
        finally:
            self.onclose(client.close_reason or "", client)


class _Site(ControlRoute):
    """The handshake and the connections of one `WSocketApp`."""

    def __init__(self, face: WSocketApp, **options: Any) -> None:
        super().__init__(self._serve, **{"subprotocols": face.protocols, **options})
        self._face = face

    def make_websocket(self, socket: Any, environ: Environ, upgrade: Upgrade) -> EngineWebSocket:
        """Return the connection, not yet open."""
        self.websocket_class = self._face.websocket_class
        ws = super().make_websocket(socket, environ, upgrade)
        assert isinstance(ws, WebSocket)
        ws.handler = self._face
        return ws

    def _serve(self, ws: WebSocket) -> None:
        """Run the application for an open connection, and drop what it returns."""
        environ = ws.environ
        environ["wsgi.websocket"] = ws
        environ["wsgi.websocket_version"] = str(ws.version)
        try:
            result = self._face.respond(environ, lambda *_args: lambda _data: None)
            try:
                for _data in result or ():
                    pass
            finally:
                if hasattr(result, "close"):
                    result.close()
        finally:
            environ["wsgi.websocket"] = None  # no cycle is left behind


def _greet(_environ: Environ, start_response: Callable[..., Any]) -> str:
    start_response()
    return "<h1>Hello World!</h1>"


def run(
    app: Callable[[Environ, StartResponse], Iterable[bytes]] | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
    **options: Any,
) -> None:
    """Serve an application until SIGTERM or a KeyboardInterrupt. Blocks.

    Args:
        app: the application; a `WSocketApp` by default.
        host: the address to listen on.
        port: the port to listen on; 0 for any.
        options: those of `geventws.WebSocketServer`. `handler_class` and `server_class`, which are for the standard
            library's server, have no effect.
    """
    options = {name: value for name, value in options.items() if name not in ("handler_class", "server_class")}
    server = WebSocketServer((host, port), app or WSocketApp(), **options)
    server.start()
    print(f"Server started at http://{host}:{server.server_port}.", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.stop()
