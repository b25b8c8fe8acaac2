"""The gevent driver of python-engineio, and so of python-socketio and Flask-SocketIO, over geventws.

    from geventws.compat import engineio

    engineio.install()
    socketio = SocketIO(app, async_mode="gevent")

Engine.IO servers import their driver by its name, `engineio.async_drivers.gevent`, and use what is in its `_async`:
greenlets, queues, and a WSGI application for one connection. This module is such a driver, and `install` puts it under
that name in the running program. simple-websocket and gevent-websocket are neither needed nor imported.

Engine.IO has pings and an origin check of its own (`ping_interval`, `ping_timeout`, `cors_allowed_origins`); ours are
off here. Its `max_http_buffer_size`, `http_compression` and `compression_threshold` apply to its WebSockets, too.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any, ClassVar

import gevent
from gevent.event import Event
from gevent.queue import Empty, JoinableQueue

from ..endpoints import decorator as wsgi
from ..endpoints.endpoint import Endpoint
from ..protocol.permessage_deflate import PerMessageDeflate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..handshake.origins import Environ
    from ..websocket import WebSocket

    _Greenlet = gevent.Greenlet[..., Any]
else:
    _Greenlet = gevent.Greenlet

__all__ = ["Thread", "WebSocketWSGI", "install"]

DRIVER = "engineio.async_drivers.gevent"
"""The module that Engine.IO servers with async_mode="gevent" import."""

LARGEST = 1 << 40
"""The largest message, in bytes, if `max_http_buffer_size` is no real limit, such as math.inf."""


class Thread(_Greenlet):  # type: ignore[misc, valid-type]
    """A greenlet that is made with the arguments of `threading.Thread`."""

    def __init__(self, target: Callable[..., object], args: Any = (), kwargs: Any = None) -> None:
        super().__init__(target, *args, **(kwargs or {}))


class Connection:
    """A connection as Engine.IO needs it: once it is closed, `send` raises OSError, and `wait` returns None."""

    def __init__(self, ws: Any, wait: Callable[[], str | bytes | None]) -> None:
        self.ws = ws
        self.send: Any = ws.send
        self.wait = wait
        self.close: Any = ws.close


class WebSocketWSGI(wsgi.WebSocketWSGI):
    """The WSGI application for one connection of an Engine.IO server.

    Args:
        handler: called with the `Connection`, in the request's greenlet.
        server: the `engineio.Server`.
    """

    options: ClassVar[dict[str, Any]] = {}
    """The options of the last `install`."""

    def __new__(cls, handler: Callable[[Connection], object], server: Any) -> Any:
        return super().__new__(cls, handler)

    def __init__(self, handler: Callable[[Connection], object], server: Any) -> None:
        options = {
            "origins": None,
            "ping_interval": None,
            "max_message_size": int(min(server.max_http_buffer_size, LARGEST)),
            "compression": choose_compression(server),
            **self.options,
        }
        super().__init__(functools.partial(serve, handler, server.ping_interval + server.ping_timeout), **options)
        self.app = handler

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Serve one request, as `geventws.WebSocketWSGI` does; or use the connection that is in the environ already."""
        opened = environ.get("wsgi.websocket")
        if opened is None:
            # not a list: Engine.IO would take that for packets, and answer a second time to send them
            return tuple(super().__call__(environ, start_response))
        self.app(Connection(opened, opened.receive))
        return ()


def choose_compression(server: Any) -> PerMessageDeflate | None:
    """Return how to compress, as the server does for HTTP responses."""
    return PerMessageDeflate(threshold=server.compression_threshold) if server.http_compression else None


def serve(handler: Callable[[Connection], object], patience: float, ws: WebSocket) -> None:
    """Run the handler on a connection that may be silent for `patience` seconds."""
    handler(Connection(ws, functools.partial(wait, ws, patience)))


def wait(ws: WebSocket, patience: float) -> str | bytes | None:
    """Return the next message; None once the connection is over, or silent for longer than Engine.IO's pings allow.

    Engine.IO itself only notices clients that do not answer a ping, but not those that open a WebSocket besides their
    session and never complete the upgrade.
    """
    try:
        return ws.wait(patience)
    except TimeoutError:
        return None


_async = {
    "thread": Thread,
    "queue": JoinableQueue,
    "queue_empty": Empty,
    "event": Event,
    "websocket": WebSocketWSGI,
    "sleep": gevent.sleep,
}


def install(**options: Any) -> None:
    """Have every Engine.IO server of this program with async_mode="gevent" use geventws for its WebSockets.

    Existing servers use it for new connections, too. Idempotent; the options of the last call apply.

    Args:
        options: options of `geventws.WebSocketWSGI`, which override those from the server's own settings.

    Raises:
        TypeError: an option is unknown.
    """
    Endpoint(**options)  # raises errors now, not with the first connection
    WebSocketWSGI.options = options
    driver = sys.modules.setdefault(DRIVER, sys.modules[__name__])
    driver._async.update(_async)
