"""The request handler of gevent-websocket: a `handler_class` for gevent.pywsgi."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from gevent.pywsgi import WSGIHandler

import geventws

from ...endpoints.decorator import WebSocketWSGI
from ...endpoints.endpoint import Endpoint
from ...exceptions import HandshakeError
from ...handshake.origins import Environ
from ...handshake.server import is_upgrade
from ...websocket import BaseWebSocket, get_connection
from .exceptions import WebSocketError
from .resource import Resource
from .websocket import WebSocket, logger

__all__ = ["Client", "WebSocketHandler"]


class Client:
    """A connection as `server.clients` has it.

    Args:
        address: the peer's address, its key there.
        ws: the `WebSocket`.
    """

    def __init__(self, address: Any, ws: WebSocket) -> None:
        self.address = address
        self.ws = ws


class WebSocketHandler(WSGIHandler):  # type: ignore[misc]
    """Calls the application with `environ["wsgi.websocket"]` when a request is an opening handshake.

    The handshake is answered before the call. The application's answer is dropped. When it returns, the connection is
    closed with 1000, or with 1011 if it raised. Other requests are served as in pywsgi.

    Attributes:
        websocket: the `WebSocket`, while there is one.
        websocket_class: its class.
        websocket_options: options for `geventws.WebSocketWSGI`, such as `max_message_size`; 16 MiB here.
        prevent_wsgi_call: whether not to call the application, for handlers that do so themselves; the connection then
            ends with the request.
    """

    websocket: WebSocket | None = None
    websocket_class: type[WebSocket] = WebSocket
    websocket_options: ClassVar[dict[str, Any]] = {
        "origins": None,
        "compression": None,
        "max_message_size": 16 << 20,
    }
    prevent_wsgi_call = False

    environ: Any
    application: Any

    def handle_one_request(self) -> Any:
        """As in pywsgi; a connection that is still open ends with its request."""
        try:
            return super().handle_one_request()
        finally:
            ws, self.websocket = self.websocket, None
            if ws is not None:
                ws.close()
                get_connection(ws).closing.wait_closed()

    def _connection_upgrade_requested(self) -> bool:
        """Whether the request is an opening handshake: pywsgi has no end for others' bodies (see `pywsgi_bodies`)."""
        if self.command != "GET" or self.content_length or "transfer-encoding" in self.headers:
            return False
        names = ("Upgrade", "Connection")
        return is_upgrade({"HTTP_" + name.upper(): ",".join(self.headers.get_all(name, ())) for name in names})

    def run_application(self) -> None:
        """Serve a connection, or a plain request."""
        hook = getattr(self.server, "pre_start_hook", None)
        if (hook is None or not hook(self)) and self._is_handshake():
            refusal = self.upgrade_websocket()
            if refusal is None:
                self.run_websocket()
                return
            self.application = lambda _environ, _start_response: refusal
        super().run_application()

    def _is_handshake(self) -> bool:
        return self.environ.get("REQUEST_METHOD") == "GET" and is_upgrade(self.environ)

    def upgrade_websocket(self) -> Iterable[bytes] | None:
        """Answer the handshake: return None, and `websocket` is there; or the body of a refusal."""
        ws = self._make_route().connect(self.environ, self.start_response)
        if not isinstance(ws, BaseWebSocket):
            return ws
        assert isinstance(ws, WebSocket)
        ws.handler = self
        self.websocket = ws
        self.environ["wsgi.websocket"] = ws
        self.environ["wsgi.websocket_version"] = ws.version
        get_connection(ws).open()
        return None

    def _make_route(self) -> Endpoint:
        app_protocol = getattr(self.application, "app_protocol", None)
        protocol = app_protocol(self.environ["PATH_INFO"]) if app_protocol else ""
        subprotocols = [protocol] if protocol else []
        route = Endpoint(subprotocols=subprotocols, headers=self._check_path, **self.websocket_options)
        route.websocket_class = self.websocket_class
        return route

    def _check_path(self, environ: Environ) -> tuple[()]:
        application = self.application
        if isinstance(application, Resource) and application._app_by_path(environ["PATH_INFO"], True) is None:
            raise HandshakeError(404, "there is no WebSocket at this path")
        return ()

    def run_websocket(self) -> None:
        """Call the application for the connection, and close it. Blocks."""
        ws = self.websocket
        if self.prevent_wsgi_call or ws is None:
            return
        clients = self._get_clients()
        key = self._client_key()
        clients[key] = Client(key, ws)
        try:
            WebSocketWSGI(self._call_application).run(ws)
        finally:
            clients.pop(key, None)
            self.environ["wsgi.websocket"] = None

    def _call_application(self, ws: geventws.WebSocket) -> None:
        try:
            result = self.application(self.environ, _start_nothing)
            try:
                for _ in result or ():
                    pass
            finally:
                if hasattr(result, "close"):
                    result.close()
        except WebSocketError:
            if not ws.closed:
                raise  # otherwise the client has gone, which applications notice by this error

    def _get_clients(self) -> dict[Any, Client]:
        """Return the server's connections; a server other than `WebSocketServer` gets the attribute."""
        if not hasattr(self.server, "clients"):
            self.server.clients = {}
        clients: dict[Any, Client] = self.server.clients
        return clients

    def _client_key(self) -> Any:
        """Return the peer's address; on a Unix socket, where peers have none, another key for this connection."""
        return self.client_address or f"unix:{id(self)}"

    @property
    def active_client(self) -> Client:
        """The entry of this connection in `server.clients`."""
        return self._get_clients()[self._client_key()]

    @property
    def logger(self) -> logging.Logger:
        """The server's logger, if it has one."""
        found: logging.Logger = getattr(self.server, "logger", logger)
        return found


def _start_nothing(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
    """Drop an application's status and headers, as its answer is not sent."""
    return lambda data: None
