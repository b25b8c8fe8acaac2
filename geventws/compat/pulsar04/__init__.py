"""The names of pulsar.apps.ws, as of pulsar 0.4, over geventws. For pulsar 1 and 2, see geventws.compat.pulsar.

    from geventws.compat.pulsar04 import wsgi, ws           # was: from pulsar.apps import wsgi, ws

`WebSocket(handle)` is middleware: a callable like a WSGI application that leaves requests which are not for it to the
next one. `handle.on_message` returns the reply. docs/migrating-from-pulsar.rst compares both, promise by promise.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import AsyncResult

from ...endpoints.decorator import WebSocketWSGI
from ...endpoints.endpoint import log_refusal, logger
from ...engine.fragments import send_frame
from ...exceptions import HandshakeError
from ...frames import Frame as RawFrame
from ...frames import parse_close
from ...handshake.server import VERSIONS, is_upgrade
from ...handshake.upgrade import accept_key
from ...hosts import refuse
from ...protocol.permessage_deflate import PerMessageDeflate
from ...websocket import get_connection
from .._controls import MAX_MESSAGE_SIZE
from ..pulsar import wsgi
from ..pulsar.wsgi import WsgiHandler, createServer
from .frames import Frame, FrameParser, WebSocketError, WebSocketProtocolError, get_version

if TYPE_CHECKING:
    from ...handshake.origins import Environ
    from ...hosts.host import StartResponse
    from ...websocket import WebSocket as EngineWebSocket

__all__ = [
    "WS",
    "Frame",
    "FrameParser",
    "WebSocket",
    "WebSocketError",
    "WebSocketProtocolError",
    "WsgiHandler",
    "createServer",
    "get_version",
    "ws",
    "wsgi",
]

ws: ModuleType = sys.modules[__name__]


class WS:
    """The callbacks of connections: derive from it, and override those you need. One object serves all connections.

    Each method gets the environ of the handshake, always the same dict for a connection; its "wsgi.websocket" is the
    `geventws.WebSocket` from `on_open` to `on_close`. The callbacks of one connection run one after the other, in a
    greenlet of its own, and may block. An exception closes the connection with 1011.
    """

    def match(self, environ: Environ) -> Any:
        """Return whether a request is for this handler; by default all are."""
        return True

    def on_handshake(self, environ: Environ, headers: list[tuple[str, str]]) -> Any:
        """Called before the 101 is sent, with its headers, which may be changed in place.

        Raise a `geventws.HandshakeError` to refuse the request with its status.
        """

    def on_open(self, environ: Environ) -> Any:
        """Called when the connection is open."""

    def on_message(self, environ: Environ, message: str | bytes) -> Any:
        """Called for each message; to be overridden.

        Returns:
            The reply: `str` for a text message, bytes for a binary one, a `Frame` to send as it is, or an `AsyncResult`
            or a greenlet with one of these as its result. None for no reply.
        """
        raise NotImplementedError

    def on_close(self, environ: Environ) -> Any:
        """Called last, once, when the connection is over, even if `on_open` has failed."""

    def close(self, environ: Environ, msg: str | bytes | None = None) -> Frame:
        """Close the connection, with 1000. Does not block.

        Args:
            environ: the connection's.
            msg: the reason; bytes are the payload of the close frame, and begin with a code.

        Returns:
            The close frame, which `on_message` may return or not.

        Raises:
            ValueError: such a close frame may not be sent.
        """
        frame = Frame.close(b"\x03\xe8" if msg is None else msg)
        connection = environ.get("wsgi.websocket")
        if connection is not None:
            _begin_close(connection, frame)
        return frame


class WebSocket:
    """WSGI middleware that serves WebSockets with the callbacks of a `WS`.

    Args:
        handle: the `WS`.
        extensions: names of extensions to agree to. There is "permessage-deflate"; other names are never agreed to.
        options: those of `geventws.WebSocketWSGI`. As in pulsar, no origin is checked unless `origins` says so;
            messages may have 8 MiB.
    """

    def __init__(self, handle: WS, extensions: Collection[str] | None = None, **options: Any) -> None:
        self.handle = handle
        self.extensions: list[str] = list(extensions or ())
        compression = PerMessageDeflate() if "permessage-deflate" in self.extensions else None
        defaults = {"origins": None, "compression": compression, "max_message_size": MAX_MESSAGE_SIZE}
        self._site = _Site(self, **{**defaults, **options})

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes] | None:
        """Serve one request; return None if it is not for the handler. Blocks until the connection is over.

        Raises:
            NoSocket: the server gives its application no socket.
        """
        if not is_upgrade(environ) or not self.handle.match(environ):
            return None
        why = _check(environ)
        if why is not None:
            error = HandshakeError(400, why, [("Sec-WebSocket-Version", "13, 8")])
            log_refusal(environ, error)
            return refuse(environ, start_response, error)
        return self._site(environ, start_response)

    def challenge_response(self, key: str) -> str:
        """Return the answer to a Sec-WebSocket-Key."""
        return accept_key(key)


class _Site(WebSocketWSGI):
    """The handshake and the connections of one `WebSocket`."""

    def __init__(self, face: WebSocket, **options: Any) -> None:
        super().__init__(self._serve, **options)
        self._face = face

    def complete_headers(self, environ: Environ, headers: list[tuple[str, str]]) -> None:
        """Let the handler see to the headers of a 101."""
        super().complete_headers(environ, headers)
        self._face.handle.on_handshake(environ, headers)

    def run(self, ws: EngineWebSocket) -> None:
        """Run the callbacks of one connection, close it, and tell that it is over."""
        environ = ws.environ
        environ["wsgi.websocket"] = ws
        try:
            super().run(ws)
        finally:
            try:
                self._face.handle.on_close(environ)
            except Exception:
                logger.exception("%s: on_close failed", get_connection(ws).peer)
            environ["wsgi.websocket"] = None  # no cycle is left behind

    def _serve(self, ws: EngineWebSocket) -> None:
        handle, environ = self._face.handle, ws.environ
        handle.on_open(environ)
        for message in ws:
            _reply(ws, handle.on_message(environ, message))


def _check(environ: Environ) -> str | None:
    """Return why a handshake is refused, for reasons that would have another status in `handshake.accept`."""
    if environ["REQUEST_METHOD"] != "GET":
        return "the method is not GET"
    return None if environ.get("HTTP_SEC_WEBSOCKET_VERSION") in VERSIONS else "the version is not 13 or 8"


def _reply(ws: EngineWebSocket, reply: Any) -> None:
    """Send what `on_message` has returned, unless the connection is over."""
    while isinstance(reply, (AsyncResult, gevent.Greenlet)):
        reply = reply.get()
    if reply is None or ws.closed:
        return
    if not isinstance(reply, Frame):
        ws.send(reply)
    elif reply.is_close:
        _begin_close(ws, reply)
    else:
        head = reply.fin << 7 | reply.rsv1 << 6 | reply.rsv2 << 5 | reply.rsv3 << 4 | reply.opcode
        body = reply.body.encode() if isinstance(reply.body, str) else reply.body
        send_frame(get_connection(ws), b"", RawFrame.from_head(head, body).encode())  # a server's are not masked


def _begin_close(ws: EngineWebSocket, frame: Frame) -> None:
    """Send a close frame, and let the connection end."""
    body = frame.body.encode() if isinstance(frame.body, str) else frame.body
    if not ws.closed:
        get_connection(ws).closing.begin(*parse_close(body))
        gevent.spawn(ws.close)  # waits for the peer's answer, but not for ever
