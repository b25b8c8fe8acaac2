"""The part of pulsar.apps.http for WebSocket clients: `HttpClient().get("ws://...", websocket_handler=...)`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import gevent

from ...client.opening import Opening, make_connection
from ...client.websocket import ClientWebSocket
from ...engine.options import check_limits
from ...http.uri import parse_uri
from ...websocket import get_connection
from .._controls import ControlProtocol, pick_options
from .frames import FrameParser, frame_parser
from .protocol import WS, CallbackRoute, WebSocketProtocol, adopt
from .wsgi import Config

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...handshake.upgrade import Upgrade

__all__ = ["HttpClient", "WebSocketClient"]


class Response:
    """The answer to a client's handshake: its `handshake`.

    Attributes:
        status_code: 101.
        url: the URL after all redirects.
        headers: as pairs.
        cfg: the client's settings.
    """

    status_code = 101

    def __init__(self, url: str, headers: list[tuple[str, str]], cfg: Config) -> None:
        self.url = url
        self.headers = headers
        self.cfg = cfg


class WebSocketClient(WebSocketProtocol):
    """A connection that a client opened. Its callbacks run in a greenlet of its own until it is over."""

    @property
    def status_code(self) -> int:
        """The status of the answer, 101."""
        return Response.status_code

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers of the answer, as pairs."""
        headers: list[tuple[str, str]] = self.handshake.headers
        return headers

    def raise_for_status(self) -> None:
        """Do nothing: for an answer with another status, `get` has raised an error."""


class HttpClient:
    """Opens WebSockets.

    Args:
        settings: kept in the `cfg` of connections. `subprotocols`, `origin`, `ssl`, `proxy`, `compression`,
            `open_timeout`, `max_message_size`, `ping_interval`, `ping_timeout`, `close_timeout` and `send_timeout` mean
            the same as for `geventws.connect`. As in pulsar, nothing is compressed by default.
    """

    def __init__(self, **settings: Any) -> None:
        self.cfg: Config = Config(settings)
        self._route = CallbackRoute(**pick_options(settings))
        self._compression: Any = self._route.compression
        check_limits(self._route.max_message_size, self._compression)

    def get(
        self,
        url: str,
        websocket_handler: WS | None = None,
        headers: Iterable[tuple[str, str]] | dict[str, str] = (),
        frame_parser: Callable[..., FrameParser] = frame_parser,
    ) -> WebSocketClient:
        """Open a connection, and return it. Blocks until the server has answered; `write_close` closes it.

        Args:
            url: ws://host[:port]/path?query, or wss:// for TLS.
            websocket_handler: the callbacks.
            headers: further headers of the request.
            frame_parser: makes the parser that encodes the messages to send.

        Raises:
            InvalidURI, InvalidStatus, HandshakeError, TimeoutError, OSError: as `geventws.connect`.
        """
        connection, upgrade, opened_url = self._open(url, headers)
        consumer = WebSocketClient(connection)
        consumer.handler = websocket_handler or WS()
        consumer.handshake = Response(opened_url, upgrade.headers, self.cfg)
        consumer.parser = frame_parser(version=upgrade.version, kind=1, extensions=None, protocols=None)
        adopt(consumer)
        get_connection(connection).open()
        gevent.spawn(self._route.run, connection)
        return consumer

    def _open(
        self, url: str, headers: Iterable[tuple[str, str]] | dict[str, str]
    ) -> tuple[ClientWebSocket, Upgrade, str]:
        """Return a connection that is not open yet."""
        get, route = self.cfg.get, self._route
        opening = Opening(
            uri=parse_uri(url),
            headers=list(headers.items() if isinstance(headers, dict) else headers),
            subprotocols=tuple(route.subprotocols),
            origin=get("origin"),
            compression=self._compression,
            ssl=get("ssl"),
            server_hostname=None,
            proxy=get("proxy", True),
            unix_path=None,
            socket=None,
        )
        opening.check()
        opened = opening.run(10, get("open_timeout", 10.0))
        upgrade = opened.upgrade
        protocol = ControlProtocol(client=True, max_message_size=route.max_message_size, extension=upgrade.extension)
        engine = make_connection(opening, opened, protocol, route.timing)
        return ClientWebSocket(engine, opening.uri.path, upgrade.headers), upgrade, str(opening.uri)
