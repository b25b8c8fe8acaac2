"""WebSockets for gevent: blocking-style handlers on any WSGI server that gives out its socket.

    from gevent import pywsgi
    from geventws import WebSocketWSGI

    @WebSocketWSGI
    def echo(ws):
        for message in ws:
            ws.send(message)

    pywsgi.WSGIServer(("127.0.0.1", 8000), echo).serve_forever()
"""

from __future__ import annotations

from . import _moved as _moved
from .client.opening import connect
from .client.reconnection import reconnect
from .client.websocket import ClientStreamingWebSocket, ClientWebSocket
from .endpoints.callbacks import CallbackWebSocket, WebSocketApplication
from .endpoints.decorator import WebSocketWSGI
from .endpoints.middleware import RequestWebSocket, WebSocketMiddleware
from .engine.published.outlet import SendResult
from .exceptions import (
    ConcurrencyError,
    ConnectionClosed,
    HandshakeError,
    InvalidData,
    InvalidStatus,
    InvalidURI,
    NoSocket,
    PayloadTooBig,
    ProtocolError,
    ProxyError,
    RoomsError,
    WebSocketError,
)
from .frames import CloseCode, Opcode
from .handshake.origins import SAME_ORIGIN
from .protocol.permessage_deflate import PerMessageDeflate
from .protocol.prepared import PreparedMessage
from .pubsub.broadcast import broadcast
from .pubsub.history import Recovered
from .pubsub.pubsub import PubSub
from .pubsub.rooms.client import RoomsClient
from .server.server import WebSocketServer
from .streaming import StreamingWebSocket
from .websocket import WebSocket

__version__ = "1.1.0"

__all__ = [
    "SAME_ORIGIN",
    "CallbackWebSocket",
    "ClientStreamingWebSocket",
    "ClientWebSocket",
    "CloseCode",
    "ConcurrencyError",
    "ConnectionClosed",
    "HandshakeError",
    "InvalidData",
    "InvalidStatus",
    "InvalidURI",
    "NoSocket",
    "Opcode",
    "PayloadTooBig",
    "PerMessageDeflate",
    "PreparedMessage",
    "ProtocolError",
    "ProxyError",
    "PubSub",
    "Recovered",
    "RequestWebSocket",
    "RoomsClient",
    "RoomsError",
    "SendResult",
    "StreamingWebSocket",
    "WebSocket",
    "WebSocketApplication",
    "WebSocketError",
    "WebSocketMiddleware",
    "WebSocketServer",
    "WebSocketWSGI",
    "broadcast",
    "connect",
    "reconnect",
]
