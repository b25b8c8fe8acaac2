"""The names of pulsar.apps.ws, as of pulsar 1 and 2, over geventws. For pulsar 0.4, see geventws.compat.pulsar04.

    from geventws.compat.pulsar import wsgi, ws             # was: from pulsar.apps import wsgi, ws

`WebSocket(route, handle)` is middleware: a callable like a WSGI application that leaves requests for other paths to the
next one. `WsgiHandler(middleware=(..., wm))` makes an application of it, for gevent.pywsgi, gunicorn or
`geventws.WebSocketServer`. docs/migrating-from-pulsar.rst has every promise of pulsar's documentation, and whether it
is kept.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ...endpoints.endpoint import log_refusal
from ...exceptions import HandshakeError
from ...handshake.client import make_key
from ...handshake.server import is_upgrade
from ...handshake.upgrade import accept_key
from ...hosts import refuse
from .._controls import pick_options
from . import client as http
from . import wsgi
from .frames import (
    CLOSE_CODES,
    DEFAULT_VERSION,
    SUPPORTED_VERSIONS,
    Frame,
    FrameParser,
    ProtocolError,
    frame_parser,
    get_version,
    parse_close,
)
from .protocol import WS, CallbackRoute, WebSocketProtocol
from .wsgi import Config, WsgiHandler

if TYPE_CHECKING:
    from ...handshake.origins import Environ
    from ...handshake.upgrade import Upgrade
    from ...hosts.host import StartResponse
    from ...websocket import WebSocket as EngineWebSocket

__all__ = [
    "CLOSE_CODES",
    "DEFAULT_VERSION",
    "SUPPORTED_VERSIONS",
    "WS",
    "Config",
    "Frame",
    "FrameParser",
    "ProtocolError",
    "Request",
    "WebSocket",
    "WebSocketProtocol",
    "WsgiHandler",
    "frame_parser",
    "get_version",
    "http",
    "parse_close",
    "websocket",
    "websocket_key",
    "ws",
    "wsgi",
]

ws: ModuleType = sys.modules[__name__]
websocket: ModuleType = ws

websocket_key = make_key

_VARIABLE = re.compile(r"<(?:(string|int|path):)?(\w+)>")
_KINDS = {"": "[^/]+", "string": "[^/]+", "int": "[0-9]+", "path": ".+"}


class Request:
    """The request that a connection began with: its `handshake` on a server.

    Attributes:
        environ: the WSGI environ, with everything that is known.
        method, path: from the request line.
        urlargs: the variables of the route, by name.
        cfg: the settings of the server and of the route.
    """

    def __init__(self, environ: Environ, urlargs: dict[str, Any], cfg: Config) -> None:
        self.environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        self.path: str = environ.get("PATH_INFO", "")
        self.urlargs = urlargs
        self.cfg = cfg

    def get(self, name: str, default: Any = None) -> Any:
        """Return an item of the environ, or the default."""
        return self.environ.get(name, default)


class WebSocket:
    """WSGI middleware that serves WebSockets at a path, with the callbacks of a `WS`.

    Args:
        route: the path. Parts of it may be variables: `<name>`, `<int:name>` and, with slashes in it, `<path:name>`.
        handle: the `WS`.
        parser_factory: makes the parser that encodes what a connection writes; called with `version`, `extensions`
            (None) and `protocols`, the subprotocols that the client asks for.
        settings: go to the `cfg` of connections. Those that are options of `geventws.WebSocketWSGI`, such as `origins`,
            `subprotocols` and `compression`, have the same effect as there. As in pulsar, by default no origin is
            checked and nothing is compressed; messages may have 8 MiB.
    """

    protocol_class = WebSocketProtocol

    def __init__(
        self, route: str, handle: WS, parser_factory: Callable[..., FrameParser] | None = None, **settings: Any
    ) -> None:
        self.route = route
        self.handle = handle
        self.parser_factory: Callable[..., FrameParser] = parser_factory or frame_parser
        self.settings = settings
        self._pattern, self._converters = _compile(route)
        self._site = CallbackRoute(self.make_consumer, **pick_options(settings))

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes] | None:
        """Serve one request; return None if it is for another path. Blocks until the connection is over.

        Raises:
            NoSocket: the server gives its application no socket.
        """
        if self._match(environ) is None:
            return None
        version = environ.get("HTTP_SEC_WEBSOCKET_VERSION")
        if environ["REQUEST_METHOD"] == "GET" and is_upgrade(environ) and version != str(DEFAULT_VERSION):
            error = HandshakeError(400, "the version is not 13", [("Sec-WebSocket-Version", str(DEFAULT_VERSION))])
            log_refusal(environ, error)
            return refuse(environ, start_response, error)
        return self._site(environ, start_response)

    def challenge_response(self, key: str) -> str:
        """Return the answer to a Sec-WebSocket-Key."""
        return accept_key(key)

    def make_consumer(self, connection: EngineWebSocket, environ: Environ, upgrade: Upgrade) -> WebSocketProtocol:
        """Return the `WebSocketProtocol` of a new connection."""
        server = environ.get("pulsar.cfg")
        cfg = Config({**(server.settings if server is not None else {}), **self.settings})
        consumer = self.protocol_class(connection)
        consumer.handler = self.handle
        consumer.handshake = Request(environ, self._match(environ) or {}, cfg)
        asked = environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "").split(",")
        protocols = [name.strip() for name in asked if name.strip()]
        consumer.parser = self.parser_factory(version=upgrade.version, extensions=None, protocols=protocols)
        return consumer

    def _match(self, environ: Environ) -> dict[str, Any] | None:
        """Return the route's variables in a path; None if the path does not match."""
        path = environ.get("PATH_INFO", "").encode("latin-1").decode(errors="replace")  # PEP 3333: bytes as Latin-1
        match = self._pattern.fullmatch(path)
        if match is None:
            return None
        return {name: self._converters[name](value) for name, value in match.groupdict().items()}


def _compile(route: str) -> tuple[re.Pattern[str], dict[str, Callable[[str], Any]]]:
    """Return a route as a pattern, and the converters of its variables."""
    pattern, end = "/", 0
    converters: dict[str, Callable[[str], Any]] = {}
    route = route.removeprefix("/")
    for variable in _VARIABLE.finditer(route):
        kind, name = variable.groups(default="")
        pattern += re.escape(route[end : variable.start()]) + f"(?P<{name}>{_KINDS[kind]})"
        converters[name] = int if kind == "int" else str
        end = variable.end()
    return re.compile(pattern + re.escape(route[end:])), converters
